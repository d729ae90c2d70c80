// The list in memory that outlives the kernel: published, renewed in place, received.
#include "registry/preserved_list.h"

#include <gtest/gtest.h>

#include "registry/handover.h"
#include "tests/unit/fake_live_update.h"
#include "tests/unit/handover_samples.h"

namespace poisonctl {
namespace {

// A handover of that generation with some bytes more.
std::string blob_of(std::uint64_t generation, std::size_t ranges = 3) {
  static const TestKey key;
  Handover handover = sample_handover();
  handover.generation = generation;
  handover.ranges.clear();
  for (std::size_t i = 0; i < ranges; ++i) {
    handover.ranges.push_back({*ByteRange::from_size(PhysAddr(0x100000 + i * 0x2000), 0x1000),
                               Condition::kFaulty, EventKind::kPoisoned});
  }
  return write_handover(handover, key.key).value();
}

// A kexec: what was preserved arrives.
std::vector<ReceivedList> lists_after_kexec(const FakeLiveUpdate& kernel) {
  FakeLiveUpdate next;
  next.incoming = kernel.outgoing();
  auto received = ReceivedLists::receive(next);
  EXPECT_TRUE(received.ok());
  EXPECT_TRUE(next.finished.empty()) << "finished before anybody has recorded it";
  EXPECT_TRUE(received->finish().ok());
  for (const auto& [name, bytes] : next.incoming) {
    EXPECT_EQ(next.finished.contains(name), name.starts_with("poisonctl-")) << name;
  }
  return received->lists();
}

std::vector<std::uint64_t> generations(const std::vector<ReceivedList>& lists) {
  std::vector<std::uint64_t> found;
  for (const ReceivedList& list : lists) {
    EXPECT_TRUE(list.blob.ok()) << list.blob.error().message;
    const auto handover = read_handover(*list.blob, list.from);
    EXPECT_TRUE(handover.ok()) << handover.error().message;
    EXPECT_TRUE(handover->signature_fits);
    found.push_back(handover->content.generation);
  }
  std::sort(found.begin(), found.end());
  return found;
}

using Generations = std::vector<std::uint64_t>;

TEST(PreservedList, ArrivesAndTheNewestIsBesideTheOneBefore) {
  FakeLiveUpdate kernel;
  auto list = PreservedList::create(kernel, blob_of(1));
  ASSERT_TRUE(list.ok()) << list.error().message;
  EXPECT_EQ(generations(lists_after_kexec(kernel)), Generations({1}));
  ASSERT_TRUE(list->update(blob_of(2, 5)).ok());
  EXPECT_EQ(generations(lists_after_kexec(kernel)), Generations({1, 2}));
  ASSERT_TRUE(list->update(blob_of(3, 2)).ok());
  EXPECT_EQ(generations(lists_after_kexec(kernel)), Generations({2, 3}));
  EXPECT_EQ(kernel.sessions_made, 1);
}

TEST(PreservedList, EndsWithTheObjectAndTouchesNoSessionOfOthers) {
  FakeLiveUpdate kernel;
  const auto other = kernel.create_session("vm-1").value();
  const auto memory = file_in_memory("test", 10).value();
  ASSERT_TRUE(other->preserve(memory, 0).ok());
  {
    const auto list = PreservedList::create(kernel, blob_of(1));
    ASSERT_TRUE(list.ok());
    EXPECT_EQ(kernel.outgoing().size(), 2U);
    FakeLiveUpdate next;
    next.incoming = kernel.outgoing();
    auto received = ReceivedLists::receive(next);
    ASSERT_TRUE(received.ok() && received->finish().ok());
    EXPECT_FALSE(next.finished.contains("vm-1"));
  }
  EXPECT_EQ(kernel.outgoing().size(), 1U);
  EXPECT_TRUE(lists_after_kexec(kernel).empty());
}

TEST(PreservedList, TakesTheNextSessionWhenOneIsTakenAndSaysWhenAllAre) {
  FakeLiveUpdate kernel;
  std::vector<PreservedList> held;
  for (std::size_t i = 0; i < kMostPreservedSessions; ++i) {
    auto list = PreservedList::create(kernel, blob_of(i + 1));
    ASSERT_TRUE(list.ok());
    EXPECT_EQ(list->session(), preserved_session_name(i));
    held.push_back(*std::move(list));
  }
  EXPECT_EQ(PreservedList::create(kernel, blob_of(9)).error().code, ErrorCode::kLocked);
  EXPECT_EQ(generations(lists_after_kexec(kernel)), Generations({1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST(PreservedList, OneThatOutgrowsItsRoomIsRefusedAndTheOldOneStays) {
  FakeLiveUpdate kernel;
  auto list = PreservedList::create(kernel, blob_of(1, 0));
  ASSERT_TRUE(list.ok());
  const std::string large = blob_of(2, 10000);
  EXPECT_FALSE(list->fits(large));
  EXPECT_EQ(list->update(large).error().code, ErrorCode::kUsage);
  EXPECT_EQ(generations(lists_after_kexec(kernel)), Generations({1}));
  // As the holder does it: the new one first.
  auto next = PreservedList::create(kernel, large);
  ASSERT_TRUE(next.ok());
  EXPECT_EQ(generations(lists_after_kexec(kernel)), Generations({1, 2}));
  *list = *std::move(next);
  EXPECT_EQ(generations(lists_after_kexec(kernel)), Generations({2}));
}

TEST(PreservedList, HasRoomForTheLargestHandoverAndForGrowth) {
  EXPECT_EQ(preserved_slot_bytes(0), 65536U);
  EXPECT_EQ(preserved_slot_bytes(32768), 65536U);
  EXPECT_EQ(preserved_slot_bytes(32769), 131072U);
  EXPECT_EQ(preserved_slot_bytes(kMostHandoverBytes), kMostHandoverBytes);
  EXPECT_EQ(preserved_slot_bytes(kMostHandoverBytes - 1), kMostHandoverBytes);
}

TEST(PreservedList, AKernelThatPreservesNoFilesLeavesNoSessionBehind) {
  FakeLiveUpdate kernel;
  kernel.preserve_fails = true;
  EXPECT_EQ(PreservedList::create(kernel, blob_of(1)).error().code, ErrorCode::kNotAvailable);
  EXPECT_TRUE(kernel.outgoing().empty());
}

// A kernel that ends in the middle of a write has half of the new list, and the whole old one.
TEST(PreservedList, AWriteThatWasCutLeavesTheListBefore) {
  FakeLiveUpdate kernel;
  auto list = PreservedList::create(kernel, blob_of(1));
  ASSERT_TRUE(list.ok());
  const std::string newer = blob_of(2);  // its last byte is zero, as all of the slot was
  for (const std::size_t cut : {std::size_t{4}, std::size_t{100}, newer.size() - 2}) {
    FakeLiveUpdate next;
    next.incoming = kernel.outgoing();
    std::string& bytes = next.incoming.begin()->second;
    bytes.replace(bytes.size() / 2, cut, newer.substr(0, cut));
    auto received = ReceivedLists::receive(next);
    ASSERT_TRUE(received.ok());
    ASSERT_EQ(received->lists().size(), 2U);
    const auto old = read_handover(*received->lists()[0].blob, "old");
    ASSERT_TRUE(old.ok() && old->signature_fits);
    EXPECT_EQ(old->content.generation, 1U);
    const auto torn = read_handover(*received->lists()[1].blob, "torn");
    EXPECT_FALSE(torn.ok() && torn->signature_fits) << cut;
  }
}

TEST(PreservedList, WhatIsNoListIsSaidAndDoesNotHideTheOthers) {
  FakeLiveUpdate kernel;
  const auto list = PreservedList::create(kernel, blob_of(1));
  ASSERT_TRUE(list.ok());
  FakeLiveUpdate next;
  next.incoming = kernel.outgoing();
  next.incoming["poisonctl-3"] = "";
  next.incoming["poisonctl-4"] = "odd";
  next.incoming["poisonctl-5"] = std::string(131072, '\0');
  next.incoming["poisonctl-6"] = std::string(2 * kMostHandoverBytes + 2, '\0');
  auto received = ReceivedLists::receive(next);
  ASSERT_TRUE(received.ok());
  ASSERT_EQ(received->lists().size(), 5U);
  EXPECT_TRUE(received->lists()[0].blob.ok());
  for (std::size_t i = 1; i < 5; ++i) {
    EXPECT_EQ(received->lists()[i].blob.error().code, ErrorCode::kBadData) << i;
  }
}

TEST(PreservedList, CostsFourteenBytesAScatteredFrameAndNothingMoreForALongRun) {
  const std::size_t none = blob_of(1, 0).size();
  EXPECT_EQ((blob_of(1, 1000).size() - none) / 1000, 14U);
  EXPECT_LT((blob_of(1, 100000).size() - none), std::size_t{16} * 100000);
}

}  // namespace
}  // namespace poisonctl
