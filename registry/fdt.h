// libfdt's C interface, for C++, as far as a flat list of properties needs it: a flattened device
// tree (Devicetree Specification v0.4, chapter 5) with one node. For handover.cc; only fdt.cc
// includes libfdt.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "registry/result.h"

namespace poisonctl::fdt {

struct Property {
  std::string name;
  std::string_view value;
};

// A blob that libfdt found sound. Owns its bytes.
class Tree {
 public:
  // Takes the tree at the beginning of `blob`, whose header says how long it is; what follows it is
  // ignored. Trees of more than `limit` bytes are refused before anything else is looked at.
  // Errors: kBadData; kUnknownForm for what is no flattened device tree at all.
  static Result<Tree> parse(std::string_view blob, std::size_t limit, const std::string& shown);

  // All bytes, header and strings included.
  [[nodiscard]] std::string_view bytes() const;
  // The properties of the root node, in their order; the values point into the tree. Errors:
  // kBadData for more than `most` of them, a name that is there twice, or nodes below the root.
  [[nodiscard]] Result<std::vector<Property>> root_properties(std::size_t most,
                                                              const std::string& shown) const;

 private:
  Tree() = default;
  std::vector<std::uint64_t> words_;  // libfdt wants 8-byte alignment
  std::size_t size_ = 0;
};

// A tree of only a root node with these properties, in this order. The same properties always give
// the same bytes. Errors: kBug.
Result<std::string> write(std::span<const Property> properties);

// Cells are big-endian, 4 bytes each (Devicetree Specification 2.2.4).
std::string cell(std::uint32_t value);
std::string two_cells(std::uint64_t value);
// The number in `bytes`, at most 8 of them.
std::uint64_t number(std::string_view bytes);

}  // namespace poisonctl::fdt
