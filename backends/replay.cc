#include "backends/replay.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <memory>
#include <optional>

#include "backends/offline.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kOrderPath = "sys/devices/system/memory/hard_offline_page";
constexpr std::string_view kPanicPath = "proc/sys/vm/panic_on_unrecoverable_memory_failure";

// In the order of the type.
constexpr std::array<std::string_view, 8> kStateWords = {
    "effective", "already", "excluded", "absent", "taken", "failed", "pending", "unknown"};

struct Frame {
  ByteRange range;
  FrameView first;  // before anything was done
  FrameView now;
  int error = 0;
  bool ordered = false;
  bool vague =
      false;  // of a hugetlb page that is all on the list: which of it is bad, nobody knows
};

// What is to be done with a frame next.
enum class Step {
  kNothing,  // nothing more can be done about it
  kOrder,    // retire it
  kWait,     // may come free, or be written back; else it stays where it is
  kLast,     // may come free; else it is flagged all the same: once freed, it is never used again
};

// Only the kernel has these, and it gives them back by itself or never. Flags do not tell a page
// that is free in the list of one CPU from one that the kernel uses; an order for it would fail and
// could not be repeated, as it sets the flag (mm/memory-failure.c, get_any_page).
bool may_come_free(FrameUse use) {
  return use == FrameUse::kSlab || use == FrameUse::kPageTable || use == FrameUse::kKernel;
}

Step next_step(const FrameView& view, bool take_from_processes, bool spare_kernel) {
  const FrameUse use = use_of(view);
  if (use == FrameUse::kNone || view.is_device || is_poisoned(view)) return Step::kNothing;
  if (classify_frame(view).retirement == Retirement::kEffective) return Step::kNothing;
  if (use == FrameUse::kHost) return Step::kWait;
  if (use == FrameUse::kReserved) return spare_kernel ? Step::kNothing : Step::kOrder;
  if (may_come_free(use) && !holds_data(view)) return spare_kernel ? Step::kWait : Step::kLast;
  return holds_data(view) && !take_from_processes ? Step::kWait : Step::kOrder;
}

class Replayer {
 public:
  Replayer(const SysRoot& sysroot, PageShift shift, const ReplayPolicy& policy,
           const ReplayHooks& hooks)
      : shift_(shift), policy_(policy), hooks_(hooks) {
    const auto panics = sysroot.read(kPanicPath);
    spare_kernel_ = panics && trim(*panics) == "1";
  }

  Result<ReplayResult> run(const RangeSet& frames, const FrameReader* reader,
                           const Attribute* orders) {
    reader_ = reader;
    orders_ = orders;
    frames_listed_ = &frames;
    result_.flags_read = reader != nullptr;
    if (auto seen = first_round(frames); !seen) return seen.error();
    auto pause = policy_.first_pause;
    for (unsigned round = 2; round <= policy_.rounds && is_anything_open(); ++round) {
      hooks_.pause(pause);
      pause *= 2;
      if (auto seen = later_round(round == policy_.rounds); !seen) return seen.error();
    }
    result_.doubts = policy_.doubts;
    for (const Frame& frame : frames_) add_outcome(frame);
    result_.doubts.kept = result_.doubts.kept.united_with(RangeSet::from_ranges(std::move(kept_)));
    result_.doubts.unsure =
        result_.doubts.unsure.united_with(RangeSet::from_ranges(std::move(unsure_)));
    return std::move(result_);
  }

 private:
  [[nodiscard]] bool may_order() {
    if (!result_.stopped) result_.stopped = hooks_.stopped();
    return !result_.stopped && !policy_.dry_run;
  }

  // Whether the kernel has to be told of the frame although it is flagged:
  // hugetlb_set_page_hwpoison() in mm/memory-failure.c notes each that it is told of, and keeps
  // those alone when it takes the page apart. It answers EHWPOISON, whether it knew the frame or
  // not.
  // Of a page that is all on the list the kernel may know which frame it is, and we do not.
  [[nodiscard]] bool is_to_be_named(const Frame& frame) const {
    return is_of_poisoned_hugetlb(frame.now) && !frame.vague && !frame.ordered && !spare_kernel_ &&
           !policy_.settled.contains(frame.range);
  }

