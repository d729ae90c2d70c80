// The form of a handover: what is written reads back, always the same, and what is malformed is an
// error. Whether one is believed is in trust_test.cc.
#include "registry/handover.h"

#include <gtest/gtest.h>

#include <random>

#include "registry/machine.h"
#include "tests/unit/handover_samples.h"

namespace poisonctl {
namespace {

TEST(Handover, WhatIsWrittenReadsBack) {
  const TestKey key;
  Handover empty = sample_handover();
  empty.ranges.clear();
  Handover large_pages = sample_handover();
  large_pages.page_shift = shift_of(65536);
  large_pages.ranges = {{range(0, 0xffff), Condition::kQuarantined, EventKind::kInjected},
                        {range(kPhysAddrLimit - 65536, kPhysAddrLimit - 1), Condition::kFaulty,
                         EventKind::kDeferred}};
  Handover later = sample_handover();
  later.unknown = {{"poisonctl,later", std::string("\0\1\2", 3)}, {"zzz", ""}};
  for (const Handover& handover : {sample_handover(), empty, large_pages, later}) {
    const auto blob = write_handover(handover, key.key);
    ASSERT_TRUE(blob.ok()) << blob.error().message;
    EXPECT_EQ(write_handover(handover, key.key).value(), *blob);  // the same bytes every time
    // What follows it in a region of memory is not looked at.
    for (const std::string& after : {std::string(), std::string(100, '\xff')}) {
      const auto read = read_handover(*blob + after, "test");
      ASSERT_TRUE(read.ok()) << read.error().message;
      EXPECT_EQ(read->content, handover);
      EXPECT_EQ(read->public_key, key.key.public_key());
      EXPECT_TRUE(read->signature_fits);
    }
  }
}

TEST(Handover, AnyChangedBitIsFoundByTheFormOrTheSignature) {
  const TestKey key;
  const std::string blob = write_handover(sample_handover(), key.key).value();
  for (std::size_t at = 0; at < blob.size(); ++at) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      std::string changed = blob;
      changed[at] = static_cast<char>(static_cast<unsigned char>(changed[at]) ^ (1U << bit));
      const auto read = read_handover(changed, "test");
      if (read.ok()) {
        ASSERT_FALSE(read->signature_fits) << "byte " << at << " bit " << bit;
      } else {
        ASSERT_TRUE(read.error().code == ErrorCode::kBadData ||
                    read.error().code == ErrorCode::kUnknownForm);
      }
    }
  }
}

TEST(Handover, ACutOneIsNone) {
  const TestKey key;
  const std::string blob = write_handover(sample_handover(), key.key).value();
  for (std::size_t size = 0; size < blob.size(); ++size) {
    ASSERT_FALSE(read_handover(blob.substr(0, size), "test").ok()) << size;
  }
}

