#include "cli/watcher.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <future>
#include <new>
#include <system_error>
#include <utility>

#include "cli/service.h"
#include "cli/steps.h"
#include "registry/range_text.h"
#include "registry/sources/trace/decode.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr const char* kInstance = "poisonctl";
// The buffers are read for so long at most. When nothing is left they are left alone for as long: a
// storm costs 50 rounds a second, and not one for each of its events.
constexpr milliseconds kPause(20);
constexpr seconds kTick(1);
constexpr milliseconds kTickOfScan(100);
// Modules that bring trace events (CXL) may be loaded later.
constexpr unsigned kTicksToNewEvents = 60;
constexpr seconds kRefreshPause(10);
// A scan takes one part in so many of the time (13 s for 1 TiB of memory); so does reading what
// became of the frames that are known.
constexpr int kShare = 10;
constexpr seconds kPauseAfterFailure(60);

Time now() {
  return std::chrono::time_point_cast<Time::duration>(std::chrono::system_clock::now());
}

// "ue 0x8000000, 3 times, on DIMM A1, socket=0: free buddy page: Recovered"
std::string line_of(const Event& event) {
  std::string line(to_word(event.kind));
  line += event.range ? " " + to_text(*event.range) : " without a place";
  if (event.count != 1) line += fmt::format(", {} times", event.count);
  if (!event.label.empty()) line += ", on " + printable(event.label);
  if (event.dram != DramCoordinates{}) line += ", " + to_text(event.dram);
  constexpr std::size_t kShown = 160;
  return line + ": " + printable(event.result.empty() ? event.evidence : event.result, kShown);
}

// syslog(3)'s levels.
std::string_view priority_of(EventKind kind) {
  switch (kind) {
    case EventKind::kUncorrected:
    case EventKind::kDeferred:
      return "2";  // critical
    case EventKind::kMedia:
    case EventKind::kPoisoned:
    case EventKind::kInjected:
      return "3";  // error
    case EventKind::kCorrected:
    case EventKind::kUnpoisoned:
    case EventKind::kOutcome:
    case EventKind::kResolution:
      return "4";  // warning
  }
  return "4";
}

// Which entry of packaging/systemd/poisonctl.catalog says what to do. Never changed: people filter
// by them.
std::string_view message_id_of(EventKind kind) {
  switch (kind) {
    case EventKind::kUncorrected:
      return "23a0026dcd4d431eb9664a2809ef554d";
    case EventKind::kCorrected:
      return "0531c9a3c5e149778d00ab265667afec";
    case EventKind::kDeferred:
      return "c34546b8aa934f3786f76b148a9add2c";
    case EventKind::kMedia:
      return "17505b85049245a0b9a51dadd61de8e3";
    case EventKind::kInjected:
      return "ec2366b1fda14a3489e7129495557ab7";
    case EventKind::kPoisoned:
      return "d0ebdfd2b72e456e90f1ef035d209888";
    case EventKind::kUnpoisoned:
    case EventKind::kOutcome:
    case EventKind::kResolution:
      return {};  // are not what the trace reports
  }
  return {};
}

std::vector<std::pair<std::string, std::string>> journal_fields(const Event& event) {
  constexpr std::size_t kShown = 4000;
  std::vector<std::pair<std::string, std::string>> fields = {
      {"MESSAGE", line_of(event)},
      {"PRIORITY", std::string(priority_of(event.kind))},
      {"SYSLOG_IDENTIFIER", "poisonctl"},
      {"MESSAGE_ID", std::string(message_id_of(event.kind))},
      {"POISONCTL_KIND", std::string(to_word(event.kind))},
      {"POISONCTL_COUNT", fmt::format("{}", event.count)},
      {"POISONCTL_EVIDENCE", printable(event.evidence, kShown)}};
  if (event.range) {
    fields.emplace_back("POISONCTL_ADDRESS", to_hex(event.range->begin().value()));
    fields.emplace_back("POISONCTL_SIZE", fmt::format("{}", event.range->size()));
  }
  if (!event.label.empty()) fields.emplace_back("POISONCTL_DIMM", printable(event.label, kShown));
  if (!event.result.empty()) fields.emplace_back("POISONCTL_RESULT", printable(event.result));
  if (event.dram != DramCoordinates{}) fields.emplace_back("POISONCTL_DRAM", to_text(event.dram));
  return fields;
}

std::string joined(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : ", ") + word;
  return all;
}

}  // namespace