  [[nodiscard]] Step step_of(const Frame& frame) const {
    if (is_to_be_named(frame)) return Step::kOrder;
    // An order that set the flag cannot be repeated; one that did not, can.
    return next_step(frame.now, policy_.take_from_processes, spare_kernel_);
  }

  [[nodiscard]] bool is_anything_open() const {
    if (reader_ == nullptr || policy_.dry_run || result_.stopped) return false;
    return std::any_of(frames_.begin(), frames_.end(),
                       [&](const Frame& frame) { return step_of(frame) != Step::kNothing; });
  }

  void order(Frame& frame) {
    // mm/memory-failure.c takes a byte address in any base; without 0x it would be decimal.
    std::array<char, 32> text{};
    const auto end =
        fmt::format_to_n(text.data(), text.size(), "{:#x}", frame.range.begin().value());
    frame.error = orders_->write({text.data(), end.size});
    frame.ordered = true;
    ++result_.orders;
  }

  Result<void> look(Frame& frame) {
    if (reader_ == nullptr) return {};
    const auto view = reader_->look(frame.range);
    if (!view) return view.error();
    frame.now = *view;
    if (!is_of_poisoned_hugetlb(*view)) return {};
    if (!page_ || !page_->contains(frame.range)) {
      const auto page = reader_->hugetlb_page(frame.range);
      if (!page) return page.error();
      page_ = *page;
    }
    frame.vague = frames_listed_->contains(*page_);
    return {};
  }

  // Looks at each frame and at once gives the order: each moment lets somebody take it.
  Result<void> first_round(const RangeSet& frames) {
    for (const ByteRange& range : frames.ranges()) {
      for (PhysAddr at = range.begin(); at < range.end();
           at = PhysAddr(at.value() + shift_.page_size())) {
        Frame frame{.range = *ByteRange::from_size(at, shift_.page_size()), .first = {}, .now = {}};
        if (auto seen = look(frame); !seen) return seen.error();
        frame.first = frame.now;
        const bool wanted = reader_ == nullptr || step_of(frame) == Step::kOrder;
        if (wanted && may_order()) order(frame);
        frames_.push_back(frame);
      }
    }
    return look_at_ordered();
  }

  Result<void> later_round(bool is_last) {
    for (Frame& frame : frames_) {
      if (step_of(frame) == Step::kNothing) continue;
      if (auto seen = look(frame); !seen) return seen.error();
      const Step step = step_of(frame);
      const bool wanted = step == Step::kOrder || (is_last && step == Step::kLast);
      if (!wanted || !may_order()) continue;
      frame.first = frame.now;
      order(frame);
    }
    return look_at_ordered();
  }

  Result<void> look_at_ordered() {
    for (Frame& frame : frames_) {
      if (!frame.ordered) continue;
      if (auto seen = look(frame); !seen) return seen.error();
    }
    return {};
  }

  void add_outcome(const Frame& frame) {
    ReplayRun run = outcome_of(frame);
    run.range = frame.range;
    run.error = frame.ordered ? frame.error : 0;
    if (run.state == ReplayState::kTaken && run.retirement == Retirement::kFailed) {
      kept_.push_back(run.range);
    }
    if (run.state == ReplayState::kUnknown && is_poisoned(frame.now)) {
      unsure_.push_back(run.range);
    }
    ReplayRun* const last = result_.runs.empty() ? nullptr : &result_.runs.back();
    if (last != nullptr && last->range.end() == run.range.begin() && last->state == run.state &&
        last->use == run.use && last->error == run.error && last->how == run.how) {
      last->range = *ByteRange::from_last(last->range.begin(), run.range.last());
    } else {
      result_.runs.push_back(run);
    }
  }

  [[nodiscard]] static ReplayRun made(ReplayState state, Retirement retirement, const char* how,
                                      FrameUse use = FrameUse::kNone) {
    return {.range = *ByteRange::from_size(PhysAddr(0), 1),
            .state = state,
            .use = use,
            .retirement = retirement,
            .error = 0,
            .how = how};
  }

