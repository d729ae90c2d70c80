// Linear merges over two sorted lists of disjoint ranges.
#include "registry/range_set.h"

#include <algorithm>
#include <utility>

namespace poisonctl {

RangeSet RangeSet::from_ranges(std::vector<ByteRange> ranges) {
  if (!std::is_sorted(ranges.begin(), ranges.end())) std::sort(ranges.begin(), ranges.end());
  RangeSet set;
  // Coalesce in place: the write position never passes the read position.
  std::size_t kept = 0;
  for (const ByteRange range : ranges) {
    if (kept != 0 && range.begin_ <= ranges[kept - 1].end_) {
      ranges[kept - 1].end_ = std::max(ranges[kept - 1].end_, range.end_);
    } else {
      ranges[kept++] = range;
    }
  }
  ranges.erase(ranges.begin() + static_cast<std::ptrdiff_t>(kept), ranges.end());
  set.ranges_ = std::move(ranges);
  return set;
}

std::uint64_t RangeSet::bytes() const {
  std::uint64_t sum = 0;
  for (const ByteRange& range : ranges_) sum += range.size();
  return sum;
}

void RangeSet::append_coalescing(const ByteRange& range) {
  if (!ranges_.empty() && range.begin_ <= ranges_.back().end_) {
    ranges_.back().end_ = std::max(ranges_.back().end_, range.end_);
  } else {
    ranges_.push_back(range);
  }
}

RangeSet RangeSet::united_with(const RangeSet& other) const {
  RangeSet result;
  result.ranges_.reserve(ranges_.size() + other.ranges_.size());
  auto mine = ranges_.begin();
  auto theirs = other.ranges_.begin();
  while (mine != ranges_.end() || theirs != other.ranges_.end()) {
    const bool take_mine =
        theirs == other.ranges_.end() || (mine != ranges_.end() && mine->begin_ <= theirs->begin_);
    result.append_coalescing(take_mine ? *mine++ : *theirs++);
  }
  return result;
}

RangeSet RangeSet::minus(const RangeSet& other) const {
  RangeSet result;
  result.ranges_.reserve(ranges_.size());  // most cuts are at an end, or take all
  auto cut = other.ranges_.begin();
  for (ByteRange rest : ranges_) {
    while (cut != other.ranges_.end() && cut->end_ <= rest.begin_) ++cut;
    // A cut that reaches past this range is looked at again for the next one, so `cut` stays.
    bool consumed = false;
    while (cut != other.ranges_.end() && cut->begin_ < rest.end_) {
      if (cut->begin_ > rest.begin_) result.ranges_.push_back({rest.begin_, cut->begin_});
      if (cut->end_ >= rest.end_) {
        consumed = true;
        break;
      }
      rest.begin_ = cut->end_;
      ++cut;
    }
    if (!consumed) result.ranges_.push_back(rest);
  }
  return result;
}

template <typename Visit>
void RangeSet::for_each_shared(const RangeSet& other, const Visit& visit) const {
  auto mine = ranges_.begin();
  auto theirs = other.ranges_.begin();
  while (mine != ranges_.end() && theirs != other.ranges_.end()) {
    const std::uint64_t begin = std::max(mine->begin_, theirs->begin_);
    const std::uint64_t end = std::min(mine->end_, theirs->end_);
    if (begin < end) visit(begin, end);
    if (mine->end_ < theirs->end_) {
      ++mine;
    } else {
      ++theirs;
    }
  }
}

RangeSet RangeSet::intersected_with(const RangeSet& other) const {
  RangeSet result;
  for_each_shared(other, [&](std::uint64_t begin, std::uint64_t end) {
    result.ranges_.push_back({begin, end});
  });
  return result;
}

std::uint64_t RangeSet::bytes_shared_with(const RangeSet& other) const {
  std::uint64_t sum = 0;
  for_each_shared(other, [&](std::uint64_t begin, std::uint64_t end) { sum += end - begin; });
  return sum;
}

RangeSet RangeSet::widened_to(PageShift shift) const {
  RangeSet result;
  result.ranges_.reserve(ranges_.size());
  for (const ByteRange& range : ranges_) result.append_coalescing(range.widened_to(shift));
  return result;
}

RangeSet RangeSet::narrowed_to(PageShift shift) const {
  const std::uint64_t mask = shift.page_size() - 1;
  RangeSet result;
  for (const ByteRange& range : ranges_) {
    const std::uint64_t begin = (range.begin_ + mask) & ~mask;
    const std::uint64_t end = range.end_ & ~mask;
    if (begin < end) result.ranges_.push_back({begin, end});
  }
  return result;
}

RangeSet RangeSet::within(const ByteRange& range) const {
  RangeSet result;
  auto entry = std::upper_bound(
      ranges_.begin(), ranges_.end(), range.begin_,
      [](std::uint64_t begin, const ByteRange& candidate) { return begin < candidate.end_; });
  for (; entry != ranges_.end() && entry->begin_ < range.end_; ++entry) {
    result.ranges_.push_back(
        {std::max(entry->begin_, range.begin_), std::min(entry->end_, range.end_)});
  }
  return result;
}

bool RangeSet::contains(const ByteRange& range) const {
  const auto after = std::upper_bound(
      ranges_.begin(), ranges_.end(), range.begin_,
      [](std::uint64_t begin, const ByteRange& candidate) { return begin < candidate.begin_; });
  return after != ranges_.begin() && std::prev(after)->contains(range);
}

bool RangeSet::overlaps(const ByteRange& range) const {
  const auto candidate = std::upper_bound(
      ranges_.begin(), ranges_.end(), range.begin_,
      [](std::uint64_t begin, const ByteRange& entry) { return begin < entry.end_; });
  return candidate != ranges_.end() && candidate->overlaps(range);
}

}  // namespace poisonctl