Result<void> Watcher::run() {
  try {
    return watch();
  } catch (const std::bad_alloc&) {
    // What waits in the queue is nowhere else.
    static_cast<void>(store_queue());
    return Error{ErrorCode::kIo,
                 "out of memory; what was reported last may not be stored. The next start finds "
                 "the frames that it poisoned, but counts no corrected errors"};
  }
}

Result<void> Watcher::watch() {
  if (auto ready = set_up(); !ready) return ready;
  notify_service_manager("READY=1");
  if (auto followed = follow(); !followed) {
    static_cast<void>(store_queue());  // when that fails too, it has warned
    return followed;
  }
  notify_service_manager("STOPPING=1");
  return drain();
}

Result<void> Watcher::follow() {
  while (!stopping_) {
    if (auto waited = wait(); !waited) return waited;
    if (auto more = read_trace(); !more) return more.error();
    commit(false);
    if (Clock::now() >= next_tick_) tick();
    if (auto done = finish_scan(); !done) return done;
  }
  return {};
}

Result<void> Watcher::set_up() {
  to_journal_ = stderr_is_journal();
  // Before the first thread, which inherits what is blocked.
  auto signals = signals_to_end();
  if (!signals) return signals.error();
  signals_ = std::move(*signals);
  // A registry that cannot be written is told now, and not with the first error.
  if (auto store = invocation_.open_store(Store::Mode::kCreate); !store) return store.error();
  open_trace();
  if (const auto corrupted = read_hardware_corrupted(sysroot_)) corrupted_ = *corrupted;
  scan_wanted_ = "what happened before";
  start_scan();
  // Without the trace the scan is all there is.
  if (!trace_) {
    scan_.wait();
    return finish_scan();
  }
  return {};
}

void Watcher::open_trace() {
  next_tick_ = Clock::now() + kTick;
  auto opened = TraceReader::open(kInstance);
  Output& output = invocation_.output();
  if (!opened) {
    output.warning(opened.error().message +
                   "; looking at HardwareCorrupted in /proc/meminfo once a second instead, and at "
                   "page flags when it changes. Who reported an error stays unknown that way");
    return;
  }
  trace_.emplace(*std::move(opened));
  output.note("following " + joined(trace_->enabled()));
  if (const auto missing = trace_->missing(); !missing.empty()) {
    output.note("this kernel does not have " + joined(missing) + ": skipped");
  }
  look_for_losses();  // those of the time before
}

// Until something is to be done: a signal, an event, a batch that is due, the next tick.
Result<void> Watcher::wait() {
  const auto present = Clock::now();
  Clock::time_point until =
      scan_.valid() ? std::min(next_tick_, present + kTickOfScan) : next_tick_;
  std::vector<pollfd> watched = {{.fd = signals_.get(), .events = POLLIN, .revents = 0}};
  if (!batch_.empty()) {
    until = std::min(until, try_again_);
  } else if (trace_) {
    if (const auto due = queue_.due()) until = std::min(until, *due);
    if (present < read_again_) {
      until = std::min(until, read_again_);
    } else {
      for (const int descriptor : trace_->descriptors()) {
        watched.push_back({.fd = descriptor, .events = POLLIN, .revents = 0});
      }
    }
  }
  const auto left = std::chrono::ceil<milliseconds>(std::max(until - present, Clock::duration(0)));
  const int ready = ::poll(watched.data(), watched.size(), static_cast<int>(left.count()));
  if (ready < 0 && errno != EINTR) return os_error("poll", errno, ErrorCode::kIo);
  if (ready > 0 && (watched.front().revents & POLLIN) != 0) stopping_ = true;
  const auto answered = [](const pollfd& one) { return one.revents != 0; };
  if (std::any_of(watched.begin() + 1, watched.end(), answered)) readable_ = true;
  return {};
}

Result<bool> Watcher::read_trace() {
  // While the registry cannot be written the kernel's buffer keeps the events, as far as it can.
  const auto present = Clock::now();
  if (!trace_ || !batch_.empty() || !readable_ || present < read_again_) return false;
  // Corrected errors never fill the queue: without a limit of time a storm of them would keep
  // everything else from being stored.
  const auto wants_more = [&] { return !queue_.full() && Clock::now() < present + kPause; };
  auto more = trace_->read([&](const TraceEvent& trace) { take(trace); }, wants_more);
  if (!more) return more;
  readable_ = *more;
  if (!readable_) read_again_ = present + kPause;
  return more;
}

