// The loop of 'poisonctl watch': ring buffer to queue to registry, with a scan of the page flags
// whenever something may have been missed.
#pragma once

#include <chrono>
#include <cstdint>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "cli/invocation.h"
#include "cli/steps.h"
#include "registry/posix_file.h"
#include "registry/sources/trace/correlate.h"
#include "registry/sources/trace/event_queue.h"
#include "registry/sources/trace/reader.h"

namespace poisonctl {

class Watcher {
 public:
  // Both must outlive it.
  Watcher(Invocation& invocation, const SysRoot& sysroot, const Machine& machine)
      : invocation_(invocation), sysroot_(sysroot), machine_(machine) {}

  // Until SIGTERM or SIGINT; then everything that the kernel has reported is in the registry.
  Result<void> run();

 private:
  using Clock = EventQueue::Clock;

  Result<void> watch();
  Result<void> set_up();
  Result<void> follow();
  void open_trace();
  Result<void> wait();
  // True when there may be more to read at once.
  Result<bool> read_trace();
  void take(const TraceEvent& trace);
  // Stores a batch of what is due, or of all. kFailed: the batch is kept, to be tried again.
  enum class Commit { kNothing, kStored, kFailed };
  Commit commit(bool all);
  Result<void> store_queue();
  Result<void> store(const std::vector<Event>& events);
  void report(const Event& event);
  void tick();
  void verify();
  void refresh();
  void look_for_losses();
  void look_at_counter();
  void start_scan();
  Result<void> finish_scan();
  Result<void> take_scan(const PageFlagScan& scan);
  Result<void> last_scan();
  Result<void> drain();

  Invocation& invocation_;
  const SysRoot& sysroot_;
  const Machine& machine_;
  UniqueFd signals_;
  bool stopping_ = false;
  bool to_journal_ = false;

  std::optional<TraceReader> trace_;
  std::uint64_t lost_ = 0;       // events that are known to be lost
  bool losses_unknown_ = false;  // they could not be read when last looked at
  std::optional<Time> looked_;   // when that was read
  Clock::time_point read_again_{};
  Clock::time_point next_tick_{};
  unsigned ticks_ = 0;
  bool readable_ = true;  // the buffers may hold something

  Correlator correlator_;
  EventQueue queue_;
  std::vector<Event> batch_;  // taken from the queue, not yet in the registry
  Clock::time_point try_again_{};
  bool told_of_trouble_ = false;

  std::optional<std::uint64_t> corrupted_;  // HardwareCorrupted, as it was last read
  std::uint64_t failures_ = 0;              // memory_failure_event since then
  std::optional<std::string> scan_wanted_;  // why
  std::future<Result<PageFlagScan>> scan_;
  bool scanned_ = false;         // once, with success
  bool verify_wanted_ = false;   // frames have become known whose retirement is not
  bool refresh_wanted_ = false;  // frames that carriers do not have
  bool stored_since_tick_ = false;
  Clock::time_point scan_started_{};
  Clock::time_point next_scan_{};
  Clock::time_point next_verification_{};
  Clock::time_point next_refresh_{};
};

}  // namespace poisonctl
