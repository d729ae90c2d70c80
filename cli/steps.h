// Steps that several verbs share: from the registry to a checked retire list, and back from page
// flags to outcomes.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "backends/backend.h"
#include "cli/exit_status.h"
#include "cli/invocation.h"
#include "cli/output.h"
#include "cli/replay/report.h"
#include "registry/check.h"
#include "registry/page_flags.h"
#include "registry/record.h"
#include "registry/retire_list.h"
#include "registry/sources/kernel.h"
#include "registry/trust.h"

namespace poisonctl {

// Things that are done one after the other, of which one that fails keeps the next from nothing.
class JoinedOutcome {
 public:
  // `output` must outlive it: further errors are warned of there.
  explicit JoinedOutcome(Output& output) : output_(output) {}
  void add(const Result<ExitStatus>& done);
  // The first error; without one, the last status that is not kExitDone.
  [[nodiscard]] Result<ExitStatus> outcome() const;

 private:
  Output& output_;
  std::optional<Error> first_;
  ExitStatus status_ = kExitDone;
};

// All records, sorted by address, those that are about other memory quarantined.
Result<std::vector<Record>> load_records(Invocation& invocation, Store& store);

// --bounds and --include-injected: how much of what is known a list takes.
void add_list_options(boost::program_options::options_description& options);
Result<ListPolicy> list_policy(Invocation& invocation);

// --merge, --merge-file, --loader, --widen, --reserve: how the option for a command line is to be.
// Errors: kUsage; those of the file.
void add_command_line_options(boost::program_options::options_description& options);
Result<CommandLineRequest> command_line_request(const Invocation& invocation);
// The value of --widen, or 0.
Result<std::uint64_t> widening_of(const Invocation& invocation);

// The registry of the invocation, read, checked against its machine and bounded.
struct LoadedList {
  std::vector<Record> records;
  CheckedList checked;
};
// `with_disagreements`: of CheckOptions.
Result<LoadedList> load_checked_list(Invocation& invocation, bool with_disagreements = false);
// Only what backends see of it.
Result<RetireList> load_retire_list(Invocation& invocation);

// The list as a signed handover, with the key of the registry.
struct MadeHandover {
  std::uint64_t generation = 0;
  std::size_t ranges = 0;
  std::string blob;
};
// kLook writes nothing, and fails where there is no key yet; kHandOut makes the key, and notes that
// a list of this generation was given out.
enum class HandoverUse { kLook, kHandOut };
Result<MadeHandover> make_handover(Invocation& invocation, const LoadedList& loaded,
                                   HandoverUse use);

// Stores events that somebody states now, in one import, and says what people should know of it.
Result<ImportSummary> store_events(Invocation& invocation, Store::Mode mode,
                                   const Provenance& provenance, std::span<const Event> events);
// The same for resolutions of records that were read when entry `read_up_to` was the newest.
// Errors: also kLocked, with nothing stored, when one of them has failed since: nobody has resolved
// that.
Result<ImportSummary> store_resolutions(Invocation& invocation, const Provenance& provenance,
                                        std::span<const Event> resolutions,
                                        std::int64_t read_up_to);
// Page flags as a scan read them, and what the same boot had poisoned before it.
struct PageFlagScan {
  Result<std::vector<ByteRange>> poisoned_before;  // errors: those of the registry
  KernelSourceResult found;
};
// Needs no invocation, so that it can run in a thread of its own. Errors: those of
// collect_from_kernel.
Result<PageFlagScan> scan_page_flags(const std::string& registry, const SysRoot& sysroot,
                                     const Machine& machine, KernelSourceOptions options);
// Stores what it found poisoned, and what is so no more: if that comes back in the same boot, it is
// news. Errors: also that of poisoned_before, when what was found is stored.
struct StoredScan {
  ImportSummary poisoned;
  std::uint64_t unpoisoned = 0;  // ranges that this is new of
};
Result<StoredScan> store_scan(Invocation& invocation, const PageFlagScan& scan);
// For people; empty when there is nothing to tell.
std::string to_text(const StoredScan& stored, const std::string& registry);
// Warns of records that were opened again, and of a checkpoint that could not follow.
void report_import(const Output& output, const ImportSummary& summary);

// The state of a whole record, from the runs of frames inside it: the worst that any frame is in,
// and how many frames are in which state.
struct RecordOutcome {
  Retirement retirement = Retirement::kUnknown;
  std::string how;
};
RecordOutcome combine(std::span<const RetirementRun> runs, PageShift shift);

// Reads the page flags of every faulty record and stores what changed as outcome events. What a
// replay of this boot found kept by the kernel is not effective, whatever its flags look like
// (packaging/doc/decisions/0002). The runs are those of all faulty records, coalesced. `not_stored`
// says why the outcomes could not be stored, if so: what was read is good all the same.
struct Verification {
  std::vector<RetirementRun> runs;
  std::optional<std::string> not_stored;
};
Result<Verification> verify_records(Invocation& invocation);

// What the newest replay of this boot did; nothing where there was none, or its report is no use,
// which is warned of.
std::optional<ReplayReport> last_replay(Invocation& invocation);

// The outcome events of the faulty records that lie wholly in `runs` (sorted, disjoint), but for
// those that the records have already.
std::vector<Event> outcome_events(std::span<const Record> records,
                                  std::span<const RetirementRun> runs,
                                  const Provenance& provenance);

// What a terminal shows of a retirement.
Tint tint_of(Retirement retirement);

}  // namespace poisonctl
