// The table of AMD's FMPM driver: a place only where the kernel prints one.
#include "registry/sources/fmpm.h"

#include "tests/unit/sources/hostile_input.h"

namespace poisonctl {
namespace {

TEST(Fmpm, Golden) {
  SourceSettings settings = test_settings();
  expect_golden_case(collect_fmpm, "fmpm/mi300", settings);
}

TEST(Fmpm, RefusesWithTheLineAndTheColumn) {
  const std::string header = "fru_idx fru_id entry timestamp hw_id addr spa\n";
  const std::string start = header + "0 0x1 0 ";
  const std::string cases[][2] = {
      {"", "nothing here"},
      {"a b c\n", "input:1: expected the table"},
      {"fru_idx fru_id entry timestamp hw_id addr\n", "input:1: expected the table"},
      {header + "0 0x1 0\n", "input:2: 3 columns"},
      {header + "0 0x1 0 2024-03-01T12:34:56 0x1 0x2 0x3 0x4\n", "8 columns"},
      {header + "x 0x1 0 * * * *\n", "fru_idx 'x'"},
      {header + "4294967296 0x1 0 * * * *\n", "fru_idx '4294967296'"},
      {header + "0 1 0 * * * *\n", "fru_id '1'"},
      {header + "0 0x1 -1 * * * *\n", "entry '-1'"},
      {start + "* 0x1 0x2 *\n", "timestamp '*'"},
      {start + "2024-13-01T12:34:56 0x1 0x2 *\n", "timestamp '2024-13-01T12:34:56'"},
      {start + "2024-03-01T12:34:56 0x1 2 *\n", "addr '2'"},
      {start + "2024-03-01T12:34:56 0x1 0x2 3\n", "spa '3'"},
      {start + "2024-03-01T12:34:56 0x1 0x2 0xffffffffffffffff\n", "spa '0xffffffffffffffff'"},
      {start + "2024-03-01T12:34:56 0x1 0x2 0x100000000000000\n", "spa '0x100000000000000'"},
      {start + "2024-03-01T12:34:56 0x1 0x2 0x10000000000000000\n", "spa"},
  };
  for (const auto& c : cases) expect_refused(collect_fmpm, {c[0], c[1]});
}

TEST(Fmpm, HostileInput) {
  expect_nothing_from_hostile_input(collect_fmpm);
  expect_endless_line_is_refused(collect_fmpm, 1U << 18U);
}

}  // namespace
}  // namespace poisonctl
