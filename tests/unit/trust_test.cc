// Which handovers are believed: a table of those that were tampered with or are stale, each with
// what must come of it, and that none retires a frame that it should not.
#include "registry/trust.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "registry/retire_list.h"
#include "tests/unit/checked_machine.h"
#include "tests/unit/handover_samples.h"

namespace poisonctl {
namespace {

// Our key, somebody else's, and a machine with 1 GiB of RAM.
struct Bench {
  TestKey ours;
  TestKey theirs;
  TestMachine machine{.map = MemoryMap({{range(0, (1U << 30U) - 1), 0, "System RAM"}}, {})};
  TrustContext context{.keys = {ours.key.public_key()},
                       .host = {digest_of(1), digest_of(3)},
                       .topology = {digest_of(2), digest_of(4)},
                       .newest_generation = 42,
                       .newer_exists = false};

  [[nodiscard]] std::string blob(const Handover& handover) const {
    return write_handover(handover, ours.key).value();
  }
};

// What came of a blob: nothing readable, or a decision and the frames that would be retired.
struct Outcome {
  bool readable = false;
  TrustDecision decision;
  CheckedList list{
      .list = {.generation = 0, .page_shift = PageShift::smallest(), .frames = {}, .refused = {}},
      .findings = {}};
};

Outcome outcome_of(const std::string& blob, const Bench& bench) {
  Outcome outcome;
  const auto handover = read_handover(blob, "test");
  if (!handover) return outcome;
  outcome.readable = true;
  outcome.decision = judge_handover(*handover, bench.context);
  const auto claims = believed_claims(*handover, outcome.decision);
  outcome.list = make_retire_list(std::span<const Claim>(claims), bench.machine.view(), {},
                                  handover->content.generation);
  return outcome;
}

std::vector<std::string> rules_of(const TrustDecision& decision) {
  std::vector<std::string> rules;
  for (const TrustFinding& finding : decision.findings) rules.emplace_back(finding.rule);
  return rules;
}

// The frames that the sample asks for, all of them good to retire on the sample's machine.
RangeSet wanted() { return set_of({range(0x1000000, 0x1000fff), range(0x1002000, 0x1005fff)}); }

TEST(Trust, OursIsAccepted) {
  const Bench bench;
  const Outcome outcome = outcome_of(bench.blob(sample_handover()), bench);
  EXPECT_EQ(outcome.decision.trust, Trust::kAccept);
  EXPECT_TRUE(outcome.decision.findings.empty());
  EXPECT_EQ(outcome.list.list.frames, wanted());
  EXPECT_TRUE(outcome.list.findings.empty());
}

enum class Fate {
  kUnreadable,   // the form is wrong
  kRefused,      // not used for anything
  kQuarantined,  // kept, nothing retired
  kLess,         // accepted, and the checks or the bounds refuse what should not be retired
  kFinding,      // accepted with a finding; all of it is retired
};

struct Case {
  std::string_view name;
  std::function<std::string(Bench& bench)> make;  // may also change what the machine knows
  Fate fate;
  std::string_view rule;  // of the trust decision or of the checks; empty for kUnreadable
};

// A good handover with a part of its bytes changed, and not signed again.
std::function<std::string(Bench&)> tampered(std::string_view property, std::size_t at, char flip) {
  return [=](Bench& bench) {
    std::string blob = bench.blob(sample_handover());
    const auto tree = fdt::Tree::parse(blob, blob.size(), "test").value();
    for (const fdt::Property& one : properties_of(tree)) {
      if (one.name != property) continue;
      const auto place = static_cast<std::size_t>(one.value.data() - tree.bytes().data()) + at;
      blob[place] = static_cast<char>(blob[place] ^ flip);
    }
    return blob;
  };
}

std::function<std::string(Bench&)> header(std::size_t at, std::uint32_t value) {
  return
      [=](Bench& bench) { return bench.blob(sample_handover()).replace(at, 4, fdt::cell(value)); };
}

// Signed by us, with other content.
std::function<std::string(Bench&)> ours_with(const std::function<void(Handover&)>& change) {
  return [=](Bench& bench) {
    Handover handover = sample_handover();
    change(handover);
    return bench.blob(handover);
  };
}

// A good one, on a machine that knows something else.
std::function<std::string(Bench&)> on(const std::function<void(Bench&)>& change) {
  return [=](Bench& bench) {
    change(bench);
    return bench.blob(sample_handover());
  };
}

HandoverRange bad(std::uint64_t first, std::uint64_t last,
                  EventKind kind = EventKind::kUncorrected) {
  return {range(first, last), Condition::kFaulty, kind};
}

const std::vector<Case>& cases() {
  constexpr std::uint64_t kGib = 1U << 30U;
  static const std::vector<Case> table = {
      // the header
      {"no magic", header(0, 0), Fate::kUnreadable, ""},
      {"shorter than it is", header(4, 64), Fate::kUnreadable, ""},
      {"longer than it is", header(4, 1U << 20U), Fate::kUnreadable, ""},
      {"larger than any", header(4, 0xffffffff), Fate::kUnreadable, ""},
      {"structure elsewhere", header(8, 4), Fate::kUnreadable, ""},
      {"strings elsewhere", header(12, 0xfffffff0), Fate::kUnreadable, ""},
      {"reservations elsewhere", header(16, 3), Fate::kUnreadable, ""},
      {"a tree of a later form", header(20, 99), Fate::kUnreadable, ""},
      {"a tree that needs a later form", header(24, 99), Fate::kUnreadable, ""},
      {"another boot processor", header(28, 1), Fate::kRefused, "bad-signature"},
      {"longer strings", header(32, 0xffff), Fate::kUnreadable, ""},
      {"a shorter structure", header(36, 8), Fate::kUnreadable, ""},
      // one bit of what it says
      {"another range", tampered("ranges", 6, 0x10), Fate::kRefused, "bad-signature"},
      {"a longer range", tampered("ranges", 23, 2), Fate::kRefused, "bad-signature"},
      {"an unaligned range", tampered("ranges", 7, 1), Fate::kUnreadable, ""},
      {"ranges out of order", tampered("ranges", 4, 0x40), Fate::kUnreadable, ""},
      {"one range less", tampered("count", 3, 1), Fate::kUnreadable, ""},
      {"a suspect range made faulty", tampered("conditions", 2, 3), Fate::kRefused,
       "bad-signature"},
      {"a resolved range made faulty", tampered("conditions", 3, 2), Fate::kRefused,
       "bad-signature"},
      {"another kind", tampered("kinds", 0, 2), Fate::kRefused, "bad-signature"},
      {"a kind that is none", tampered("kinds", 0, 0x40), Fate::kUnreadable, ""},
      {"a newer generation", tampered("generation", 6, 1), Fate::kRefused, "bad-signature"},
      {"another time", tampered("created", 7, 1), Fate::kRefused, "bad-signature"},
      {"for us, it says", tampered("host", 0, 1), Fate::kRefused, "bad-signature"},
      {"for this memory, it says", tampered("topology", 0, 1), Fate::kRefused, "bad-signature"},
      {"another version", tampered("version", 3, 2), Fate::kUnreadable, ""},
      {"another page size", tampered("page-shift", 3, 1), Fate::kRefused, "bad-signature"},
      // the signature and the key
      {"another signature", tampered("signature", 5, 1), Fate::kRefused, "bad-signature"},
      {"no signature",
       [](Bench& bench) {
         const std::string zeros(64, '\0');
         return with_property(bench.blob(sample_handover()), "signature", &zeros);
       },
       Fate::kRefused, "bad-signature"},
      {"another key", tampered("public-key", 0, 1), Fate::kRefused, "bad-signature"},
      {"signed by somebody else",
       [](Bench& bench) { return write_handover(sample_handover(), bench.theirs.key).value(); },
       Fate::kRefused, "unknown-key"},
      {"our key named, signed by somebody else",
       [](Bench& bench) {
         const std::string key = bench.ours.key.public_key();
         return with_property(write_handover(sample_handover(), bench.theirs.key).value(),
                              "public-key", &key);
       },
       Fate::kRefused, "bad-signature"},
      {"a host without keys", on([](Bench& bench) { bench.context.keys.clear(); }), Fate::kRefused,
       "unknown-key"},
      {"a property added",
       [](Bench& bench) {
         const std::string value = "x";
         return with_property(bench.blob(sample_handover()), "added", &value);
       },
       Fate::kRefused, "bad-signature"},
      {"a property removed",
       [](Bench& bench) { return with_property(bench.blob(sample_handover()), "kinds", nullptr); },
       Fate::kUnreadable, ""},
      // rollback
      {"an older one while a newer is there", on([](Bench& bench) {
         bench.context.newest_generation = 43;
         bench.context.newer_exists = true;
       }),
       Fate::kRefused, "older-generation"},
      {"an older one, and nothing newer is left",
       on([](Bench& bench) { bench.context.newest_generation = 43; }), Fate::kFinding,
       "older-generation"},
      {"generation 0 after all", ours_with([](Handover& h) { h.generation = 0; }), Fate::kFinding,
       "older-generation"},
      // another machine
      {"of another machine", ours_with([](Handover& h) { h.host.whole = digest_of(9); }),
       Fate::kRefused, "other-host"},
      {"of another machine and another memory", ours_with([](Handover& h) {
         h.host.whole = digest_of(9);
         h.topology.whole = digest_of(9);
       }),
       Fate::kRefused, "other-host"},
      {"a machine that cannot tell who it is", on([](Bench& bench) { bench.context.host = {}; }),
       Fate::kFinding, "host-not-known"},
      {"made where nobody could tell", ours_with([](Handover& h) { h.host = {}; }), Fate::kFinding,
       "host-not-known"},
      // one of the two kernels does not see SMBIOS
      {"a kernel that sees no SMBIOS", on([](Bench& bench) {
         bench.context.host = {digest_of(3), digest_of(3)};
         bench.context.topology = {digest_of(4), digest_of(4)};
       }),
       Fate::kFinding, "topology-not-known"},
      {"made by a kernel that saw none", ours_with([](Handover& h) {
         h.host = {digest_of(3), digest_of(3)};
         h.topology = {digest_of(4), digest_of(4)};
       }),
       Fate::kFinding, "topology-not-known"},
      {"made by one, for an initramfs",
       [](Bench& bench) {
         bench.context.host.without_smbios = {};
         Handover handover = sample_handover();
         handover.host = {digest_of(3), digest_of(3)};
         return bench.blob(handover);
       },
       Fate::kFinding, "host-not-known"},
      {"no SMBIOS, and another map", on([](Bench& bench) {
         bench.context.topology = {digest_of(8), digest_of(8)};
       }),
       Fate::kQuarantined, "other-topology"},
      {"no SMBIOS, and another machine id", on([](Bench& bench) {
         bench.context.host = {digest_of(8), digest_of(8)};
       }),
       Fate::kRefused, "other-host"},
      {"no SMBIOS, made by one that did not say the rest",
       [](Bench& bench) {
         bench.context.topology = {digest_of(4), digest_of(4)};
         Handover handover = sample_handover();
         handover.topology.without_smbios = {};
         return bench.blob(handover);
       },
       Fate::kFinding, "topology-not-known"},
      // other memory: each of these is another digest (topology_test.cc)
      {"a DIMM swapped, the map grown or shrunk, a node moved",
       on([](Bench& bench) { bench.context.topology.whole = digest_of(8); }), Fate::kQuarantined,
       "other-topology"},
      {"other memory, and an older list", on([](Bench& bench) {
         bench.context.topology.whole = digest_of(8);
         bench.context.newest_generation = 99;
       }),
       Fate::kQuarantined, "older-generation"},
      {"memory that cannot be told", on([](Bench& bench) { bench.context.topology = {}; }),
       Fate::kFinding, "topology-not-known"},
      // believed, and yet not to be acted on
      {"beyond the machine", ours_with([](Handover& h) { h.ranges = {bad(kGib, kGib + 0xfff)}; }),
       Fate::kLess, "beyond-machine"},
      {"a map that shrank under it", on([](Bench& bench) {
         bench.machine.map = MemoryMap({{range(0, 0x1001fff), 0, "System RAM"}}, {});
       }),
       Fate::kLess, "beyond-machine"},
      {"what firmware keeps", on([](Bench& bench) {
         bench.machine.map = MemoryMap({{range(0, 0xffffff), 0, "System RAM"},
                                        {range(0x1000000, 0x1ffffff), 0, "Reserved"},
                                        {range(0x2000000, kGib - 1), 0, "System RAM"}},
                                       {});
       }),
       Fate::kLess, "firmware-reserved"},
      {"a hole", on([](Bench& bench) {
         bench.machine.map = MemoryMap(
             {{range(0, 0xffffff), 0, "System RAM"}, {range(0x2000000, kGib - 1), 0, "System RAM"}},
             {});
       }),
       Fate::kLess, "hole"},
      {"half of memory", ours_with([](Handover& h) { h.ranges = {bad(0x100000, kGib / 2 - 1)}; }),
       Fate::kLess, "hard-limit"},
      {"more than its share", ours_with([](Handover& h) { h.ranges = {bad(0x100000, 0x1ffffff)}; }),
       Fate::kLess, "past-bound"},
      {"what a test injected",
       ours_with([](Handover& h) { h.ranges = {bad(0x1000000, 0x1000fff, EventKind::kInjected)}; }),
       Fate::kLess, "injected"},
      {"a list of 64K pages on a kernel of 4K: all of each page", ours_with([](Handover& h) {
         h.page_shift = shift_of(65536);
         h.ranges = {bad(0x1000000, 0x100ffff)};
       }),
       Fate::kFinding, "not-exact"},
      {"a list of 4K pages on a kernel of 64K: whole pages",
       on([](Bench& bench) { bench.machine.shift = shift_of(65536); }), Fate::kFinding,
       "page-size"},
      {"the kernel's own code", on([](Bench& bench) {
         bench.machine.map = MemoryMap({{range(0, kGib - 1), 0, "System RAM"},
                                        {range(0x1000000, 0x1ffffff), 1, "Kernel code"}},
                                       {});
       }),
       Fate::kFinding, "kernel-image"},
      {"a part inside KHO's scratch area", on([](Bench& bench) {
         bench.machine.placement.kho_scratch = set_of({range(0x1000000, 0x1ffffff)});
       }),
       Fate::kFinding, "kho-scratch"},
  };
  return table;
}

TEST(Trust, EachTamperedOrStaleHandoverIsCaught) {
  EXPECT_GE(cases().size(), 40U);
  for (const Case& c : cases()) {
    SCOPED_TRACE(c.name);
    Bench bench;
    const std::string blob = c.make(bench);
    const Outcome outcome = outcome_of(blob, bench);
    const RangeSet& retired = outcome.list.list.frames;
    if (c.fate == Fate::kUnreadable) {
      EXPECT_FALSE(outcome.readable);
      continue;
    }
    ASSERT_TRUE(outcome.readable);
    auto found = rules_of(outcome.decision);
    for (const Finding& finding : outcome.list.findings) found.emplace_back(finding.rule->id);
    EXPECT_NE(std::find(found.begin(), found.end(), c.rule), found.end());
    const RangeSet asked = [&] {
      const Handover content = read_handover(blob, "test")->content;
      std::vector<ByteRange> ranges;
      for (const HandoverRange& one : content.ranges) {
        if (one.condition == Condition::kFaulty) {
          ranges.push_back(one.range.widened_to(bench.machine.shift));
        }
      }
      return RangeSet::from_ranges(std::move(ranges));
    }();
    switch (c.fate) {
      case Fate::kUnreadable:
        break;
      case Fate::kRefused:
        EXPECT_EQ(outcome.decision.trust, Trust::kRefuse);
        EXPECT_TRUE(retired.empty());
        break;
      case Fate::kQuarantined:
        EXPECT_EQ(outcome.decision.trust, Trust::kQuarantine);
        EXPECT_TRUE(retired.empty());
        EXPECT_FALSE(outcome.list.list.refused.empty());
        break;
      case Fate::kLess: {
        EXPECT_EQ(outcome.decision.trust, Trust::kAccept);
        EXPECT_NE(retired, asked);
        std::vector<ByteRange> refused;
        for (const Refusal& refusal : outcome.list.list.refused) refused.push_back(refusal.range);
        EXPECT_EQ(retired.united_with(RangeSet::from_ranges(refused)), asked);
        break;
      }
      case Fate::kFinding:
        EXPECT_EQ(outcome.decision.trust, Trust::kAccept);
        EXPECT_EQ(retired, asked);
        break;
    }
  }
}

TEST(Trust, EveryFindingSaysWhatIsSo) {
  Bench bench;
  Handover handover = sample_handover();
  handover.host.whole = digest_of(9);
  handover.topology.whole = digest_of(9);
  handover.generation = 1;
  const std::string blob = write_handover(handover, bench.theirs.key).value();
  const auto read = read_handover(blob, "test");
  ASSERT_TRUE(read.ok());
  const TrustDecision decision = judge_handover(*read, bench.context);
  EXPECT_EQ(rules_of(decision), (std::vector<std::string>{"unknown-key", "other-host",
                                                          "other-topology", "older-generation"}));
  EXPECT_EQ(decision.trust, Trust::kRefuse);
}

TEST(Trust, AnOlderKeyIsTrustedWhileItIsInTheList) {
  Bench bench;
  const std::string blob = write_handover(sample_handover(), bench.theirs.key).value();
  bench.context.keys.push_back(bench.theirs.key.public_key());
  EXPECT_EQ(outcome_of(blob, bench).decision.trust, Trust::kAccept);
}

TEST(Trust, KeysAsText) {
  const TestKey key;
  const std::string line = trusted_key_line(key.key.public_key());
  const auto keys = parse_trusted_keys("# of this host\n\n" + line + "  # since March\n", "FILE");
  ASSERT_TRUE(keys.ok()) << keys.error().message;
  EXPECT_EQ(*keys, std::vector<std::string>{key.key.public_key()});
  EXPECT_TRUE(parse_trusted_keys("", "FILE")->empty());
  for (const std::string& wrong :
       {std::string("ed25519"), std::string("rsa ") + line.substr(8), line + "0",
        line.substr(0, 70), line + " " + line, std::string("ed25519 ") + std::string(64, 'g'),
        std::string("ed25519 0x") + std::string(62, '0')}) {
    const auto parsed = parse_trusted_keys("\n" + wrong, "FILE");
    ASSERT_FALSE(parsed.ok()) << wrong;
    EXPECT_TRUE(parsed.error().message.starts_with("FILE:2: ")) << parsed.error().message;
  }
  std::string many;
  for (std::size_t i = 0; i <= kMostKeys; ++i) many += line + "\n";
  EXPECT_FALSE(parse_trusted_keys(many, "FILE").ok());
}

}  // namespace
}  // namespace poisonctl