TEST(Handover, WhatIsMalformedIsAnErrorEvenWhenItIsSigned) {
  const TestKey key;
  const std::string good = write_handover(sample_handover(), key.key).value();
  const auto range_text = [](std::uint64_t address, std::uint32_t pages) {
    return fdt::two_cells(address) + fdt::cell(pages);
  };
  const std::string four = range_text(0x1000, 1) + range_text(0x3000, 1) + range_text(0x5000, 1);
  struct Case {
    std::string_view property;
    std::string value;
    std::string_view says;
  };
  const Case cases[] = {
      {"compatible", "poisonctl,other", "is a device tree, but no handover"},
      {"version", fdt::cell(2), "of version 2"},
      {"version", fdt::two_cells(1), "'version' of 8 bytes"},
      {"generation", fdt::cell(1), "'generation' of 4 bytes"},
      {"created", fdt::two_cells(~std::uint64_t{0}), "after the year 2262"},
      {"host", "short", "'host' of 5 bytes"},
      {"topology", std::string(33, 'x'), "'topology' of 33 bytes"},
      {"host-without-smbios", std::string(31, 'x'), "'host-without-smbios' of 31 bytes"},
      {"topology-without-smbios", "", "'topology-without-smbios' of 0 bytes"},
      {"page-shift", fdt::cell(11), "page shift of 11"},
      {"page-shift", fdt::cell(19), "page shift of 19"},
      {"page-shift", fdt::cell(0xffffffff), "page shift of 4294967295"},
      {"page-shift", fdt::cell(16), "range 1 is no whole pages"},
      {"count", fdt::cell(3), "'ranges' of 48 bytes; expected 36"},
      {"count", fdt::cell(5), "'ranges' of 48 bytes; expected 60"},
      {"count", fdt::cell(0xffffffff), "at most 1048576 are read"},
      {"ranges", four + range_text(0x7001, 1), "range 3 is no whole pages"},
      {"ranges", four + range_text(0x7000, 0), "range 3 is no whole pages"},
      {"ranges", four + range_text(0x5000, 1), "range 3 overlaps"},
      {"ranges", four + range_text(0x1000, 1), "range 3 overlaps"},
      {"ranges", four + range_text(kPhysAddrLimit - 4096, 2), "range 3 is no whole pages"},
      {"ranges", four + range_text(~std::uint64_t{0} - 4095, 1), "range 3 is no whole pages"},
      {"conditions", "\1\1\1", "'conditions' of 3 bytes"},
      {"conditions", std::string("\1\1\1\0", 4), "range 3 has a condition"},
      {"kinds", "\1\1\1\7", "range 3 has a condition or a kind"},
      {"public-key", "x", "'public-key' of 1 bytes"},
      {"signature", "x", "'signature' of 1 bytes"},
      {"poisonctl,huge", std::string(70000, 'x'), "at most 65536 are kept"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.says);
    std::string changed = with_property(good, c.property, &c.value);
    if (c.property != "signature" && c.property != "public-key") {
      changed = signed_again(changed, key.key);
    }
    const auto read = read_handover(changed, "FILE");
    ASSERT_FALSE(read.ok());
    EXPECT_TRUE(read.error().message.starts_with("FILE: ")) << read.error().message;
    EXPECT_NE(read.error().message.find(c.says), std::string::npos) << read.error().message;
  }
  for (const std::string_view name :
       {"compatible", "version", "generation", "created", "host", "topology", "page-shift", "count",
        "ranges", "conditions", "kinds", "public-key", "signature"}) {
    const auto read = read_handover(with_property(good, name, nullptr), "FILE");
    ASSERT_FALSE(read.ok()) << name;
  }
}

TEST(Handover, AHeaderThatPromisesMuchIsRefusedBeforeItIsRead) {
  const TestKey key;
  std::string blob = write_handover(sample_handover(), key.key).value();
  blob.replace(4, 4, fdt::cell(static_cast<std::uint32_t>(kMostHandoverBytes + 1)));
  const auto read = read_handover(blob, "FILE");
  ASSERT_FALSE(read.ok());
  EXPECT_NE(read.error().message.find("at most"), std::string::npos) << read.error().message;
  EXPECT_EQ(read_handover("no tree", "FILE").error().code, ErrorCode::kUnknownForm);
}

// libfdt 1.6.1 looks for a name in the root node of such a tree and reads through a null pointer.
TEST(Handover, ATreeThatSaysItIsOldIsRefusedBeforeLibfdtSeesIt) {
  const TestKey key;
  const std::string good = write_handover(sample_handover(), key.key).value();
  for (const std::uint32_t version : {0U, 1U, 2U, 3U, 15U, 16U, 18U}) {
    for (const std::size_t at : {20U, 24U}) {
      std::string blob = good;
      blob.replace(at, 4, fdt::cell(version));
      if (at == 24 && version == 16) continue;  // as it is
      const auto read = read_handover(blob, "FILE");
      ASSERT_FALSE(read.ok()) << version;
      EXPECT_NE(read.error().message.find("expected 17 and 16"), std::string::npos);
    }
  }
}

// A handover of one property, with these fields of its header and structure block. The header has
// 40 bytes, the reserve map 16.
struct Forged {
  std::uint32_t structure = 56;
  std::uint32_t structure_size = 32;  // two tags, a property with 4 bytes, two tags
  std::uint32_t strings = 92;
  std::uint32_t length = 4;
  std::uint32_t name = 0;
  std::string names = std::string("compatible\0", 11);
};

