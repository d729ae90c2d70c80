#include <gtest/gtest.h>

#include "registry/cxl/cedt.h"
#include "tests/unit/cedt_samples.h"

namespace poisonctl {
namespace {

constexpr std::uint64_t kGib = std::uint64_t{1} << 30U;

TEST(Cedt, WindowsAndMaps) {
  const std::string bridge = std::string("\0\0\x20\0", 4) + std::string(28, '\x7f');  // CHBS
  const auto cedt = parse_cedt(cedt_of({bridge, cfmws({.begin = 4 * kGib, .size = kGib}),
                                        cfmws({.begin = 8 * kGib,
                                               .size = 4 * kGib,
                                               .ways = 9,
                                               .arithmetic = 1,
                                               .granularity = 6,
                                               .targets = 6}),
                                        cxims(0, {0x404100, 0x808200}), cxims(6, {0x10004000})}),
                               "CEDT");
  ASSERT_TRUE(cedt.ok()) << cedt.error().message;
  const std::vector<CxlWindow> windows = {
      {*ByteRange::from_size(PhysAddr(4 * kGib), kGib), 1, 256, CxlArithmetic::kModulo},
      {*ByteRange::from_size(PhysAddr(8 * kGib), 4 * kGib), 6, 16384, CxlArithmetic::kXor}};
  EXPECT_EQ(cedt->windows, windows);
  const std::vector<CxlXorMaps> maps = {{256, {0x404100, 0x808200}}, {16384, {0x10004000}}};
  EXPECT_EQ(cedt->xor_maps, maps);
  EXPECT_TRUE(xor_maps_of(*cedt, cedt->windows[0])->empty());
  EXPECT_EQ(*xor_maps_of(*cedt, cedt->windows[1]), std::vector<std::uint64_t>{0x10004000})
      << "of six host bridges, one bit of the position is computed";
}

TEST(Cedt, AWindowTakesAsManyMapsAsItHasBits) {
  const auto cedt = parse_cedt(cedt_of({cxims(0, {0x404100, 0x808200})}), "CEDT");
  ASSERT_TRUE(cedt.ok());
  CxlWindow window{*ByteRange::from_size(PhysAddr(kGib), kGib), 2, 256, CxlArithmetic::kXor};
  EXPECT_EQ(*xor_maps_of(*cedt, window), std::vector<std::uint64_t>{0x404100});
  window.ways = 3;
  EXPECT_TRUE(xor_maps_of(*cedt, window)->empty());
  window.ways = 8;
  const auto too_few = xor_maps_of(*cedt, window);
  ASSERT_FALSE(too_few.ok());
  EXPECT_NE(too_few.error().message.find("no CXIMS with 3 maps"), std::string::npos);
}

TEST(Cedt, EveryTruncationIsAnError) {
  const std::string whole =
      cedt_of({cfmws({.begin = kGib, .size = kGib, .ways = 1, .arithmetic = 1, .targets = 2}),
               cxims(0, {0x404100})});
  ASSERT_TRUE(parse_cedt(whole, "CEDT").ok());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(parse_cedt(whole.substr(0, size), "CEDT").ok()) << size;
    // The same where the length in the header was cut as well.
    std::string cut = whole.substr(0, size);
    if (size < 36) continue;
    cut[4] = static_cast<char>(size);
    fix_checksum(cut);
    const bool between = size == 36 || size == 36 + 44;
    EXPECT_EQ(parse_cedt(cut, "CEDT").ok(), between) << size;
  }
}

TEST(Cedt, BadTables) {
  const auto refused = [](const std::string& table, std::string_view why) {
    const auto parsed = parse_cedt(table, "CEDT");
    ASSERT_FALSE(parsed.ok()) << why;
    EXPECT_EQ(parsed.error().code, ErrorCode::kBadData);
    EXPECT_NE(parsed.error().message.find(why), std::string::npos) << parsed.error().message;
  };
  std::string other = cedt_of({});
  other[0] = 'D';
  refused(other, "name CEDT");
  std::string flipped = cedt_of({cxims(0, {1})});
  flipped.back() = static_cast<char>(flipped.back() ^ 1);
  refused(flipped, "checksum");
  refused(cedt_of({}) + std::string(1, '\0'), "says that it has 36 bytes, and has 37");
  refused(cedt_of({std::string(4, '\0')}), "a structure of 0 bytes");
  refused(cedt_of({std::string("\x01\0\xff\0", 4)}), "a structure of 255 bytes where 4 are left");
  refused(cedt_of({std::string("\x01\0\x08\0", 4) + std::string(4, '\0')}), "shorter than 36");
  refused(cedt_of({cfmws({.begin = kGib})}), "without a range");
  refused(cedt_of({cfmws({.begin = ~std::uint64_t{0}, .size = kGib})}), "without a range");
  refused(cedt_of({cfmws({.begin = kGib, .size = kGib, .ways = 5})}), "with ways 5");
  refused(cedt_of({cfmws({.begin = kGib, .size = kGib, .granularity = 7})}), "granularity 7");
  refused(cedt_of({cfmws({.begin = kGib, .size = kGib, .arithmetic = 2})}), "arithmetic 2");
  refused(cedt_of({cfmws({.begin = kGib, .size = kGib, .ways = 4, .targets = 15})}),
          "no room for 16 host bridges");
  std::string maps = cxims(0, {1, 2});
  maps[7] = 3;
  refused(cedt_of({maps}), "no room for 3 maps");
}

}  // namespace
}  // namespace poisonctl
