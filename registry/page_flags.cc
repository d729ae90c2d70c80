#include "registry/page_flags.h"

#include <fmt/format.h>
#include <linux/kernel-page-flags.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

namespace poisonctl {

namespace {

constexpr std::string_view kPath = "proc/kpageflags";
constexpr std::size_t kWordBytes = sizeof(PageFlagWord);
// One read: 1 MiB, 512 MiB of memory at 4 KiB pages. Larger reads do not go faster (tests/bench).
constexpr std::size_t kWordsPerRead = (1U << 20U) / kWordBytes;

constexpr PageFlagWord bit(unsigned number) { return PageFlagWord{1} << number; }
// Not in the uapi header, but stable since 2.6.31: include/linux/kernel-page-flags.h.
constexpr unsigned kKpfReserved = 32;

constexpr PageFlagWord kPoisoned = bit(KPF_HWPOISON);
constexpr PageFlagWord kHugetlb = bit(KPF_HUGE);
constexpr PageFlagWord kTail = bit(KPF_COMPOUND_TAIL);

// A part of kpageflags that is read in one go.
struct Chunk {
  std::uint64_t first_pfn;
  std::size_t count;
};

std::vector<Chunk> chunks_of(const RangeSet& where, PageShift shift) {
  std::vector<Chunk> chunks;
  const RangeSet frames = where.widened_to(shift);
  for (const ByteRange& range : frames.ranges()) {
    std::uint64_t pfn = shift.pfn_of(range.begin()).value();
    std::uint64_t left = range.frame_count(shift);
    while (left != 0) {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(left, kWordsPerRead));
      chunks.push_back({pfn, count});
      pfn += count;
      left -= count;
    }
  }
  return chunks;
}

class FlagFile {
 public:
  static Result<FlagFile> open(const SysRoot& sysroot) {
    auto file = sysroot.open(kPath);
    if (!file) {
      if (file.error().code == ErrorCode::kNoInput && sysroot.root() == "/") {
        return Error{ErrorCode::kNotAvailable,
                     "/proc/kpageflags does not exist: this kernel was built without "
                     "CONFIG_PROC_PAGE_MONITOR, or /proc is restricted"};
      }
      return file.error();
    }
    return FlagFile(*std::move(file), sysroot.shown(kPath));
  }

  // The words of up to `words.size()` frames from `first_pfn`; fewer where the file ends.
  Result<std::size_t> read(std::uint64_t first_pfn, std::span<PageFlagWord> words) const {
    const auto got = file_->read_at(first_pfn * kWordBytes, std::as_writable_bytes(words));
    if (!got) return got.error();
    if (*got % kWordBytes != 0) {
      return Error{ErrorCode::kBadData,
                   fmt::format("{}: ends inside a word, at offset {}; expected 8 bytes a frame",
                               shown_, first_pfn * kWordBytes + *got)};
    }
    return *got / kWordBytes;
  }

  // As read, but all of `words` must be there.
  Result<void> read_all(std::uint64_t first_pfn, std::span<PageFlagWord> words) const {
    const auto got = read(first_pfn, words);
    if (!got) return got.error();
    if (*got < words.size()) {
      return Error{
          ErrorCode::kBadData,
          fmt::format("{}: ends at frame {:#x} (offset {}), but /proc/iomem has RAM up to "
                      "frame {:#x}; the map changed while it was read, or the file was cut",
                      shown_, first_pfn + *got, (first_pfn + *got) * kWordBytes,
                      first_pfn + words.size() - 1)};
    }
    return {};
  }

 private:
  FlagFile(std::unique_ptr<PositionedFile> file, std::string shown)
      : file_(std::move(file)), shown_(std::move(shown)) {}
  std::unique_ptr<PositionedFile> file_;
  std::string shown_;
};

struct PoisonedWord {
  std::uint64_t pfn;
  PageFlagWord flags;
};

// The poisoned words of one buffer. Nearly always there are none: a first pass that the compiler
// can vectorize says so.
void find_poisoned(std::span<const PageFlagWord> words, std::uint64_t first_pfn,
                   std::vector<PoisonedWord>& found) {
  PageFlagWord any = 0;
  for (const PageFlagWord word : words) any |= word;
  if ((any & kPoisoned) == 0) return;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if ((words[i] & kPoisoned) != 0) found.push_back({first_pfn + i, words[i]});
  }
}

// Reads chunks until none is left or one fails; every thread runs this over the same counter.
class ParallelScan {
 public:
  ParallelScan(const FlagFile& file, std::vector<Chunk> chunks)
      : file_(file), chunks_(std::move(chunks)) {}