std::string blob_of(const Forged& forged) {
  std::string blob;
  const std::uint32_t cells[] = {0xd00dfeed,
                                 static_cast<std::uint32_t>(92 + forged.names.size()),
                                 forged.structure,
                                 forged.strings,
                                 40,
                                 17,
                                 16,
                                 0,
                                 static_cast<std::uint32_t>(forged.names.size()),
                                 forged.structure_size,
                                 0,
                                 0,
                                 0,
                                 0,
                                 1,
                                 0,
                                 3,
                                 forged.length,
                                 forged.name,
                                 0,
                                 2,
                                 9,
                                 0};
  for (const std::uint32_t value : cells) blob += fdt::cell(value);
  return blob + forged.names;
}

// With a length of -8 - 4 fdt_next_tag() of libfdt 1.6.1 comes back to where it was, for ever.
TEST(Handover, WhatLibfdtDoesNotSurviveIsRefusedBeforeItSeesIt) {
  const std::string sound = read_handover(blob_of({}), "FILE").error().message;
  EXPECT_NE(sound.find("device tree, but no handover"), std::string::npos) << sound;
  const std::string longest = std::string(255, 'a') + '\0';
  EXPECT_EQ(read_handover(blob_of({.names = longest}), "FILE").error().message, sound);
  struct Case {
    Forged forged;
    std::string_view says;
  };
  const Case cases[] = {
      {{.length = 0xfffffff4}, "what begins at offset 64 does not end before 88"},
      {{.length = 0x7fffffff}, "what begins at offset 64 does not end before 88"},
      {{.length = 13}, "what begins at offset 64 does not end before 88"},
      {{.structure_size = 12}, "what begins at offset 64 does not end before 68"},
      {{.structure_size = 10}, "what begins at offset 64 does not end before 66"},
      {{.structure_size = 4}, "what begins at offset 56 does not end before 60"},
      {{.structure = 58}, "says at offset 8 that its structure is at 58"},
      {{.structure = 0xfffffffc}, "says at offset 8 that its structure is at 4294967292"},
      {{.structure_size = 0xfffffffc}, "that it has 4294967292 bytes"},
      {{.strings = 93}, "says at offset 12 that its strings are at 93"},
      {{.strings = 0xffffffff}, "says at offset 12 that its strings are at 4294967295"},
      {{.name = 11}, "the property at offset 64 has its name at 11 of 11 bytes"},
      {{.names = "compatible"}, "the property at offset 64 has its name at 0 of 10 bytes"},
      // libfdt would look for the end of each of half a million names.
      {{.names = 'a' + longest}, "the property at offset 64 has its name at 0 of 257 bytes"},
  };
  for (const auto& [forged, says] : cases) {
    const auto read = read_handover(blob_of(forged), "FILE");
    ASSERT_FALSE(read.ok()) << says;
    EXPECT_EQ(read.error().code, ErrorCode::kBadData);
    EXPECT_NE(read.error().message.find(says), std::string::npos) << read.error().message;
  }
}

TEST(Handover, RangesThatCannotBeWritten) {
  const TestKey key;
  const auto refuses = [&](const Handover& handover) {
    const auto blob = write_handover(handover, key.key);
    return !blob.ok() && blob.error().code == ErrorCode::kUsage;
  };
  Handover overlapping = sample_handover();
  overlapping.ranges[1].range = overlapping.ranges[0].range;
  EXPECT_TRUE(refuses(overlapping));
  Handover unaligned = sample_handover();
  unaligned.page_shift = shift_of(65536);
  EXPECT_TRUE(refuses(unaligned));
  Handover no_observation = sample_handover();
  no_observation.ranges[0].kind = EventKind::kOutcome;
  EXPECT_TRUE(refuses(no_observation));
  Handover long_one = sample_handover();
  long_one.ranges = {{range(0, kPhysAddrLimit - 1), Condition::kFaulty, EventKind::kUncorrected}};
  EXPECT_TRUE(refuses(long_one));
}

