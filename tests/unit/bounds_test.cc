// How much a list may take: what goes first, what is cut, and that nothing is lost.
#include "registry/bounds.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "registry/retire_list.h"
#include "tests/unit/checked_machine.h"
#include "tests/unit/sample_events.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kMib = 1U << 20U;
constexpr std::uint64_t kGib = 1U << 30U;

TestMachine machine_with(std::uint64_t ram) {
  return {.map = MemoryMap({{range(0, ram - 1), 0, "System RAM"}}, {})};
}

Claim claim_at(std::uint64_t frame, EventKind kind = EventKind::kUncorrected, int seen = 0) {
  return {.range = frame_at(frame), .kind = kind, .last_seen = at_second(seen)};
}

RangeSet ranges_of(const std::vector<Finding>& findings) {
  std::vector<ByteRange> ranges;
  for (const Finding& finding : findings) ranges.push_back(finding.range);
  return RangeSet::from_ranges(std::move(ranges));
}

RangeSet frames_of(std::span<const Claim> claims, PageShift shift) {
  std::vector<ByteRange> ranges;
  for (const Claim& claim : claims) {
    if (claim.condition == Condition::kFaulty) ranges.push_back(claim.range.widened_to(shift));
  }
  return RangeSet::from_ranges(std::move(ranges));
}

BoundedList bound_all(std::span<const Claim> claims, const TestMachine& machine,
                      const Bounds& bounds) {
  return bound_list(claims, frames_of(claims, machine.shift), machine.view(), bounds);
}

TEST(Bounds, AListThatFitsIsKeptWhole) {
  const Claim claims[] = {claim_at(1), claim_at(5), claim_at(5)};
  const BoundedList list = bound_all(claims, machine_with(4 * kGib), {});
  EXPECT_EQ(list.kept, set_of({frame_at(1), frame_at(5)}));
  EXPECT_TRUE(list.refused.empty());
}

TEST(Bounds, TheWorstGoFirstThenTheNewestThenTheLowest) {
  const std::vector<Claim> claims = {
      claim_at(10, EventKind::kCorrected, 900),   claim_at(20, EventKind::kUncorrected, 1),
      claim_at(30, EventKind::kUncorrected, 500), claim_at(40, EventKind::kPoisoned, 800),
      claim_at(50, EventKind::kMedia, 1),         claim_at(60, EventKind::kDeferred, 1),
      claim_at(70, EventKind::kUncorrected, 500)};
  const std::vector<std::uint64_t> order = {30, 70, 20, 60, 50, 40, 10};
  const TestMachine machine = machine_with(4 * kGib);
  for (std::size_t most = 0; most <= order.size(); ++most) {
    SCOPED_TRACE(most);
    std::vector<ByteRange> kept;
    for (std::size_t i = 0; i < most; ++i) kept.push_back(frame_at(order[i]));
    auto shuffled = claims;
    std::mt19937_64 random(most);
    for (int round = 0; round < 5; ++round) {
      const BoundedList list = bound_all(shuffled, machine, {.frames = most});
      EXPECT_EQ(list.kept, set_of(kept));
      EXPECT_EQ(list.kept.united_with(ranges_of(list.refused)), frames_of(claims, machine.shift));
      std::shuffle(shuffled.begin(), shuffled.end(), random);
    }
  }
}