void Watcher::take(const TraceEvent& trace) {
  const SourceSettings settings{.page_shift = machine_.page_shift,
                                .memory_end = PhysAddr(kPhysAddrLimit)};
  if (raises_counter(trace)) ++failures_;
  for (Event& event : events_of(trace, settings)) {
    correlator_.tie(trace.name, event);
    queue_.add(std::move(event), Clock::now());
  }
}

Watcher::Commit Watcher::commit(bool all) {
  const auto present = Clock::now();
  if (!batch_.empty() && !all && present < try_again_) return Commit::kFailed;
  if (batch_.empty()) batch_ = queue_.take(present, all);
  if (batch_.empty()) return Commit::kNothing;
  // Want of memory in store() does not say what it has stored: no batch is stored twice for it.
  std::vector<Event> batch = std::exchange(batch_, {});
  const auto stored = store(batch);
  if (!stored) {
    batch_ = std::move(batch);
    if (!told_of_trouble_) {
      invocation_.output().warning(stored.error().message + "; trying again every second");
    }
    told_of_trouble_ = true;
    try_again_ = Clock::now() + kTick;
    return Commit::kFailed;
  }
  if (told_of_trouble_) invocation_.output().note("the registry can be written again");
  told_of_trouble_ = false;
  stored_since_tick_ = true;
  for (const Event& event : batch) {
    report(event);
    if (event.range && event.kind != EventKind::kCorrected) {
      verify_wanted_ = true;
      refresh_wanted_ = true;
    }
  }
  static_cast<void>(invocation_.output().finish());  // a reader that went away changes nothing
  return Commit::kStored;
}

// All of it: what was taken out of the ring buffer is nowhere else.
Result<void> Watcher::store_queue() {
  Commit done = Commit::kStored;
  while (done == Commit::kStored) done = commit(true);
  if (done == Commit::kNothing) return {};
  return Error{ErrorCode::kCannotWrite,
               "what was reported last could not be stored; the next start finds the frames that "
               "it poisoned"};
}

// The registry is opened for each batch: 'recover' may have put another file in its place.
Result<void> Watcher::store(const std::vector<Event>& events) {
  auto provenance = invocation_.provenance("trace");
  if (!provenance) return provenance.error();
  provenance->source_version = provenance->kernel_release;
  const auto summary = store_events(invocation_, Store::Mode::kCreate, *provenance, events);
  if (!summary) return summary.error();
  return {};
}

void Watcher::report(const Event& event) {
  if (to_journal_ && send_to_journal(journal_fields(event))) return;
  const auto time = std::chrono::floor<seconds>(event.observed.value_or(now()));
  invocation_.output().line(to_rfc3339(time) + "  " + line_of(event));
}

void Watcher::tick() {
  next_tick_ = Clock::now() + kTick;
  readable_ = true;  // not left to poll(2) alone
  look_for_losses();
  look_at_counter();
  if (trace_ && ++ticks_ % kTicksToNewEvents == 0) {
    const auto added = trace_->enable_missing();
    if (!added.empty()) invocation_.output().note("following " + joined(added) + " too");
  }
  if (scan_wanted_ && !scan_.valid() && Clock::now() >= next_scan_) start_scan();
  // What became of the frames is asked when it is quiet: an event must not wait for the answer.
  const bool quiet = !std::exchange(stored_since_tick_, false) && !scan_.valid();
  if (verify_wanted_ && quiet && Clock::now() >= next_verification_) verify();
  if (refresh_wanted_ && Clock::now() >= next_refresh_) refresh();
}

// At once for the first, and no storm of them for a storm of errors.
void Watcher::refresh() {
  refresh_wanted_ = false;
  next_refresh_ = Clock::now() + kRefreshPause;
  if (auto asked = request_refresh(sysroot_); !asked) {
    invocation_.output().warning(asked.error().message);
  }
}

void Watcher::verify() {
  const auto start = Clock::now();
  verify_wanted_ = false;
  const auto verified = verify_records(invocation_);
  if (!verified) {
    invocation_.output().warning(verified.error().message);
  } else if (verified->not_stored) {
    invocation_.output().warning("what became of the frames is not stored: " +
                                 *verified->not_stored);
  }
  next_verification_ = Clock::now() + kShare * (Clock::now() - start);
}

// Events that the ring buffer had no room for are a gap in the log, and a reason to scan.
void Watcher::look_for_losses() {
  if (!trace_) return;
  const auto lost = trace_->lost();
  if (!lost) {
    // Said once; a scan finds what may have been lost, each time.
    if (!losses_unknown_) invocation_.output().warning(lost.error().message);
    losses_unknown_ = true;
    scan_wanted_ = "how many trace events were lost cannot be read";
    return;
  }
  losses_unknown_ = false;
  const Time present = now();
  if (*lost > lost_) {
    queue_.add(gap_of(*lost - lost_, looked_, present), Clock::now());
    scan_wanted_ = "trace events were lost";
  }
  lost_ = *lost;
  looked_ = present;
}

