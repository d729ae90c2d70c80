// libfdt's C interface, for C++: flattened device trees (Devicetree Specification v0.4, chapter 5),
// as a flat list of properties (handover.cc) or as a tree of nodes that can be changed and written
// again (device_tree.cc). Only fdt.cc includes libfdt.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "registry/result.h"

namespace poisonctl::fdt {

struct Property {
  std::string name;
  std::string_view value;
};

// A node, and all below it.
struct Node {
  std::string name;  // with its unit address; empty: the root
  std::vector<std::pair<std::string, std::string>> properties;  // names and values, in their order
  std::vector<Node> children;                                   // in their order

  // The value of a property, or null.
  [[nodiscard]] const std::string* property(std::string_view wanted) const;
  [[nodiscard]] const Node* child(std::string_view wanted) const;
  // Whether an operating system is to look at it: "status" is not there, or "okay" or "ok"
  // (Devicetree Specification 2.3.4; __of_device_is_available() in drivers/of/base.c).
  [[nodiscard]] bool is_available() const;
};

// A whole tree as it can be changed.
struct Document {
  std::uint32_t boot_cpu = 0;  // boot_cpuid_phys of the header
  std::vector<std::pair<std::uint64_t, std::uint64_t>> reserve_map;  // addresses and sizes
  Node root;
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
  // All of it. Errors: kBadData for nodes more than kDeepest deep.
  [[nodiscard]] Result<Document> document(const std::string& shown) const;
  static constexpr std::size_t kDeepest = 64;  // FDT_MAX_DEPTH of drivers/of/fdt.c

 private:
  Tree() = default;
  std::vector<std::uint64_t> words_;  // libfdt wants 8-byte alignment
  std::size_t size_ = 0;
};

// A tree of only a root node with these properties, in this order. The same properties always give
// the same bytes. Errors: kBug.
Result<std::string> write(std::span<const Property> properties);
// The same for a whole tree.
Result<std::string> write(const Document& document);

// Cells are big-endian, 4 bytes each (Devicetree Specification 2.2.4).
std::string cell(std::uint32_t value);
std::string two_cells(std::uint64_t value);
// The number in `bytes`, at most 8 of them.
std::uint64_t number(std::string_view bytes);

}  // namespace poisonctl::fdt
