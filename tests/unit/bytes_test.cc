#include "registry/bytes.h"

#include <gtest/gtest.h>

namespace poisonctl {
namespace {

TEST(Bytes, AreNumbersInEitherOrder) {
  EXPECT_EQ(little_endian("\x01\x02\xff"), 0xff0201U);
  EXPECT_EQ(big_endian("\x01\x02\xff"), 0x0102ffU);
  EXPECT_EQ(little_endian("\x88\x77\x66\x55\x44\x33\x22\x11"), 0x1122334455667788U);
  EXPECT_EQ(big_endian("\x88\x77\x66\x55\x44\x33\x22\x11"), 0x8877665544332211U);
  EXPECT_EQ(little_endian(""), 0U);
  EXPECT_EQ(big_endian(""), 0U);
}

}  // namespace
}  // namespace poisonctl