  [[nodiscard]] ReplayRun outcome_of(const Frame& frame) const {
    using enum ReplayState;
    if (reader_ == nullptr) {
      return made(kUnknown, Retirement::kUnknown,
                  frame.ordered ? "asked for; its page flags cannot be read"
                                : "its page flags cannot be read");
    }
    const FrameState state = classify_frame(frame.now);
    const FrameUse use = use_of(frame.now);
    if (state.retirement == Retirement::kEffective) return when_out_of_use(frame, state);
    if (state.retirement == Retirement::kUnknown && !frame.ordered) {
      return made(kUnknown, state.retirement, state.how);
    }
    if (use == FrameUse::kFree && !frame.ordered) {
      return made(kPending, state.retirement, state.how);
    }
    if (use == FrameUse::kFree) return made(kFailed, state.retirement, state.how);
    // What would be ordered were this no dry run.
    if (!frame.ordered && step_of(frame) == Step::kOrder) {
      return made(kPending, state.retirement, state.how);
    }
    return made(kTaken, state.retirement, state.how, use);
  }

  // The flags say that nobody can get it.
  [[nodiscard]] ReplayRun when_out_of_use(const Frame& frame, const FrameState& state) const {
    using enum ReplayState;
    if (!is_poisoned(frame.now)) {
      const bool absent = !frame.now.has_page || frame.now.in_ram;
      return made(absent ? kAbsent : kExcluded, state.retirement, state.how);
    }
    if (is_to_be_named(frame)) return made(kPending, Retirement::kUnknown, kHowUnnamed);
    if (policy_.doubts.kept.overlaps(frame.range)) {
      return made(kTaken, Retirement::kFailed, kHowKept, FrameUse::kKernel);
    }
    if (!frame.ordered || frame.error == EHWPOISON) {
      const bool unsure = policy_.cut_off && !policy_.settled.contains(frame.range);
      if (unsure || policy_.doubts.unsure.overlaps(frame.range)) {
        return made(kUnknown, Retirement::kUnknown, kHowUnsure);
      }
      return made(kAlready, state.retirement, state.how);
    }
    if (frame.error != 0) {
      return made(kTaken, Retirement::kFailed, "poisoned, but the kernel says that it is in use",
                  use_of(frame.first));
    }
    return made(kEffective, state.retirement, state.how);
  }

  const PageShift shift_;
  const ReplayPolicy& policy_;
  const ReplayHooks& hooks_;
  bool spare_kernel_ = false;  // such an order would panic the machine
  const FrameReader* reader_ = nullptr;
  const Attribute* orders_ = nullptr;
  const RangeSet* frames_listed_ = nullptr;
  std::optional<ByteRange> page_;  // the hugetlb page that was met last
  std::vector<Frame> frames_;
  std::vector<ByteRange> kept_;
  std::vector<ByteRange> unsure_;
  ReplayResult result_;
};

}  // namespace

std::string_view to_word(ReplayState state) {
  return kStateWords.at(static_cast<std::size_t>(state));
}

std::optional<ReplayState> replay_state_from(std::string_view word) {
  const auto* const found = std::find(kStateWords.begin(), kStateWords.end(), word);
  if (found == kStateWords.end()) return std::nullopt;
  return static_cast<ReplayState>(found - kStateWords.begin());
}

std::optional<Error> why_no_replay(const SysRoot& sysroot) {
  const Availability there = OfflineBackend().probe(sysroot);
  if (there.available) return std::nullopt;
  return Error{ErrorCode::kNotAvailable, there.reason};
}

Result<ReplayResult> replay(const RangeSet& frames, const SysRoot& sysroot, const MemoryMap& map,
                            PageShift shift, const ReplayPolicy& policy, const ReplayHooks& hooks) {
  if (const auto refusal = why_no_replay(sysroot)) return *refusal;
  auto reader = FrameReader::open(sysroot, map, shift);
  if (!reader && !policy.blind) return reader.error();
  std::unique_ptr<Attribute> orders;
  if (!policy.dry_run) {
    auto opened = sysroot.open_attribute(kOrderPath);
    if (!opened) return opened.error();
    orders = *std::move(opened);
  }
  return Replayer(sysroot, shift, policy, hooks)
      .run(frames, reader ? &*reader : nullptr, orders.get());
}

}  // namespace poisonctl