  Result<std::vector<PoisonedWord>> run(unsigned threads) {
    const std::size_t workers = std::min<std::size_t>(threads, chunks_.size());
    std::vector<std::thread> others;
    others.reserve(workers);
    try {
      for (std::size_t i = 1; i < workers; ++i) others.emplace_back([this] { work(); });
    } catch (const std::exception&) {
      // No thread to be had (a limit, memory): those that there are read all of it.
    }
    work();
    for (std::thread& other : others) other.join();
    if (out_of_memory_) {
      return Error{ErrorCode::kIo, "out of memory while the page flags were read"};
    }
    if (error_) return *std::move(error_);
    std::sort(found_.begin(), found_.end(),
              [](const auto& a, const auto& b) { return a.pfn < b.pfn; });
    return std::move(found_);
  }

 private:
  // Nothing is thrown out of a thread: that would end the program there and then.
  void work() noexcept {
    try {
      read_chunks();
    } catch (const std::exception&) {
      stop_.store(true, std::memory_order_relaxed);
      out_of_memory_.store(true, std::memory_order_relaxed);
    }
  }

  void read_chunks() {
    std::vector<PageFlagWord> buffer(kWordsPerRead);
    std::vector<PoisonedWord> found;
    std::optional<Error> error;
    while (!stop_.load(std::memory_order_relaxed)) {
      const std::size_t index = next_.fetch_add(1, std::memory_order_relaxed);
      if (index >= chunks_.size()) break;
      const Chunk& chunk = chunks_[index];
      const std::span<PageFlagWord> words(buffer.data(), chunk.count);
      if (auto read = file_.read_all(chunk.first_pfn, words); !read) {
        error = read.error();
        stop_.store(true, std::memory_order_relaxed);
        break;
      }
      find_poisoned(words, chunk.first_pfn, found);
    }
    const std::lock_guard lock(mutex_);
    found_.insert(found_.end(), found.begin(), found.end());
    if (error && !error_) error_ = std::move(error);
  }

  const FlagFile& file_;
  const std::vector<Chunk> chunks_;
  std::atomic<std::size_t> next_{0};
  std::atomic<bool> stop_{false};
  std::atomic<bool> out_of_memory_{false};
  std::mutex mutex_;  // guards the two below
  std::vector<PoisonedWord> found_;
  std::optional<Error> error_;
};

constexpr bool is_tail(PageFlagWord word) { return (word & kTail) != 0; }

// No hugetlb page is larger than 16 GiB (ppc64; arm64 with 64 KiB pages), which bounds the walks.
std::uint64_t most_frames_of_a_page(PageShift shift) {
  constexpr std::uint64_t kLargestHugetlb = std::uint64_t{16} << 30U;
  return kLargestHugetlb >> shift.bits();
}

// The head of the compound page that frame `pfn` belongs to: the first frame before it that is no
// tail.
Result<std::uint64_t> head_of(const FlagFile& file, std::uint64_t pfn, PageShift shift) {
  const std::uint64_t limit = most_frames_of_a_page(shift);
  std::array<PageFlagWord, 512> words{};
  std::uint64_t head = pfn;
  PageFlagWord word = 0;
  if (auto read = file.read_all(pfn, {&word, 1}); !read) return read.error();
  while (is_tail(word) && head != 0 && pfn - head < limit) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(head, words.size()));
    const std::span<PageFlagWord> before(words.data(), count);
    if (auto read = file.read_all(head - count, before); !read) return read.error();
    const auto non_tail = std::find_if_not(before.rbegin(), before.rend(), is_tail);
    const bool found = non_tail != before.rend();
    head -= static_cast<std::uint64_t>(non_tail - before.rbegin()) + (found ? 1 : 0);
    if (found) break;
  }
  return head;
}

// The frames of the hugetlb page that frame `pfn` belongs to: back to the head, on to the last
// tail.
Result<ByteRange> hugetlb_extent(const FlagFile& file, std::uint64_t pfn, PageShift shift) {
  const std::uint64_t limit = most_frames_of_a_page(shift);
  std::array<PageFlagWord, 512> words{};
  const auto first = head_of(file, pfn, shift);
  if (!first) return first.error();
  const std::uint64_t head = *first;

  std::uint64_t end = std::max(pfn, head) + 1;
  while (end - head < limit) {
    const auto got = file.read(end, words);
    if (!got) return got.error();
    const std::span<const PageFlagWord> after(words.data(), *got);
    const auto non_tail = std::find_if_not(after.begin(), after.end(), is_tail);
    end += static_cast<std::uint64_t>(non_tail - after.begin());
    if (non_tail != after.end() || *got < words.size()) break;
  }
  const auto range = ByteRange::from_frames(Pfn(head), end - head, shift);
  if (!range) return Error{ErrorCode::kBadData, "a hugetlb page reaches past the address limit"};
  return *range;
}

