#include <gtest/gtest.h>

#include <vector>

#include "registry/cxl/health.h"

namespace poisonctl {
namespace {

using Bytes = std::vector<std::uint8_t>;

// A device that is well: 40 degrees, 3 % of its life used.
Bytes well() { return {0, 0, 0, 3, 40, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0x80}; }

Result<CxlHealth> decoded(const Bytes& bytes) { return decode_cxl_health(bytes, "mem0"); }

TEST(CxlHealth, EveryFieldIsWhereTheTableHasIt) {
  const auto health = decoded(well());
  ASSERT_TRUE(health.ok()) << health.error().message;
  EXPECT_EQ(*health, (CxlHealth{.life_used = 3,
                                .celsius = 40,
                                .dirty_shutdowns = 1,
                                .corrected_volatile = 2,
                                .corrected_persistent = 0x80000003}));
  EXPECT_TRUE(complaints(*health).empty());
}

TEST(CxlHealth, WhatIsNotImplementedIsNoValue) {
  Bytes bytes = well();
  bytes[3] = 0xff;
  bytes[4] = 0xff;
  bytes[5] = 0x7f;
  const auto health = decoded(bytes);
  ASSERT_TRUE(health.ok());
  EXPECT_FALSE(health->life_used.has_value());
  EXPECT_FALSE(health->celsius.has_value());
}

TEST(CxlHealth, ColdIsBelowZero) {
  Bytes bytes = well();
  bytes[4] = 0xf6;
  bytes[5] = 0xff;
  EXPECT_EQ(decoded(bytes)->celsius, -10);
}

TEST(CxlHealth, EachComplaintHasItsBit) {
  struct Case {
    std::size_t at;
    std::uint8_t value;
    const char* said;
  };
  const std::vector<Case> cases = {
      {0, 1, "needs maintenance"},
      {0, 2, "has lost performance"},
      {0, 4, "needs to be replaced"},
      {0, 8, "has lost capacity"},
      {1, 3, "its media have lost all data"},
      {1, 9, "its media are about to lose all data"},
      {2, 0x01, "its life used is a warning (3 %)"},
      {2, 0x02, "its life used is critical (3 %)"},
      {2, 0x04, "its temperature is a warning (40 degrees Celsius)"},
      {2, 0x08, "its temperature is critical (40 degrees Celsius)"},
      {2, 0x10, "has corrected more errors of volatile memory than it should (2)"},
      {2, 0x20, "has corrected more errors of persistent memory than it should (2147483651)"}};
  for (const Case& one : cases) {
    Bytes bytes = well();
    bytes[one.at] = one.value;
    const auto health = decoded(bytes);
    ASSERT_TRUE(health.ok()) << health.error().message;
    EXPECT_EQ(complaints(*health), std::vector<std::string>{one.said});
  }
}

TEST(CxlHealth, BytesOfALaterSpecificationAreLeftAlone) {
  Bytes bytes = well();
  bytes.push_back(0xff);
  bytes[0] = 0xf0;  // reserved bits
  const auto health = decoded(bytes);
  ASSERT_TRUE(health.ok());
  EXPECT_TRUE(complaints(*health).empty());
}

TEST(CxlHealth, NeitherShortNorReserved) {
  for (std::size_t size = 0; size < kCxlHealthBytes; ++size) {
    Bytes bytes = well();
    bytes.resize(size);
    const auto health = decoded(bytes);
    ASSERT_FALSE(health.ok());
    EXPECT_EQ(health.error().code, ErrorCode::kBadData);
  }
  const std::vector<std::pair<std::size_t, std::uint8_t>> wrong = {
      {1, 10}, {2, 0x03}, {2, 0x0c}, {3, 101}};
  for (const auto& [at, value] : wrong) {
    Bytes bytes = well();
    bytes[at] = value;
    EXPECT_FALSE(decoded(bytes).ok()) << at;
  }
}

}  // namespace
}  // namespace poisonctl
