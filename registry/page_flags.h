// /proc/kpageflags: the only honest answer to "is this frame out of use?" Return codes of the
// kernel's offline interfaces do not tell it, and neither does /proc/iomem.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "registry/address.h"
#include "registry/memory_map.h"
#include "registry/range_set.h"
#include "registry/result.h"
#include "registry/sysroot.h"

namespace poisonctl {

// One u64 of flags a frame, bit numbers from uapi linux/kernel-page-flags.h.
using PageFlagWord = std::uint64_t;

// A frame that the kernel flags as poisoned.
struct FlaggedFrame {
  ByteRange range;     // one frame, or all of a hugetlb page when the kernel cannot tell which
  PageFlagWord flags;  // as read, of the first frame that has the flag
  bool exact = true;   // false: one or more frames of the range are bad, and no one knows which
};

// How a scan is run.
struct ScanOptions {
  unsigned threads = 1;  // at least 1
};

// Every frame of `where` that carries the HWPOISON flag, sorted by address. `where` should be RAM
// only: holes cost as much to read. For a hugetlb page the kernel keeps the flag on the head page
// and shows it, depending on its version, for the head or for every subpage (fs/proc/page.c,
// mm/memory-failure.c folio_set_hugetlb_hwpoison), so the whole page is reported once, not exact.
// Errors: kNoInput, kNoPrivilege, kIo; kBadData when the file ends before the last frame of
// `where`.
Result<std::vector<FlaggedFrame>> scan_poisoned_frames(const SysRoot& sysroot,
                                                       const RangeSet& where, PageShift shift,
                                                       const ScanOptions& options);

// What the running kernel does with a frame (design: "retirement").
enum class Retirement {
  kPending,    // still in use or free: the kernel may hand it out
  kEffective,  // nobody can get it in this boot
  kFailed,     // the kernel flagged it and uses it all the same
  kUnknown,    // the flags cannot tell, or nobody has looked in this boot
};

// A run of frames that are all in the same state.
struct RetirementRun {
  ByteRange range;
  Retirement retirement = Retirement::kUnknown;
  std::string how;  // what was read, in words: "poisoned and isolated", "free: can be allocated"
};

// The state of every frame of `ranges`, in maximal runs sorted by address: together they cover
// exactly `ranges` widened to frames. Errors: as scan_poisoned_frames, but a file that ends early
// means "no page there", which is what the kernel means by it.
Result<std::vector<RetirementRun>> read_retirement(const SysRoot& sysroot, const RangeSet& ranges,
                                                   const MemoryMap& map, PageShift shift);

// The rule behind read_retirement, for one frame. `in_ram`, `near_ram` and `is_device` say what
// /proc/iomem has there; `has_page` is false past the end of kpageflags.
struct FrameView {
  PageFlagWord flags = 0;
  bool has_page = true;
  bool in_ram = true;
  bool near_ram = true;  // RAM in the same memory section, so that struct pages exist here
  bool is_device = false;
};
struct FrameState {
  Retirement retirement = Retirement::kUnknown;
  const char* how = "";  // static text
};
FrameState classify_frame(const FrameView& frame);
// What is said of a frame that nobody has; every other one that is pending is somebody's.
inline constexpr const char* kHowFree = "free: can be allocated";
// What is said of a frame of a hugetlb page that is out of use as a whole.
inline constexpr const char* kHowHugetlb = "in a hugetlb page taken out of use";

// Whose a frame is, as far as its flags tell; whether it is poisoned has no part in it.
enum class FrameUse {
  kNone,       // no page of this kernel: a hole, an offline block, left out of the map
  kFree,       // on the free lists
  kSlab,       // of the kernel: slab caches
  kPageTable,  // of the kernel: page tables
  kReserved,   // of the kernel since it booted
  kHost,       // given back to the host of a virtual machine
  kHuge,       // in a huge page: hugetlb or transparent
  kAnonymous,  // of a process
  kPageCache,  // of a file
  kKernel,     // none of these: of the kernel, or free in a list of one CPU
};
std::string_view to_word(FrameUse use);
std::optional<FrameUse> frame_use_from(std::string_view word);
FrameUse use_of(const FrameView& frame);

// Whether the frame carries the HWPOISON flag.
bool is_poisoned(const FrameView& frame);
// Whether that is the flag of a hugetlb page, which tells that frames of it are bad and not which:
// of those that the kernel was never told of, it knows nothing when it takes the page apart.
bool is_of_poisoned_hugetlb(const FrameView& frame);
// Whether what is in the frame may be nowhere else, or is mapped: taking it away can kill a process
// or lose data. The flags tell no more than "may".
bool holds_data(const FrameView& frame);

// Looks at frames one at a time.
class FrameReader {
 public:
  // The references must outlive it. Errors: as read_retirement.
  static Result<FrameReader> open(const SysRoot& sysroot, const MemoryMap& map, PageShift shift);
  FrameReader(FrameReader&&) noexcept;
  FrameReader& operator=(FrameReader&&) noexcept;
  FrameReader(const FrameReader&) = delete;
  FrameReader& operator=(const FrameReader&) = delete;
  ~FrameReader();

  // `frame` is one frame. Errors: kIo, kNoPrivilege, kBadData.
  [[nodiscard]] Result<FrameView> look(const ByteRange& frame) const;
  // The whole hugetlb page that `frame` is of. Errors: the same.
  [[nodiscard]] Result<ByteRange> hugetlb_page(const ByteRange& frame) const;

 private:
  struct State;
  explicit FrameReader(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace poisonctl