// What a frame has of the head of its compound page. Kernels that show the flags of each page by
// itself (6.1 and 6.6 do; stable_page_flags() in fs/proc/page.c) have these on the head alone: a
// tail looks clean whatever is in it.
Result<PageFlagWord> flags_of_head(const FlagFile& file, std::uint64_t pfn, PageFlagWord word,
                                   PageShift shift) {
  constexpr PageFlagWord kOfHead =
      bit(KPF_LRU) | bit(KPF_DIRTY) | bit(KPF_WRITEBACK) | bit(KPF_SWAPBACKED);
  if (!is_tail(word) || (word & kHugetlb) != 0) return PageFlagWord{0};
  const auto head = head_of(file, pfn, shift);
  if (!head) return head.error();
  PageFlagWord of_head = 0;
  if (auto read = file.read_all(*head, {&of_head, 1}); !read) return read.error();
  return (of_head & bit(KPF_COMPOUND_HEAD)) != 0 ? of_head & kOfHead : 0;
}

// All that can share a memory section with the frame: sections are at most 1 GiB (SECTION_SIZE_BITS
// is 27 on x86-64, 27 to 30 on arm64).
ByteRange section_around(PhysAddr address) {
  constexpr std::uint64_t kLargestSection = std::uint64_t{1} << 30U;
  const std::uint64_t begin = address.value() & ~(kLargestSection - 1);
  return *ByteRange::from_size(PhysAddr(begin), kLargestSection);
}

// `flags` is what was read of `frame`; nothing: the file ends before it.
FrameView view_of(const ByteRange& frame, std::optional<PageFlagWord> flags, const MemoryMap& map) {
  const bool in_ram = map.system_ram().overlaps(frame);
  return {.flags = flags.value_or(0),
          .has_page = flags.has_value(),
          .in_ram = in_ram,
          .near_ram = in_ram || map.system_ram().overlaps(section_around(frame.begin())),
          .is_device = !in_ram && map.device_memory().overlaps(frame)};
}

// Everywhere that a frame may have a page: in a section with memory of this kernel or of a device.
RangeSet sections_of(const MemoryMap& map) {
  std::vector<ByteRange> sections;
  for (const RangeSet* memory : {&map.system_ram(), &map.installed_ram(), &map.device_memory()}) {
    for (const ByteRange& range : memory->ranges()) {
      sections.push_back(*ByteRange::from_last(section_around(range.begin()).begin(),
                                               section_around(range.last()).last()));
    }
  }
  return RangeSet::from_ranges(std::move(sections));
}

std::vector<RetirementRun> joined(std::vector<RetirementRun> runs) {
  std::vector<RetirementRun> maximal;
  for (RetirementRun& run : runs) {
    RetirementRun* const last = maximal.empty() ? nullptr : &maximal.back();
    if (last != nullptr && last->range.end() == run.range.begin() &&
        last->retirement == run.retirement && last->how == run.how) {
      last->range = *ByteRange::from_last(last->range.begin(), run.range.last());
    } else {
      maximal.push_back(std::move(run));
    }
  }
  return maximal;
}

// In the order of the type.
constexpr std::array<std::string_view, 10> kUseWords = {"none",       "free",  "slab", "page-table",
                                                        "reserved",   "host",  "huge", "anonymous",
                                                        "page-cache", "kernel"};

}  // namespace

Result<std::vector<FlaggedFrame>> scan_poisoned_frames(const SysRoot& sysroot,
                                                       const RangeSet& where, PageShift shift,
                                                       const ScanOptions& options) {
  auto file = FlagFile::open(sysroot);
  if (!file) return file.error();
  auto words = ParallelScan(*file, chunks_of(where, shift)).run(std::max(1U, options.threads));
  if (!words) return words.error();

  std::vector<FlaggedFrame> frames;
  for (const PoisonedWord& word : *words) {
    const auto frame = ByteRange::from_frames(Pfn(word.pfn), 1, shift);
    if (!frame) return Error{ErrorCode::kBug, "a scanned frame lies past the address limit"};
    if ((word.flags & kHugetlb) == 0) {
      frames.push_back({*frame, word.flags, true});
      continue;
    }
    if (!frames.empty() && frames.back().range.contains(*frame)) continue;  // same hugetlb page
    const auto whole = hugetlb_extent(*file, word.pfn, shift);
    if (!whole) return whole.error();
    frames.push_back({*whole, word.flags, whole->size() == shift.page_size()});
  }
  return frames;
}

