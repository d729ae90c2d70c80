// A machine for the checks: a map, and whatever else a test is about.
#pragma once

#include <span>
#include <vector>

#include "registry/check.h"
#include "registry/memory_map.h"
#include "registry/placement.h"

namespace poisonctl {

// Holds what a CheckedMachine refers to.
struct TestMachine {
  MemoryMap map;
  Placement placement = {};
  std::vector<NodeRange> nodes = {};
  PageShift shift = PageShift::smallest();

  [[nodiscard]] CheckedMachine view() const { return {map, placement, nodes, shift}; }
};

// Checks on a machine of which only the map is known.
inline CheckResult check_on(const MemoryMap& map, PageShift shift,
                            std::span<const Record> records) {
  const Placement nothing_else;
  const std::vector<NodeRange> no_nodes;
  return check_records(records, {map, nothing_else, no_nodes, shift}, {.disagreements = true});
}

}  // namespace poisonctl
