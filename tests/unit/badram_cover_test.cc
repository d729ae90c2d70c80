// BadRAM patterns: exact, and how many more than the fewest that there can be.
#include "backends/badram_cover.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <random>

#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kPage = 4096;

RangeSet set_of_frames(const std::vector<std::uint64_t>& frames) {
  std::vector<ByteRange> ranges;
  for (const std::uint64_t frame : frames) {
    ranges.push_back(ByteRange::from_size(PhysAddr(frame * kPage), kPage).value());
  }
  return RangeSet::from_ranges(std::move(ranges));
}

// What the patterns match, by the parser of the source "badram".
RangeSet matched_by(const std::vector<BadramPattern>& patterns) {
  std::vector<ByteRange> ranges;
  for (const BadramPattern& pattern : patterns) {
    const auto done =
        for_each_matching_range(pattern, PhysAddr(kPhysAddrLimit), [&](const ByteRange& range) {
          ranges.push_back(range);
          return Result<void>();
        });
    EXPECT_TRUE(done.ok());
  }
  return RangeSet::from_ranges(std::move(ranges));
}

TEST(BadramCover, FewPairsNameFramesThatDifferInFewBits) {
  struct Case {
    std::vector<std::uint64_t> frames;
    std::size_t pairs;
  };
  const Case cases[] = {
      {{}, 0},
      {{0}, 1},
      {{1, 5}, 1},         // one bit apart
      {{1, 5, 9, 13}, 1},  // two bits
      {{0x100, 0x101, 0x102, 0x103}, 1},
      {{1, 2}, 2},
      {{0, 1, 2}, 2},           // overlap helps
      {{0, 1, 3, 7, 6, 4}, 3},  // a ring: six pairs of neighbours, three are enough
      {{5, 7, 13, 15, 0x100005}, 2},
  };
  for (const Case& c : cases) {
    const auto patterns = cover_exactly(set_of_frames(c.frames));
    EXPECT_EQ(patterns.size(), c.pairs);
    EXPECT_EQ(matched_by(patterns), set_of_frames(c.frames));
  }
}

TEST(BadramCover, WholeAddressSpaceAndItsEnds) {
  const RangeSet all = set_of({range(0, kPhysAddrLimit - 1)});
  EXPECT_EQ(matched_by(cover_exactly(all)), all);
  const RangeSet ends =
      set_of({range(0, 0xfff), range(kPhysAddrLimit - kPage, kPhysAddrLimit - 1)});
  EXPECT_EQ(matched_by(cover_exactly(ends)), ends);
}

TEST(BadramCover, IsExactForAnyList) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 60; ++round) {
    std::vector<ByteRange> ranges;
    for (std::uint64_t i = 1 + random() % 60; i != 0; --i) {
      const std::uint64_t at = random() % (std::uint64_t{1} << (4 + random() % 30));
      ranges.push_back(
          ByteRange::from_size(PhysAddr(at * kPage), kPage * (1 + random() % 5)).value());
    }
    const RangeSet set = RangeSet::from_ranges(ranges);
    ASSERT_EQ(matched_by(cover_exactly(set)), set) << round;
  }
}

// The fewest patterns for a set of frames below 2^kBits, by looking at all there are.
class Optimum {
 public:
  static constexpr unsigned kBits = 5;

  explicit Optimum(std::uint32_t set) : set_(set) {
    for (unsigned free = 0; free < 1U << kBits; ++free) {
      for (unsigned base = 0; base < 1U << kBits; ++base) {
        if ((base & free) != 0) continue;
        std::uint32_t members = 0;
        for (unsigned frame = 0; frame < 1U << kBits; ++frame) {
          if ((frame & ~free) == base) members |= 1U << frame;
        }
        if ((members & ~set) == 0) cubes_.push_back(members);
      }
    }
    // Only those that no other has in it can be needed.
    std::erase_if(cubes_, [all = cubes_](std::uint32_t cube) {
      return std::any_of(all.begin(), all.end(), [cube](std::uint32_t other) {
        return other != cube && (cube & ~other) == 0;
      });
    });
  }

  [[nodiscard]] std::size_t fewest() const {
    for (std::size_t most = 0;; ++most) {
      if (possible(set_, most)) return most;
    }
  }

 private:
  // Whether `most` patterns can name all of `missing`: one of them has its lowest frame.
  [[nodiscard]] bool possible(std::uint32_t missing, std::size_t most) const {
    if (missing == 0) return true;
    if (most == 0) return false;
    const std::uint32_t lowest = missing & (~missing + 1);
    return std::any_of(cubes_.begin(), cubes_.end(), [&](std::uint32_t cube) {
      return (cube & lowest) != 0 && possible(missing & ~cube, most - 1);
    });
  }

  std::uint32_t set_;
  std::vector<std::uint32_t> cubes_;
};

TEST(BadramCover, IsCloseToTheOptimumOnSmallSets) {
  std::mt19937 random(32);
  std::size_t ours = 0;
  std::size_t fewest = 0;
  std::size_t same = 0;
  constexpr int kRounds = 400;
  for (int round = 0; round < kRounds; ++round) {
    // Sparse to half full.
    const auto set = static_cast<std::uint32_t>(round % 2 == 0 ? random() & random() : random());
    std::vector<std::uint64_t> frames;
    for (unsigned frame = 0; frame < 32; ++frame) {
      if ((set >> frame & 1) != 0) frames.push_back(frame);
    }
    const auto patterns = cover_exactly(set_of_frames(frames));
    const std::size_t optimum = Optimum(set).fewest();
    ASSERT_GE(patterns.size(), optimum) << "fewer than there can be: " << set;
    ours += patterns.size();
    fewest += optimum;
    if (patterns.size() == optimum) ++same;
  }
  std::printf("pairs %zu, optimum %zu, the same for %zu of %d\n", ours, fewest, same, kRounds);
  EXPECT_LT(static_cast<double>(ours), 1.05 * static_cast<double>(fewest));
}

}  // namespace
}  // namespace poisonctl