TEST(Bounds, EachBoundBindsAndNamesItself) {
  TestMachine machine = machine_with(8 * kGib);
  machine.nodes = {{range(0, 4 * kGib - 1), 0}, {range(4 * kGib, 8 * kGib - 1), 1}};
  struct Case {
    std::string_view name;
    ByteRange wanted;
    Bounds bounds;
    std::uint64_t kept;
    std::string_view says;
  };
  const Case cases[] = {
      {"frames", range(0, 16 * kPage - 1), {.frames = 3}, 3 * kPage, "at most 3 frames"},
      {"of RAM",
       range(0, 100 * kMib - 1),
       {.per_mille = 2, .node_per_mille = 1000},
       8 * kGib / 500 / kPage * kPage,
       "at most 2 per mille of RAM"},
      {"of a node",
       range(0, 100 * kMib - 1),
       {.per_mille = 1000, .node_per_mille = 5},
       4 * kGib / 200 / kPage * kPage,
       "at most 5 per mille of the RAM of node 0"},
      {"of the other node",
       range(5 * kGib, 5 * kGib + 100 * kMib - 1),
       {.per_mille = 1000, .node_per_mille = 5},
       4 * kGib / 200 / kPage * kPage,
       "at most 5 per mille of the RAM of node 1"},
      {"the floor",
       range(0, 100 * kMib - 1),
       {.per_mille = 1000, .node_per_mille = 1000, .floor = 8 * kGib - 10 * kMib},
       10 * kMib,
       "of RAM must be left"},
      {"never less than a huge page or two",
       range(0, 100 * kMib - 1),
       {.per_mille = 0},
       4 * kMib,
       "at most 0 per mille of RAM, 4 MiB"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const Claim claims[] = {{.range = c.wanted}};
    const BoundedList list = bound_all(claims, machine, c.bounds);
    EXPECT_EQ(list.kept.bytes(), c.kept);
    ASSERT_EQ(list.refused.size(), 1U);
    EXPECT_EQ(list.refused[0].rule->id, "past-bound");
    EXPECT_NE(list.refused[0].detail.find(c.says), std::string::npos) << list.refused[0].detail;
    EXPECT_EQ(list.kept.united_with(ranges_of(list.refused)), set_of({c.wanted}));
  }
}

// A block where two nodes meet is in the folders of both: its frames were taken by the one and
// refused by the other.
TEST(Bounds, ABlockOfTwoNodesIsCountedOnce) {
  TestMachine machine = machine_with(8 * kGib);
  machine.nodes = {{range(0, 4 * kGib + 128 * kMib - 1), 0}, {range(4 * kGib, 8 * kGib - 1), 1}};
  std::vector<Claim> claims;
  for (std::uint64_t i = 0; i < 4096; ++i) claims.push_back(claim_at((4 * kGib >> 12U) + 2 * i));
  const BoundedList list = bound_all(claims, machine, {.node_per_mille = 0});
  EXPECT_EQ(list.kept.bytes(), kLeastShare);
  EXPECT_FALSE(list.refused.empty());
  EXPECT_TRUE(list.kept.intersected_with(ranges_of(list.refused)).empty());
  EXPECT_EQ(list.kept.united_with(ranges_of(list.refused)), frames_of(claims, machine.shift));
}

TEST(Bounds, PastTheHardLimitNothingIsTaken) {
  const TestMachine machine = machine_with(kGib);
  const std::uint64_t tenth = kGib / 10 / kPage * kPage;
  for (const bool past : {false, true}) {
    const Claim claims[] = {{.range = range(0, tenth + (past ? kPage : 0) - 1)}};
    const BoundedList list =
        bound_all(claims, machine, {.per_mille = 1000, .node_per_mille = 1000});
    EXPECT_EQ(list.kept.empty(), past);
    EXPECT_EQ(list.refused.size(), past ? 1U : 0U);
    if (past) {
      EXPECT_EQ(list.refused[0].rule->id, "hard-limit");
    }
  }
}

TEST(Bounds, AVagueRangeIsTakenWholeOrNotAtAll) {
  const Claim vague = {.range = range(0, 2 * kMib - 1), .granularity = 2 * kMib};
  Claim exact = {.range = range(16 * kMib, 16 * kMib + 4 * kPage - 1)};
  exact.last_seen = at_second(-1);
  const Claim claims[] = {vague, exact};
  const BoundedList list = bound_all(claims, machine_with(kGib), {.frames = 3});
  EXPECT_EQ(list.kept, set_of({range(16 * kMib, 16 * kMib + 3 * kPage - 1)}));
  EXPECT_EQ(ranges_of(list.refused),
            set_of({vague.range, range(16 * kMib + 3 * kPage, 16 * kMib + 4 * kPage - 1)}));
}

// What the defaults mean on the machines they are meant for.
TEST(Bounds, TheDefaultsSuitASmallMachineAndALargeOne) {
  struct Case {
    std::string_view name;
    std::uint64_t ram;
    std::uint64_t wanted;
    std::uint64_t kept;
  };
  const Case cases[] = {
      {"4 GiB, a row", 4 * kGib, 512 * kPage, 512 * kPage},
      {"4 GiB, 100 MiB", 4 * kGib, 100 * kMib, 4 * kGib / 100 / kPage * kPage},
      {"4 GiB, half of it", 4 * kGib, 2 * kGib, 0},
      {"64 MiB, a huge page", 64 * kMib, 2 * kMib, 2 * kMib},
      {"4 TiB, a million frames", 4096 * kGib, 1'000'000 * kPage, 1'000'000 * kPage},
      {"4 TiB, 100 GiB", 4096 * kGib, 100 * kGib, (1U << 20U) * kPage},
      {"4 TiB, 1 TiB", 4096 * kGib, 1024 * kGib, 0},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const Claim claims[] = {{.range = range(0, c.wanted - 1)}};
    EXPECT_EQ(bound_all(claims, machine_with(c.ram), {}).kept.bytes(), c.kept);
  }
}

// Counting alone must come to the same answer as making the list.
TEST(Bounds, WhatIsCountedPassesABoundExactlyWhenTheListIsCut) {
  TestMachine machine = machine_with(8 * kGib);
  machine.nodes = {{range(0, 4 * kGib - 1), 0}, {range(4 * kGib, 8 * kGib - 1), 1}};
  struct Case {
    ByteRange wanted;
    Bounds bounds;
    std::string_view says;
  };
  const Case cases[] = {
      {range(0, 16 * kPage - 1), {}, ""},
      {range(0, 16 * kPage - 1), {.frames = 16}, ""},
      {range(0, 16 * kPage - 1), {.frames = 15}, "at most 15 frames"},
      {range(0, 100 * kMib - 1), {.per_mille = 2, .node_per_mille = 1000}, "at most 2 per mille"},
      {range(5 * kGib, 5 * kGib + 100 * kMib - 1),
       {.per_mille = 1000, .node_per_mille = 5},
       "of the RAM of node 1"},
      {range(0, kGib - 1), {}, "the limit is 100 per mille"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.says);
    const Claim claims[] = {{.range = c.wanted}};
    const bool cut = !bound_all(claims, machine, c.bounds).refused.empty();
    std::vector<std::uint64_t> of_nodes;
    for (const NodeRange& node : machine.nodes) {
      of_nodes.push_back(set_of({c.wanted}).within(node.range).bytes());
    }
    const std::string bound = passed_bound(c.wanted.size(), of_nodes, machine.view(), c.bounds);
    EXPECT_EQ(bound.empty(), !cut);
    EXPECT_NE(bound.find(c.says), std::string::npos) << bound;
  }
}

TEST(Bounds, KeptAndRefusedAddUpOnRandomLists) {
  std::mt19937_64 random(20260301);
  constexpr EventKind kKinds[] = {EventKind::kUncorrected, EventKind::kCorrected,
                                  EventKind::kPoisoned};
  std::uint64_t kept_bytes = 0;
  std::uint64_t refused_bytes = 0;
  for (int round = 0; round < 400; ++round) {
    SCOPED_TRACE(round);
    TestMachine machine = machine_with(256 * kMib);
    machine.shift = shift_of(random() % 2 == 0 ? kPage : 65536);
    if (random() % 2 == 0) {
      machine.nodes = {{range(0, 64 * kMib - 1), 0},
                       {range(64 * kMib, 128 * kMib - 1), 1},
                       {range(128 * kMib, 160 * kMib - 1), 0}};
    }
    std::vector<Claim> claims;
    const std::uint64_t count = 1 + random() % 40;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t first = random() % (200 * kMib / kPage);
      Claim claim = {.range = range(first * kPage, (first + 1 + random() % 300) * kPage - 1)};
      claim.kind = kKinds[random() % 3];
      claim.last_seen = at_second(static_cast<int>(random() % 4));
      if (random() % 5 == 0) claim.granularity = claim.range.size();
      if (random() % 6 == 0) claim.condition = Condition::kSuspect;
      claims.push_back(claim);
    }
    const Bounds bounds = {.frames = random() % 4000,
                           .per_mille = random() % 60,
                           .node_per_mille = random() % 100,
                           .floor = random() % (300 * kMib),
                           .hard_per_mille = 20 + random() % 200};
    const RangeSet accepted = frames_of(claims, machine.shift);
    const BoundedList list = bound_list(claims, accepted, machine.view(), bounds);
    std::uint64_t refused = 0;
    for (const Finding& finding : list.refused) refused += finding.range.size();
    ASSERT_EQ(list.kept.united_with(ranges_of(list.refused)), accepted);
    ASSERT_EQ(list.kept.bytes() + refused, accepted.bytes());
    ASSERT_EQ(list.kept.widened_to(machine.shift), list.kept);
    ASSERT_LE(list.kept.bytes(), bounds.frames * machine.shift.page_size());
    ASSERT_LE(list.kept.bytes(), std::max(256 * kMib * bounds.per_mille / 1000, kLeastShare));
    kept_bytes += list.kept.bytes();
    refused_bytes += refused;
    // The same again, in any order, is the same list.
    std::shuffle(claims.begin(), claims.end(), random);
    const BoundedList again = bound_list(claims, accepted, machine.view(), bounds);
    ASSERT_EQ(again.kept, list.kept);
    ASSERT_EQ(ranges_of(again.refused), ranges_of(list.refused));
  }
  EXPECT_GT(kept_bytes, kMib);
  EXPECT_GT(refused_bytes, kMib);
}

