// Replay: takes the frames of a list out of use in the running kernel, and reads from its page
// flags what became of each. The kernel's own answer to an order only ever takes away from that: a
// frame that it says it could not isolate is not retired, whatever its flags look like afterwards.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "registry/memory_map.h"
#include "registry/page_flags.h"
#include "registry/range_set.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

// What became of a frame.
enum class ReplayState {
  kEffective,  // retired now
  kAlready,    // was retired before this run
  kExcluded,   // left out of the kernel's memory map
  kAbsent,     // its memory is offline or not there; to be retired when it comes
  kTaken,      // somebody had it first: see ReplayRun::use
  kFailed,     // the kernel was asked and can still hand it out
  kPending,    // not asked for: a dry run, or the run was stopped
  kUnknown,    // the flags cannot be read, or cannot tell
};
std::string_view to_word(ReplayState state);
std::optional<ReplayState> replay_state_from(std::string_view word);

// A run of frames of which the same became.
struct ReplayRun {
  ByteRange range;
  ReplayState state = ReplayState::kUnknown;
  FrameUse use = FrameUse::kNone;  // of kTaken: whose it is
  Retirement retirement = Retirement::kUnknown;
  int error = 0;         // the errno of the last order; 0 when it was granted or never given
  const char* how = "";  // what was seen; static text
};

// What page flags do not tell in this boot: a frame that the kernel flagged and kept looks like one
// that it isolated (packaging/doc/decisions/0002).
struct FlagDoubts {
  RangeSet kept = {};    // a replay was told so by the kernel
  RangeSet unsure = {};  // flagged by the time that a replay was cut off, which can no longer say
};

struct ReplayPolicy {
  // Frames that are mapped, or hold data that may be nowhere else, are taken as well: whoever uses
  // them next is killed.
  bool take_from_processes = false;
  // Without page flags: gives the orders all the same, and says of no frame what became of it.
  bool blind = false;
  bool dry_run = false;
  // Looks so many times in all, with pauses that double, for frames that may yet come free.
  unsigned rounds = 5;
  std::chrono::milliseconds first_pause{10};
  FlagDoubts doubts = {};  // of earlier replays of this boot
  // The replay before this one was cut off: a frame that is flagged now is doubtful, apart from
  // those that replays before it had found out of use.
  bool cut_off = false;
  RangeSet settled = {};
};

// The run's surroundings, so that tests need no clock and no signals.
struct ReplayHooks {
  std::function<bool()> stopped;  // asked before every order
  std::function<void(std::chrono::milliseconds)> pause;
};

struct ReplayResult {
  std::vector<ReplayRun> runs;  // sorted; together the frames of the list
  FlagDoubts doubts;            // those of the policy and those of this run
  bool flags_read = true;
  bool stopped = false;      // frames may be left that nobody asked for
  std::uint64_t orders = 0;  // writes to hard_offline_page
};

// What is said of a frame in doubt.
inline constexpr const char* kHowKept =
    "poisoned, but the kernel kept it when it was retired in this boot";
inline constexpr const char* kHowUnsure =
    "poisoned, but a replay was cut off that may have found it in use";
// Of a frame that the kernel is still to be told of.
inline constexpr const char* kHowUnnamed =
    "in a poisoned hugetlb page; whether the kernel knows this frame of it cannot be told";

// Why no frame may be retired on this machine at all, if so: no hard_offline_page, or a kernel that
// would panic instead of retiring (vm.memory_failure_recovery is 0).
std::optional<Error> why_no_replay(const SysRoot& sysroot);

// Never soft-offlines: that reads the bad frame. `frames` is the checked and bounded list. Errors:
// why_no_replay; without `blind`, those of FrameReader::open; kIo, kNoPrivilege.
Result<ReplayResult> replay(const RangeSet& frames, const SysRoot& sysroot, const MemoryMap& map,
                            PageShift shift, const ReplayPolicy& policy, const ReplayHooks& hooks);

}  // namespace poisonctl
