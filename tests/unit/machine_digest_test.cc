// By what a machine is known again: with SMBIOS and without.
#include "registry/machine_digest.h"

#include <gtest/gtest.h>

#include "registry/machine.h"
#include "tests/unit/handover_samples.h"

namespace poisonctl {
namespace {

TEST(MachineDigest, AHostIsKnownByItsUuidAndByItsMachineId) {
  Machine machine{.page_shift = shift_of(4096),
                  .architecture = {},
                  .kernel_release = {},
                  .boot_id = {},
                  .host_id = "abc",
                  .product_uuid = {},
                  .product_serial = {},
                  .command_line = {}};
  const MachineDigest by_id = host_digest(machine);
  EXPECT_EQ(by_id.whole, by_id.without_smbios);
  EXPECT_NE(by_id.whole, Digest{});
  machine.product_uuid = "u-u-i-d";
  const MachineDigest both = host_digest(machine);
  EXPECT_NE(both.whole, by_id.whole);
  EXPECT_EQ(both.without_smbios, by_id.without_smbios);
  machine.host_id.clear();  // an initramfs
  EXPECT_EQ(host_digest(machine), (MachineDigest{both.whole, {}}));
  machine.product_serial = "another";
  EXPECT_NE(host_digest(machine).whole, both.whole);
  machine.product_uuid.clear();
  EXPECT_EQ(host_digest(machine), MachineDigest{});
}

TEST(MachineDigest, MemoryIsKnownByItsModulesAndByItsMap) {
  Topology topology;
  topology.ram = {range(0, 0x3fffffff)};
  topology.modules.push_back({.slot = "A1",
                              .manufacturer = {},
                              .serial = "1",
                              .part = {},
                              .bytes = 1U << 30U,
                              .speed = {},
                              .mappings = {}});
  const MachineDigest digest = memory_digest(topology);
  EXPECT_NE(digest.whole, digest.without_smbios);
  Topology exchanged = topology;
  exchanged.modules[0].serial = "2";
  EXPECT_NE(memory_digest(exchanged).whole, digest.whole);
  EXPECT_EQ(memory_digest(exchanged).without_smbios, digest.without_smbios);
  Topology grown = topology;
  grown.ram = {range(0, 0x7fffffff)};
  EXPECT_NE(memory_digest(grown).without_smbios, digest.without_smbios);
  topology.modules.clear();
  EXPECT_EQ(memory_digest(topology), (MachineDigest{digest.without_smbios, digest.without_smbios}));
}

TEST(MachineDigest, WhatOneOfTwoDoesNotSeeTellsThemNotApart) {
  const MachineDigest sees{digest_of(1), digest_of(2)};
  const MachineDigest blind{digest_of(2), digest_of(2)};
  const MachineDigest nothing;
  struct Case {
    MachineDigest one;
    MachineDigest other;
    Likeness likeness;
  };
  const Case cases[] = {
      {sees, sees, Likeness::kSame},
      {blind, blind, Likeness::kSame},
      {sees, blind, Likeness::kSameInPart},
      {sees, {digest_of(9), digest_of(2)}, Likeness::kOther},
      {sees, {digest_of(9), {}}, Likeness::kOther},
      {sees, {digest_of(9), digest_of(9)}, Likeness::kOther},
      {blind, {digest_of(9), digest_of(9)}, Likeness::kOther},
      {blind, {digest_of(1), {}}, Likeness::kNotKnown},
      {sees, nothing, Likeness::kNotKnown},
      {nothing, nothing, Likeness::kNotKnown},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(compare(c.one, c.other), c.likeness);
    EXPECT_EQ(compare(c.other, c.one), c.likeness);
  }
}

}  // namespace
}  // namespace poisonctl