TEST(RetireList, ChecksThenBoundsAndAddsUp) {
  TestMachine machine = machine_with(kGib);
  const Claim claims[] = {
      claim_at(7), claim_at(9, EventKind::kCorrected), {.range = range(kGib, kGib + kPage - 1)}};
  const CheckedList made = make_retire_list(std::span<const Claim>(claims), machine.view(),
                                            {.checks = {}, .bounds = {.frames = 1}}, 42);
  EXPECT_EQ(made.list.generation, 42U);
  EXPECT_EQ(made.list.frames, set_of({frame_at(7)}));
  ASSERT_EQ(made.list.refused.size(), 2U);
  EXPECT_EQ(made.list.refused[0].range, frame_at(9));
  EXPECT_NE(made.list.refused[0].reason.find("(at most 1 frame)"), std::string::npos);
  EXPECT_EQ(made.list.refused[1].range, range(kGib, kGib + kPage - 1));
  EXPECT_EQ(made.findings.size(), 2U);
}

// What the kernel had before it could be retired is to be kept out by the next command line first,
// and what that command line keeps out must not lose its place to others for it.
TEST(RetireList, WhatIsInUseOrKeptOutNowComesFirst) {
  TestMachine machine{.map = MemoryMap({{range(0, 20 * kPage - 1), 0, "System RAM"},
                                        {range(20 * kPage, 21 * kPage - 1), 0, "Unusable memory"},
                                        {range(21 * kPage, kGib - 1), 0, "System RAM"}},
                                       {{range(0, kGib - 1), "System RAM"}})};
  std::vector<Record> records;
  for (const std::uint64_t frame : {5U, 10U, 15U, 20U, 25U, 30U, 35U}) {
    Record record = empty_record(1, frame_at(frame), Time());
    record.condition = Condition::kFaulty;
    record.severity = EventKind::kUncorrected;
    records.push_back(record);
  }
  records[1].last_outcome = Retirement::kFailed;
  records[1].outcome_boot_id = "a boot before this one";
  records[2].last_outcome = Retirement::kEffective;
  // Nobody has it: a replay retires it.
  records[4].last_outcome = Retirement::kPending;
  records[4].outcome_how = kHowFree;
  records[5].last_outcome = Retirement::kPending;
  records[5].outcome_how = "in use by a process";
  records[6].last_outcome = Retirement::kUnknown;
  const CheckedList made =
      make_retire_list(std::span<const Record>(records), machine.view(), {}, 1);
  EXPECT_EQ(made.list.frames.bytes(), 7 * kPage);
  EXPECT_EQ(made.list.beyond_replay, set_of({frame_at(10), frame_at(20), frame_at(30)}));
}

TEST(Bounds, TheirText) {
  EXPECT_EQ(parse_bounds("frames=7,floor=1G").value(), (Bounds{.frames = 7, .floor = kGib}));
  EXPECT_EQ(parse_bounds("per-mille=1,node-per-mille=2,hard-per-mille=3").value(),
            (Bounds{.per_mille = 1, .node_per_mille = 2, .hard_per_mille = 3}));
  for (const std::string_view wrong :
       {"", "frames", "frames=", "frames=-1", "frames=1,", "frames=1,frames=2", "per-mille=1001",
        "floor=x", "cells=1", "frames=99999999999999999999", " frames=1"}) {
    const auto bounds = parse_bounds(wrong);
    ASSERT_FALSE(bounds.ok()) << wrong;
    EXPECT_EQ(bounds.error().code, ErrorCode::kUsage);
  }
}

}  // namespace
}  // namespace poisonctl