FrameState classify_frame(const FrameView& frame) {
  const auto has = [&](unsigned number) { return (frame.flags & bit(number)) != 0; };
  if (!frame.has_page) return {Retirement::kEffective, "no such memory in this kernel"};
  if (has(KPF_BUDDY)) {
    // Also where /proc/iomem says "Unusable memory": a memmap= inside a KHO scratch area is void.
    return has(KPF_HWPOISON) ? FrameState{Retirement::kFailed, "poisoned, yet on the free lists"}
                             : FrameState{Retirement::kPending, kHowFree};
  }
  if (frame.is_device) {
    return {Retirement::kUnknown, "device memory: the kernel shows no flags for it"};
  }
  if (has(KPF_NOPAGE)) {
    return frame.in_ram ? FrameState{Retirement::kEffective, "its memory block is offline"}
                        : FrameState{Retirement::kEffective, "not in this kernel's memory map"};
  }
  if (!frame.in_ram && has(kKpfReserved)) {
    return {Retirement::kEffective, "left out of this kernel's memory map"};
  }
  if (has(KPF_HWPOISON)) {
    if (has(KPF_SLAB)) return {Retirement::kFailed, "poisoned, but in use as kernel slab"};
    if (has(KPF_PGTABLE)) return {Retirement::kFailed, "poisoned, but in use as a page table"};
    if (has(kKpfReserved)) return {Retirement::kFailed, "poisoned, but reserved by the kernel"};
    // The process keeps it, by policy or because it was not killed; freed, it never comes back.
    if (has(KPF_MMAP)) return {Retirement::kPending, "poisoned, and still mapped by a process"};
    if (has(KPF_THP)) return {Retirement::kFailed, "poisoned, but in a huge page not yet split"};
    if (has(KPF_LRU)) return {Retirement::kFailed, "poisoned, but still on the page lists"};
    if (has(KPF_HUGE)) return {Retirement::kEffective, kHowHugetlb};
    return {Retirement::kEffective, "poisoned and on no list"};
  }
  if (!frame.in_ram) {
    // A frame that was left out carries RESERVED, or lies in a section that has no pages at all and
    // reads 0. A page without RESERVED in a section that does have pages was given to somebody:
    // what happens to a memmap= inside a KHO scratch area.
    return frame.near_ram || frame.flags != 0
               ? FrameState{Retirement::kUnknown, "not RAM by /proc/iomem, yet not reserved either"}
               : FrameState{Retirement::kEffective, "not in this kernel's memory map"};
  }
  if (has(KPF_OFFLINE)) return {Retirement::kPending, "given back to the host; may return"};
  if (has(KPF_HUGE)) return {Retirement::kPending, "in the hugetlb pool"};
  if (has(KPF_SLAB)) return {Retirement::kPending, "in use as kernel slab"};
  if (has(KPF_PGTABLE)) return {Retirement::kPending, "in use as a page table"};
  if (has(kKpfReserved)) return {Retirement::kPending, "reserved by the kernel at boot"};
  if (has(KPF_ANON)) return {Retirement::kPending, "in use by a process"};
  if (has(KPF_LRU)) return {Retirement::kPending, "in use as page cache"};
  return {Retirement::kPending, "in use by the kernel"};
}

std::string_view to_word(FrameUse use) { return kUseWords.at(static_cast<std::size_t>(use)); }

std::optional<FrameUse> frame_use_from(std::string_view word) {
  const auto* const found = std::find(kUseWords.begin(), kUseWords.end(), word);
  if (found == kUseWords.end()) return std::nullopt;
  return static_cast<FrameUse>(found - kUseWords.begin());
}

FrameUse use_of(const FrameView& frame) {
  const auto has = [&](unsigned number) { return (frame.flags & bit(number)) != 0; };
  if (!frame.has_page || has(KPF_NOPAGE)) return FrameUse::kNone;
  if (has(KPF_BUDDY)) return FrameUse::kFree;
  if (has(KPF_SLAB)) return FrameUse::kSlab;
  if (has(KPF_PGTABLE)) return FrameUse::kPageTable;
  if (has(kKpfReserved)) return frame.in_ram ? FrameUse::kReserved : FrameUse::kNone;
  if (has(KPF_OFFLINE)) return FrameUse::kHost;
  if (has(KPF_HUGE) || has(KPF_THP)) return FrameUse::kHuge;
  if (has(KPF_ANON)) return FrameUse::kAnonymous;
  if (has(KPF_LRU) || has(KPF_MMAP)) return FrameUse::kPageCache;
  return FrameUse::kKernel;
}

