// Which handover is taken of those that a boot finds, and what is said of the others.
#include <gtest/gtest.h>

#include "cli/replay/carriers.h"
#include "cli/replay/choose.h"
#include "registry/preserved_list.h"
#include "tests/unit/fake_live_update.h"
#include "tests/unit/handover_samples.h"
#include "tests/unit/temp_tree.h"

namespace poisonctl {
namespace {

struct Bench {
  TestKey ours;
  TestKey theirs;
  TempTree tree;
  TrustContext context{.keys = {ours.key.public_key()},
                       .host = {digest_of(1), digest_of(3)},
                       .topology = {digest_of(2), digest_of(4)},
                       .newest_generation = 0,
                       .newer_exists = false};

  [[nodiscard]] std::string blob(std::uint64_t generation, unsigned char topology = 2) const {
    Handover handover = sample_handover();
    handover.generation = generation;
    handover.topology.whole = digest_of(topology);
    return write_handover(handover, ours.key).value();
  }
  [[nodiscard]] ChosenHandover choose() const {
    return choose_handover(find_handovers(*tree.open()), context);
  }
};

std::vector<std::pair<std::string, bool>> trusts(const ChosenHandover& chosen) {
  std::vector<std::pair<std::string, bool>> all;
  for (const SeenHandover& seen : chosen.seen) all.emplace_back(seen.trust, seen.used);
  return all;
}
using Trusts = std::vector<std::pair<std::string, bool>>;

TEST(Carriers, NothingIsNothing) {
  const Bench bench;
  EXPECT_TRUE(find_handovers(*bench.tree.open()).empty());
  bench.tree.write("sys/fs/pstore/pmsg-ramoops-0", "what somebody logged");
  bench.tree.write("sys/fs/pstore/dmesg-ramoops-0", bench.blob(1));
  EXPECT_TRUE(find_handovers(*bench.tree.open()).empty());
}

TEST(Carriers, TheNewestThatIsBelievedIsTaken) {
  const Bench bench;
  bench.tree.write("poisonctl/handover", bench.blob(7));
  std::string bad = bench.blob(99);
  bad.back() = static_cast<char>(bad.back() ^ 1);
  // Cut at its start by the ring, and two whole ones.
  bench.tree.write("sys/fs/pstore/pmsg-ramoops-0",
                   bench.blob(5).substr(50) + bench.blob(8) + "noise" + bench.blob(9));
  Handover foreign = sample_handover();
  foreign.generation = 1000;
  bench.tree.write("sys/fs/pstore/pmsg-ramoops-1",
                   write_handover(foreign, bench.theirs.key).value());
  const ChosenHandover chosen = bench.choose();
  ASSERT_TRUE(chosen.used.has_value());
  EXPECT_EQ(chosen.used->content.generation, 9U);
  EXPECT_EQ(trusts(chosen),
            (Trusts{{"refuse", false}, {"accept", true}, {"refuse", false}, {"refuse", false}}));
  EXPECT_EQ(chosen.seen[0].findings[0].rule, "older-generation");
  EXPECT_EQ(chosen.seen[3].findings[0].rule, "unknown-key");
  EXPECT_EQ(chosen.claims.size(), 4U);
}

// A regression: both were one file, and the list of the day when the initramfs was made took the
// place of the one that kexec had just put before it.
TEST(Carriers, TheListThatKexecAddedIsNotReplacedByThatOfTheInitramfs) {
  const Bench bench;
  bench.tree.write("poisonctl/handover", bench.blob(8));
  bench.tree.write(kBuiltInHandover, bench.blob(7));
  EXPECT_EQ(bench.choose().used->content.generation, 8U);
  bench.tree.write(kBuiltInHandover, bench.blob(9));
  EXPECT_EQ(bench.choose().used->content.generation, 9U);
  EXPECT_EQ(bench.choose().seen.size(), 2U);
}

TEST(Carriers, OneOfOtherMemoryIsTakenOnlyForLackOfABetterAndRetiresNothing) {
  const Bench bench;
  bench.tree.write("poisonctl/handover", bench.blob(9, 3));
  const ChosenHandover alone = bench.choose();
  EXPECT_EQ(trusts(alone), (Trusts{{"quarantine", true}}));
  for (const Claim& claim : alone.claims) EXPECT_NE(claim.condition, Condition::kFaulty);

  bench.tree.write("sys/fs/pstore/pmsg-ramoops-0", bench.blob(8));
  const ChosenHandover both = bench.choose();
  EXPECT_EQ(both.used->content.generation, 8U);
}

TEST(Carriers, WhatCannotBeReadIsSaid) {
  const Bench bench;
  bench.tree.write("poisonctl/handover", bench.blob(9).substr(0, 60));
  const ChosenHandover chosen = bench.choose();
  EXPECT_FALSE(chosen.used.has_value());
  EXPECT_TRUE(chosen.claims.empty());
  ASSERT_EQ(chosen.seen.size(), 1U);
  EXPECT_EQ(chosen.seen[0].trust, "unreadable");
  EXPECT_EQ(chosen.seen[0].findings[0].rule, "unreadable");
}

TEST(Carriers, AFloodOfBeginningsIsBounded) {
  std::string flood;
  for (int i = 0; i < 1000; ++i) flood += "\xd0\x0d\xfe\xed";
  const auto places = handovers_in_record(flood);
  EXPECT_EQ(places.size(), kMostInRecord);
  EXPECT_EQ(places.front(), 4U * 999);  // the newest first
  EXPECT_TRUE(handovers_in_record("").empty());
  EXPECT_EQ(handovers_in_record("\xd0\x0d\xfe\xed"), std::vector<std::size_t>{0});
}

// As the kernel before left it: two slots, one of them with a list.
void leave_list(FakeLiveUpdate& kernel, const std::string& session, const std::string& list) {
  std::string slots(2 * preserved_slot_bytes(list.size()), '\0');
  kernel.incoming[session] = slots.replace(slots.size() / 2, list.size(), list);
}

TEST(Carriers, WhatTheKernelPreservedIsKeptInAFileBeforeTheKernelForgetsIt) {
  const Bench bench;
  FakeLiveUpdate kernel;
  leave_list(kernel, "poisonctl-0", bench.blob(7));
  kernel.incoming["somebody"] = "not ours";
  EXPECT_TRUE(keep_preserved(kernel, *bench.tree.open()).empty());
  EXPECT_EQ(kernel.finished, (std::map<std::string, int>{{"poisonctl-0", 1}}));
  EXPECT_EQ(bench.tree.content("run/poisonctl/preserved/poisonctl-0.1"), bench.blob(7));
  // Whoever comes later in this boot finds it, with what the kernel no longer has.
  kernel.incoming.clear();
  EXPECT_TRUE(keep_preserved(kernel, *bench.tree.open()).empty());
  const ChosenHandover chosen = bench.choose();
  EXPECT_EQ(trusts(chosen), (Trusts{{"accept", true}}));
}

TEST(Carriers, APreservedListThatCannotBeKeptIsUsedAllTheSame) {
  const Bench bench;
  bench.tree.write("run/poisonctl", "a file where a folder has to be");
  FakeLiveUpdate kernel;
  leave_list(kernel, "poisonctl-0", bench.blob(7));
  kernel.incoming["poisonctl-1"] = "torn";
  const auto left = keep_preserved(kernel, *bench.tree.open());
  EXPECT_EQ(trusts(choose_handover(left, bench.context)),
            (Trusts{{"unreadable", false}, {"accept", true}, {"unreadable", false}}));
}

}  // namespace
}  // namespace poisonctl
