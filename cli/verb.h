// A verb of the command line: what it takes and what it does. One file each in cli/verbs/.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <span>
#include <string_view>

#include "cli/exit_status.h"
#include "cli/invocation.h"
#include "registry/result.h"

namespace poisonctl {

struct Verb {
  std::string_view name;
  std::string_view arguments;  // for the synopsis: "RANGE..."
  std::string_view summary;    // one line, no full stop
  // How many words may follow the verb.
  std::size_t least_arguments;
  std::size_t most_arguments;
  bool has_json;  // whether --json means anything
  void (*add_options)(boost::program_options::options_description& options);
  // kExitDone or kExitFindings, or an Error that names what failed.
  Result<ExitStatus> (*run)(Invocation& invocation);
};

// For verbs without options of their own.
inline void no_options(boost::program_options::options_description& /*options*/) {}

extern const Verb kRecordVerb;
extern const Verb kCollectVerb;
extern const Verb kWatchVerb;
extern const Verb kListVerb;
extern const Verb kShowVerb;
extern const Verb kStatusVerb;
extern const Verb kResolveVerb;
extern const Verb kCheckVerb;
extern const Verb kBackendsVerb;
extern const Verb kPlanVerb;
extern const Verb kEmitVerb;
extern const Verb kApplyVerb;
extern const Verb kVerifyVerb;
extern const Verb kReplayVerb;
extern const Verb kCaptureVerb;
extern const Verb kTopologyVerb;
extern const Verb kHandoverVerb;
extern const Verb kKexecVerb;
extern const Verb kKhoVerb;
extern const Verb kAuditVerb;
extern const Verb kConfigVerb;
extern const Verb kReportVerb;
extern const Verb kMapVerb;
extern const Verb kMetricsVerb;
extern const Verb kRebuildVerb;
extern const Verb kSnapshotVerb;
extern const Verb kRecoverVerb;
extern const Verb kUpgradeVerb;

// All of them, in the order of the manual.
std::span<const Verb* const> all_verbs();

}  // namespace poisonctl