TEST(Handover, AMillionRangesFitAndTakeLessThan16BytesEach) {
  const TestKey key;
  Handover handover = sample_handover();
  handover.ranges.clear();
  for (std::uint64_t i = 0; i < kMostHandoverRanges; ++i) {
    handover.ranges.push_back({frame_at(2 * i), Condition::kFaulty, EventKind::kUncorrected});
  }
  const auto blob = write_handover(handover, key.key);
  ASSERT_TRUE(blob.ok()) << blob.error().message;
  EXPECT_LT(blob->size(), kMostHandoverRanges * 16);
  EXPECT_LE(blob->size(), kMostHandoverBytes);
  const auto read = read_handover(*blob, "test");
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(read->signature_fits);
  EXPECT_EQ(read->content.ranges.size(), kMostHandoverRanges);
  handover.ranges.push_back(
      {frame_at(3 * kMostHandoverRanges), Condition::kFaulty, EventKind::kUncorrected});
  EXPECT_FALSE(write_handover(handover, key.key).ok());
}

TEST(Handover, ItsRangesAreTheListAndWhatIsKnownBesides) {
  const auto claim = [](std::uint64_t first, std::uint64_t last, Condition condition,
                        EventKind kind) {
    return Claim{
        .range = range(first * 4096, last * 4096 + 4095), .condition = condition, .kind = kind};
  };
  const Claim claims[] = {
      claim(10, 19, Condition::kFaulty, EventKind::kPoisoned),
      claim(12, 12, Condition::kFaulty, EventKind::kUncorrected),
      claim(15, 25, Condition::kResolved, EventKind::kUncorrected),
      claim(22, 22, Condition::kSuspect, EventKind::kCorrected),
      claim(30, 30, Condition::kFaulty, EventKind::kUncorrected),  // not on the list
      claim(40, 40, Condition::kQuarantined, EventKind::kMedia),
  };
  const RetireList list{.generation = 1,
                        .page_shift = shift_of(4096),
                        .frames = set_of({range(10 * 4096, 20 * 4096 - 1)}),
                        .refused = {}};
  const auto expect = [](std::uint64_t first, std::uint64_t last, Condition condition,
                         EventKind kind) {
    return HandoverRange{range(first * 4096, last * 4096 + 4095), condition, kind};
  };
  EXPECT_EQ(
      handover_ranges(claims, list).ranges,
      (std::vector<HandoverRange>{expect(10, 11, Condition::kFaulty, EventKind::kPoisoned),
                                  expect(12, 12, Condition::kFaulty, EventKind::kUncorrected),
                                  expect(13, 19, Condition::kFaulty, EventKind::kPoisoned),
                                  expect(20, 21, Condition::kResolved, EventKind::kUncorrected),
                                  expect(22, 22, Condition::kSuspect, EventKind::kCorrected),
                                  expect(23, 25, Condition::kResolved, EventKind::kUncorrected),
                                  expect(40, 40, Condition::kQuarantined, EventKind::kMedia)}));
}

// One claim of 16 TiB, or a million that nobody acts on: no list could be made any more.
TEST(Handover, WhatIsNotToBeRetiredKeepsNoListFromBeingMade) {
  const TestKey key;
  std::vector<Claim> claims = {{.range = frame_at(10), .kind = EventKind::kUncorrected}};
  claims.push_back({.range = range(1ULL << 40U, (1ULL << 40U) + (1ULL << 45U) - 1),
                    .condition = Condition::kResolved,
                    .kind = EventKind::kUncorrected});
  const auto add_suspects = [&](std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
      claims.push_back({.range = frame_at(100 + 2 * i),
                        .condition = Condition::kSuspect,
                        .kind = EventKind::kCorrected});
    }
  };
  const RetireList list{.generation = 1,
                        .page_shift = shift_of(4096),
                        .frames = set_of({frame_at(10)}),
                        .refused = {}};
  const auto made = [&] {
    HandoverRanges ranges = handover_ranges(claims, list);
    Handover handover = sample_handover();
    handover.page_shift = list.page_shift;
    handover.ranges = std::move(ranges.ranges);
    const auto blob = write_handover(handover, key.key);
    EXPECT_TRUE(blob.ok()) << blob.error().message;
    EXPECT_EQ(handover.ranges.front(),
              (HandoverRange{frame_at(10), Condition::kFaulty, EventKind::kUncorrected}));
    return ranges.left_out;
  };
  EXPECT_EQ(made(), 0U);
  add_suspects(kMostHandoverRanges);
  EXPECT_GT(made(), 0U);
}

}  // namespace
}  // namespace poisonctl
