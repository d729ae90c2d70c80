// Physical addresses, frame numbers and page sizes as types that do not mix. A frame number alone
// means nothing: the same PFN is another place on a kernel with another page size, so what is
// stored is always bytes.
#pragma once

#include <bit>
#include <compare>
#include <cstdint>
#include <optional>

namespace poisonctl {

// No Linux port addresses more physical memory: RISC-V Sv57 has 44-bit PFNs of 4 KiB (Privileged
// Architecture, "Sv57"), x86-64 and arm64 LPA2 stop at 52 bits. It keeps every sum of an address
// and a size inside 64 bits, and inside SQLite's signed integers.
inline constexpr unsigned kPhysAddrBits = 56;
inline constexpr std::uint64_t kPhysAddrLimit = std::uint64_t{1} << kPhysAddrBits;

// A physical byte address as the CPU sees it (HPA). Any 64-bit value can be held: input is checked
// where it becomes a ByteRange.
class PhysAddr {
 public:
  constexpr PhysAddr() = default;
  explicit constexpr PhysAddr(std::uint64_t value) : value_(value) {}
  [[nodiscard]] constexpr std::uint64_t value() const { return value_; }
  friend constexpr auto operator<=>(PhysAddr, PhysAddr) = default;

 private:
  std::uint64_t value_ = 0;
};

// A page frame number; an address only together with the PageShift that made it.
class Pfn {
 public:
  constexpr Pfn() = default;
  explicit constexpr Pfn(std::uint64_t value) : value_(value) {}
  [[nodiscard]] constexpr std::uint64_t value() const { return value_; }
  friend constexpr auto operator<=>(Pfn, Pfn) = default;

 private:
  std::uint64_t value_ = 0;
};

// log2 of a base page size. Linux ports use 12 (4 KiB) to 18 (256 KiB: ppc44x, hexagon).
class PageShift {
 public:
  static constexpr unsigned kMin = 12;
  static constexpr unsigned kMax = 18;

  // Nothing when `bytes` is not a power of two in the valid range.
  static constexpr std::optional<PageShift> from_page_size(std::uint64_t bytes) {
    if (!std::has_single_bit(bytes)) return std::nullopt;
    const auto bits = static_cast<unsigned>(std::countr_zero(bytes));
    if (bits < kMin || bits > kMax) return std::nullopt;
    return PageShift(bits);
  }

  // 4 KiB, which every frame of every kernel is a multiple of.
  static constexpr PageShift smallest() { return PageShift(kMin); }

  [[nodiscard]] constexpr unsigned bits() const { return bits_; }
  [[nodiscard]] constexpr std::uint64_t page_size() const { return std::uint64_t{1} << bits_; }
  [[nodiscard]] constexpr bool is_aligned(std::uint64_t value) const {
    return (value & (page_size() - 1)) == 0;
  }
  [[nodiscard]] constexpr Pfn pfn_of(PhysAddr address) const {
    return Pfn(address.value() >> bits_);
  }
  friend constexpr auto operator<=>(PageShift, PageShift) = default;

 private:
  explicit constexpr PageShift(unsigned bits) : bits_(bits) {}
  unsigned bits_;
};

// A non-empty range of physical bytes [begin, end), below kPhysAddrLimit. Because of that limit
// begin + size never wraps, and arithmetic on a ByteRange needs no further checks.
class ByteRange {
 public:
  // Nothing when size is 0 or the range passes kPhysAddrLimit (a sum that wraps past 2^64 too).
  static constexpr std::optional<ByteRange> from_size(PhysAddr begin, std::uint64_t size) {
    if (size == 0 || begin.value() >= kPhysAddrLimit) return std::nullopt;
    if (size > kPhysAddrLimit - begin.value()) return std::nullopt;
    return ByteRange(begin.value(), begin.value() + size);
  }
  // `last` is the last byte of the range, as in /proc/iomem. Nothing when last < begin or beyond.
  static constexpr std::optional<ByteRange> from_last(PhysAddr begin, PhysAddr last) {
    if (last < begin || last.value() >= kPhysAddrLimit) return std::nullopt;
    return ByteRange(begin.value(), last.value() + 1);
  }
  // Nothing when the frame lies beyond kPhysAddrLimit.
  static constexpr std::optional<ByteRange> from_frames(Pfn first, std::uint64_t count,
                                                        PageShift shift) {
    const std::uint64_t pfn_limit = kPhysAddrLimit >> shift.bits();
    if (count == 0 || first.value() >= pfn_limit || count > pfn_limit - first.value()) {
      return std::nullopt;
    }
    return ByteRange(first.value() << shift.bits(), (first.value() + count) << shift.bits());
  }

  [[nodiscard]] constexpr PhysAddr begin() const { return PhysAddr(begin_); }
  [[nodiscard]] constexpr PhysAddr end() const { return PhysAddr(end_); }  // one past the last byte
  [[nodiscard]] constexpr PhysAddr last() const { return PhysAddr(end_ - 1); }
  [[nodiscard]] constexpr std::uint64_t size() const { return end_ - begin_; }

  [[nodiscard]] constexpr bool contains(const ByteRange& other) const {
    return begin_ <= other.begin_ && other.end_ <= end_;
  }
  [[nodiscard]] constexpr bool overlaps(const ByteRange& other) const {
    return begin_ < other.end_ && other.begin_ < end_;
  }
  [[nodiscard]] constexpr bool is_aligned(PageShift shift) const {
    return shift.is_aligned(begin_) && shift.is_aligned(end_);
  }
  // The whole frames that hold any byte of the range: widened outward, never inward.
  [[nodiscard]] constexpr ByteRange widened_to(PageShift shift) const {
    const std::uint64_t mask = shift.page_size() - 1;
    return {begin_ & ~mask, (end_ + mask) & ~mask};  // kPhysAddrLimit is a multiple of any page
  }
  // How many frames hold any byte of the range.
  [[nodiscard]] constexpr std::uint64_t frame_count(PageShift shift) const {
    return widened_to(shift).size() >> shift.bits();
  }
  // Ordered by begin, then by end.
  friend constexpr auto operator<=>(const ByteRange&, const ByteRange&) = default;

 private:
  friend class RangeSet;
  constexpr ByteRange(std::uint64_t begin, std::uint64_t end) : begin_(begin), end_(end) {}
  std::uint64_t begin_;
  std::uint64_t end_;
};

}  // namespace poisonctl
