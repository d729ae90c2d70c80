// What a replay did, as it is kept in /run/poisonctl/replay.json (poisonctl/replay-v1): the program
// of the initramfs writes it, poisonctl reads and replaces it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backends/replay.h"
#include "cli/json.h"
#include "registry/check.h"
#include "registry/event.h"
#include "registry/machine.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

inline constexpr std::string_view kReportPath = "run/poisonctl/replay.json";

// Who replayed.
enum class ReplayStage { kInitramfs, kService };
std::string_view to_word(ReplayStage stage);

// A handover that was found, and what was thought of it.
struct SeenHandover {
  struct Finding {
    std::string rule;
    std::string message;
  };
  std::string from;   // the file
  std::string trust;  // as to_word(Trust), or "unreadable"
  std::uint64_t generation = 0;
  bool used = false;  // it is the list of this replay
  std::vector<Finding> findings;
};

// A ReplayRun that owns its text.
struct ReportedRun {
  ByteRange range;
  ReplayState state = ReplayState::kUnknown;
  FrameUse use = FrameUse::kNone;
  Retirement retirement = Retirement::kUnknown;
  int error = 0;
  std::string how;
};

struct ReplayReport {
  ReplayStage stage = ReplayStage::kService;
  Time time{};  // when it ended
  std::string boot_id;
  std::string kernel_release;
  std::uint64_t page_size = 0;
  std::uint64_t generation = 0;
  bool dry_run = false;
  bool stopped = false;
  bool flags_read = true;
  std::string not_replayed;  // why nothing was tried at all; else empty
  std::uint64_t orders = 0;
  std::chrono::microseconds duration{};
  std::vector<SeenHandover> handovers;  // of the initramfs of this boot, whoever replayed since
  std::vector<ReportedRun> runs;
  std::vector<Refusal> refused;
  FlagDoubts doubts;  // of all replays of this boot
};

// Of the machine that runs now; nothing is done yet.
ReplayReport report_of(const Machine& machine, ReplayStage stage);

// Whether no frame of the list is left that can be used.
bool all_out_of_use(const ReplayReport& report);

// Frames by state, in the order of ReplayState.
std::vector<std::uint64_t> count_states(const ReplayReport& report);

// Takes over what replay() found.
void add_result(ReplayReport& report, const ReplayResult& result);

// "5 effective, 1 taken by the kernel or a process; 1 refused": for people.
std::string summary_of(const ReplayReport& report);

// One JSON object and a line end. In little memory, however many runs there are.
std::string to_text(const ReplayReport& report);
// Errors: kBadData with what was expected; kUnknownForm for another schema.
Result<ReplayReport> parse_report(std::string_view text, const std::string& shown);

// The report of this boot, if there is one. Errors: as parse_report, kIo, kNoPrivilege.
Result<std::optional<ReplayReport>> read_report(const SysRoot& sysroot, const std::string& boot_id);
// Mode 0640: addresses of memory are for administrators. Errors: kCannotWrite.
Result<void> write_report(const SysRoot& sysroot, const ReplayReport& report);

// What the replay found out of use, and is not in doubt.
RangeSet settled_by(const ReplayReport& report);

}  // namespace poisonctl