bool is_poisoned(const FrameView& frame) { return (frame.flags & kPoisoned) != 0; }

bool is_of_poisoned_hugetlb(const FrameView& frame) {
  return is_poisoned(frame) && (frame.flags & kHugetlb) != 0;
}

bool holds_data(const FrameView& frame) {
  // SWAPBACKED: shared memory, whose only copy is here until it is swapped out.
  constexpr PageFlagWord kData =
      bit(KPF_MMAP) | bit(KPF_ANON) | bit(KPF_DIRTY) | bit(KPF_WRITEBACK) | bit(KPF_SWAPBACKED);
  return (frame.flags & kData) != 0;
}

struct FrameReader::State {
  FlagFile file;
  const MemoryMap& map;
  PageShift shift;
};

FrameReader::FrameReader(std::unique_ptr<State> state) : state_(std::move(state)) {}
FrameReader::FrameReader(FrameReader&&) noexcept = default;
FrameReader& FrameReader::operator=(FrameReader&&) noexcept = default;
FrameReader::~FrameReader() = default;

Result<FrameReader> FrameReader::open(const SysRoot& sysroot, const MemoryMap& map,
                                      PageShift shift) {
  auto file = FlagFile::open(sysroot);
  if (!file) return file.error();
  return FrameReader(std::make_unique<State>(State{*std::move(file), map, shift}));
}

Result<FrameView> FrameReader::look(const ByteRange& frame) const {
  PageFlagWord word = 0;
  const std::uint64_t pfn = state_->shift.pfn_of(frame.begin()).value();
  const auto got = state_->file.read(pfn, {&word, 1});
  if (!got) return got.error();
  if (*got == 0) return view_of(frame, std::nullopt, state_->map);
  const auto of_head = flags_of_head(state_->file, pfn, word, state_->shift);
  if (!of_head) return of_head.error();
  return view_of(frame, word | *of_head, state_->map);
}

Result<ByteRange> FrameReader::hugetlb_page(const ByteRange& frame) const {
  return hugetlb_extent(state_->file, state_->shift.pfn_of(frame.begin()).value(), state_->shift);
}

Result<std::vector<RetirementRun>> read_retirement(const SysRoot& sysroot, const RangeSet& ranges,
                                                   const MemoryMap& map, PageShift shift) {
  auto file = FlagFile::open(sysroot);
  if (!file) return file.error();
  std::vector<RetirementRun> runs;
  std::vector<PageFlagWord> words(kWordsPerRead);
  const RangeSet all = ranges.widened_to(shift);
  const RangeSet near = all.intersected_with(sections_of(map));
  for (const Chunk& chunk : chunks_of(near, shift)) {
    const std::span<PageFlagWord> buffer(words.data(), chunk.count);
    const auto got = file->read(chunk.first_pfn, buffer);
    if (!got) return got.error();
    for (std::size_t i = 0; i < chunk.count; ++i) {
      const auto frame = ByteRange::from_frames(Pfn(chunk.first_pfn + i), 1, shift);
      if (!frame) return Error{ErrorCode::kBug, "a frame to verify lies past the address limit"};
      const FrameState state =
          classify_frame(view_of(*frame, i < *got ? std::optional(buffer[i]) : std::nullopt, map));
      RetirementRun* const last = runs.empty() ? nullptr : &runs.back();
      if (last != nullptr && last->range.end() == frame->begin() &&
          last->retirement == state.retirement && last->how == state.how) {
        last->range = *ByteRange::from_last(last->range.begin(), frame->last());
      } else {
        runs.push_back({*frame, state.retirement, state.how});
      }
    }
  }
  // A claim may be of thousands of times the memory that there is: nobody looks at each frame of
  // it.
  const FrameState nowhere = classify_frame({.has_page = false});
  const RangeSet elsewhere = all.minus(near);
  for (const ByteRange& range : elsewhere.ranges()) {
    runs.push_back({range, nowhere.retirement, nowhere.how});
  }
  std::sort(runs.begin(), runs.end(),
            [](const auto& a, const auto& b) { return a.range < b.range; });
  return joined(std::move(runs));
}

}  // namespace poisonctl
