// The checks of the records (registry/check.h) in little memory: piece by piece, in the order of
// the addresses, with only counts and a few examples kept.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "registry/check.h"
#include "registry/record.h"

namespace poisonctl {

struct ReportModel;

class ListCheck {
 public:
  // The reference must outlive it.
  explicit ListCheck(const CheckedMachine& machine) : machine_(machine) {}

  // In the order of their addresses.
  void add(Record record);
  // Writes what was found into the model: findings, checked_in_parts, list.
  void finish(ReportModel& model);

  // So many at a time. Records that overlap are always in one piece; those that disagree, as two
  // sources can that name addresses one bit apart, only when they are no further from each other.
  static constexpr std::size_t kPiece = 8192;

 private:
  void check();

  const CheckedMachine& machine_;
  std::vector<Record> piece_;
  PhysAddr end_;  // of the frames in it
  std::uint64_t pieces_ = 0;
  std::uint64_t accepted_ = 0;
  std::uint64_t refused_ = 0;
  struct Found {
    std::uint64_t findings = 0;
    std::vector<ByteRange> examples;
    std::string detail;
  };
  std::vector<Found> found_ = std::vector<Found>(rules().size());
  std::vector<std::uint64_t> of_nodes_ = std::vector<std::uint64_t>(machine_.nodes.size());
};

}  // namespace poisonctl