// What raises the kernel's counter without a trace event: soft offline, and what was lost.
void Watcher::look_at_counter() {
  const auto corrupted = read_hardware_corrupted(sysroot_);
  if (!corrupted || !*corrupted) return;
  const std::uint64_t before = corrupted_.value_or(0);
  const std::uint64_t explained = before + failures_ * machine_.page_shift.page_size();
  const bool changed = **corrupted != before;
  if (changed && **corrupted != explained) scan_wanted_ = "HardwareCorrupted has changed";
  corrupted_ = *corrupted;
  failures_ = 0;
}

void Watcher::start_scan() {
  invocation_.output().detail("reading page flags: " + *scan_wanted_);
  scan_wanted_.reset();
  scan_started_ = Clock::now();
  // In a thread of its own: a scan of a large machine takes longer than the ring buffer lasts.
  try {
    scan_ = std::async(std::launch::async, [this, registry = invocation_.registry_path()] {
      return scan_page_flags(registry, sysroot_, machine_, {.full = true, .threads = 1});
    });
  } catch (const std::system_error& error) {
    // No thread to be had: a scan that failed. What is queued must not be lost for it.
    std::promise<Result<PageFlagScan>> failed;
    failed.set_value(Error{ErrorCode::kIo, fmt::format("no thread to be had: {}", error.what())});
    scan_ = failed.get_future();
  }
}

Result<void> Watcher::finish_scan() {
  if (!scan_.valid() || scan_.wait_for(seconds(0)) != std::future_status::ready) return {};
  auto found = scan_.get();
  // The first scan is the one of the start: what happens right after it need not wait.
  if (scanned_) next_scan_ = Clock::now() + kShare * (Clock::now() - scan_started_);
  if (found) {
    scanned_ = true;
    if (auto stored = take_scan(*found); !stored) {
      invocation_.output().warning(stored.error().message);
      scan_wanted_ = "what the last scan found could not be stored";
    }
    return {};
  }
  if (!trace_ && !scanned_) return found.error();  // neither way works here
  scan_wanted_ = "they could not be read the last time";
  next_scan_ = std::max(next_scan_, Clock::now() + kPauseAfterFailure);
  invocation_.output().warning(
      "page flags cannot be read, so that what is lost stays unknown; "
      "trying again every minute: " +
      found.error().message);
  return {};
}

Result<void> Watcher::take_scan(const PageFlagScan& scan) {
  const auto stored = store_scan(invocation_, scan);
  if (!stored) return stored.error();
  const bool news = stored->poisoned.added != 0;
  if (!news && stored->poisoned.known + stored->unpoisoned == 0) return {};
  refresh_wanted_ = refresh_wanted_ || news;
  if (news || stored->unpoisoned != 0) {
    invocation_.output().note(to_text(*stored, invocation_.registry_path()));
  }
  invocation_.forget_memory_map();
  verify();
  return {};
}

// The next kernel has other page flags, and this may be the end of this one: what was missed since
// the last tick is looked for, and what could not be stored is read again.
Result<void> Watcher::last_scan() {
  if (scan_.valid()) {
    scan_.wait();
    if (auto done = finish_scan(); !done) return done;
  }
  if (scan_wanted_) {
    start_scan();
    scan_.wait();
    if (auto done = finish_scan(); !done) return done;
  }
  // Where page flags cannot be read at all it was said in the beginning.
  if (!scan_wanted_ || !scanned_) return {};
  return Error{ErrorCode::kIo,
               "what page flags tell is not recorded: " + *scan_wanted_ +
                   "; the next start on this boot finds what was poisoned and not reported"};
}

// What has been reported until now is stored before the program ends.
Result<void> Watcher::drain() {
  if (trace_) {
    trace_->stop();
    look_for_losses();
  }
  auto stored = store_queue();
  for (bool more = true; more && stored;) {
    read_again_ = {};
    readable_ = true;
    const auto read = read_trace();
    stored = store_queue();
    if (!read) return read.error();
    more = *read;
  }
  if (!stored) return stored;
  look_at_counter();
  if (auto scanned = last_scan(); !scanned) return scanned;
  if (verify_wanted_) verify();
  if (refresh_wanted_) refresh();
  return trace_ ? trace_->remove() : Result<void>();
}

}  // namespace poisonctl
