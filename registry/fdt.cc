#include "registry/fdt.h"

#include <fmt/format.h>
#include <libfdt.h>

#include <cstring>
#include <limits>
#include <set>

#include "registry/text.h"

namespace poisonctl::fdt {

namespace {

constexpr std::size_t kCell = 4;
// The header: Devicetree Specification 5.2.
constexpr std::size_t kHeader = 40;
constexpr std::size_t kVersionAt = 20;
constexpr std::size_t kOldestAt = 24;
constexpr std::uint64_t kVersion = 17;
constexpr std::uint64_t kOldest = 16;
constexpr std::size_t kStructureAt = 8;
constexpr std::size_t kStringsAt = 12;
constexpr std::size_t kStringsSizeAt = 32;
constexpr std::size_t kStructureSizeAt = 36;
// Names of properties have at most 31 characters (2.2.4.1), and real trees have longer ones.
constexpr std::size_t kLongestName = 255;

Error bad(const std::string& shown, std::string_view what) {
  return {ErrorCode::kBadData, fmt::format("{}: {}", shown, what)};
}

std::uint64_t cell_at(std::string_view blob, std::uint64_t at) {
  return number(blob.substr(at, kCell));
}

// What `at` is rounded up to: all in a structure block begins at a multiple of a cell (5.4).
std::uint64_t aligned(std::uint64_t at) { return (at + kCell - 1) / kCell * kCell; }

bool has_short_name(std::string_view names) {
  return names.substr(0, kLongestName + 1).find('\0') != std::string_view::npos;
}

// Goes once through the structure block of `blob`, which is a header and as long as that says. What
// libfdt would not survive is an error:
// - a length with which the end of a property wraps around: fdt_next_tag() of libfdt 1.6.1 and
//   before goes back and never ends; later ones overflow an int in places (dtc issue 188);
// - a block that is not aligned (dtc issue 178);
// - long names: fdt_check_full() looks for the end of each, in all for minutes.
// Whether the tags are in a sound order is for libfdt to say.
Result<void> check_structure(std::string_view blob, const std::string& shown) {
  const std::uint64_t begin = cell_at(blob, kStructureAt);
  const std::uint64_t size = cell_at(blob, kStructureSizeAt);
  const std::uint64_t strings = cell_at(blob, kStringsAt);
  const std::uint64_t strings_size = cell_at(blob, kStringsSizeAt);
  if (begin % kCell != 0 || begin > blob.size() || size > blob.size() - begin) {
    return bad(shown,
               fmt::format("says at offset {} that its structure is at {}, and at offset {} "
                           "that it has {} bytes; expected a multiple of {}, within {} bytes",
                           kStructureAt, begin, kStructureSizeAt, size, kCell, blob.size()));
  }
  if (strings > blob.size() || strings_size > blob.size() - strings) {
    return bad(shown, fmt::format("says at offset {} that its strings are at {}, and at offset {} "
                                  "that they have {} bytes; it has {}",
                                  kStringsAt, strings, kStringsSizeAt, strings_size, blob.size()));
  }
  const std::string_view names = blob.substr(strings, strings_size);
  const std::uint64_t end = begin + size;
  std::uint64_t next = 0;
  for (std::uint64_t at = begin; at < end; at = next) {
    const auto cut = [&] {
      return bad(shown, fmt::format("what begins at offset {} does not end before {}, where its "
                                    "structure does",
                                    at, end));
    };
    if (end - at < kCell) return cut();
    next = at + kCell;
    switch (cell_at(blob, at)) {
      case FDT_BEGIN_NODE: {
        const std::size_t length = blob.substr(next, end - next).find('\0');
        if (length == std::string_view::npos) return cut();
        next = aligned(next + length + 1);
        break;
      }
      case FDT_PROP: {
        constexpr std::uint64_t kFixed = 2 * kCell;  // the length, and where the name is
        if (end - next < kFixed) return cut();
        const std::uint64_t length = cell_at(blob, next);
        const std::uint64_t name = cell_at(blob, next + kCell);
        if (length > end - next - kFixed) return cut();
        if (name >= names.size() || !has_short_name(names.substr(name))) {
          return bad(shown,
                     fmt::format("the property at offset {} has its name at {} of {} bytes of "
                                 "strings; expected one of at most {} bytes and a NUL",
                                 at, name, names.size(), kLongestName));
        }
        next = aligned(next + kFixed + length);
        break;
      }
      case FDT_END:
        return {};
      default:  // of 4 bytes, or none that libfdt knows
        break;
    }
  }
  return {};
}

}  // namespace

Result<Tree> Tree::parse(std::string_view blob, std::size_t limit, const std::string& shown) {
  // magic and totalsize come first (Devicetree Specification 5.2).
  if (blob.size() < 2 * kCell || number(blob.substr(0, kCell)) != FDT_MAGIC) {
    return Error{ErrorCode::kUnknownForm,
                 shown + ": is no flattened device tree: expected d0 0d fe ed at offset 0"};
  }
  const std::uint64_t size = number(blob.substr(kCell, kCell));
  if (size > limit) {
    return bad(shown, fmt::format("says at offset 4 that it has {} bytes; at most {} are read",
                                  size, limit));
  }
  if (size > blob.size()) {
    return bad(shown, fmt::format("says at offset 4 that it has {} bytes, and only {} are there",
                                  size, blob.size()));
  }
  // fdt_check_full of libfdt 1.6.1 reads through a null pointer when a tree says that it is older
  // than version 16, whose root has a name; nobody writes such trees any more.
  const std::uint64_t version = blob.size() < kHeader ? 0 : number(blob.substr(kVersionAt, kCell));
  const std::uint64_t oldest = blob.size() < kHeader ? 0 : number(blob.substr(kOldestAt, kCell));
  if (size < kHeader || version != kVersion || oldest != kOldest) {
    return bad(shown, fmt::format("says at offset {} that it is of version {}, readable as {}; "
                                  "expected {} and {}",
                                  kVersionAt, version, oldest, kVersion, kOldest));
  }
  if (auto sound = check_structure(blob.substr(0, size), shown); !sound) return sound.error();
  Tree tree;
  tree.size_ = static_cast<std::size_t>(size);
  tree.words_.resize(tree.size_ / sizeof(std::uint64_t) + 1);
  std::memcpy(tree.words_.data(), blob.data(), tree.size_);
  if (const int error = fdt_check_full(tree.words_.data(), tree.size_); error != 0) {
    return bad(shown, fmt::format("is no sound flattened device tree: {}", fdt_strerror(error)));
  }
  return tree;
}

std::string_view Tree::bytes() const {
  return {reinterpret_cast<const char*>(words_.data()), size_};
}

Result<std::vector<Property>> Tree::root_properties(std::size_t most,
                                                    const std::string& shown) const {
  const void* const tree = words_.data();
  std::vector<Property> properties;
  std::set<std::string, std::less<>> names;
  int at = fdt_first_property_offset(tree, 0);
  for (; at >= 0; at = fdt_next_property_offset(tree, at)) {
    const char* name = nullptr;
    int size = 0;
    const void* const value = fdt_getprop_by_offset(tree, at, &name, &size);
    if (value == nullptr || name == nullptr || size < 0) {
      return bad(shown, fmt::format("has a property at offset {} that cannot be read", at));
    }
    if (properties.size() == most) {
      return bad(shown, fmt::format("has more than {} properties", most));
    }
    if (!names.insert(name).second) {
      return bad(shown, fmt::format("has the property '{}' twice", printable(name)));
    }
    properties.push_back({name, {static_cast<const char*>(value), static_cast<std::size_t>(size)}});
  }
  if (at != -FDT_ERR_NOTFOUND) return bad(shown, fmt::format("{}", fdt_strerror(at)));
  if (fdt_first_subnode(tree, 0) != -FDT_ERR_NOTFOUND) {
    return bad(shown, "has nodes below its root; expected properties only");
  }
  return properties;
}

namespace {

// The properties and children of the node at `offset`.
// NOLINTNEXTLINE(misc-no-recursion): as deep as the tree, which is bounded
Result<void> read_node(const void* tree, int offset, std::size_t depth, const std::string& shown,
                       Node& node) {
  if (depth == Tree::kDeepest) {
    return bad(shown, fmt::format("has nodes more than {} deep", Tree::kDeepest));
  }
  const char* const own_name = fdt_get_name(tree, offset, nullptr);
  if (own_name == nullptr) return bad(shown, fmt::format("has no name at offset {}", offset));
  node.name = own_name;
  int at = fdt_first_property_offset(tree, offset);
  for (; at >= 0; at = fdt_next_property_offset(tree, at)) {
    const char* name = nullptr;
    int size = 0;
    const void* const value = fdt_getprop_by_offset(tree, at, &name, &size);
    if (value == nullptr || name == nullptr || size < 0) {
      return bad(shown, fmt::format("has a property at offset {} that cannot be read", at));
    }
    node.properties.emplace_back(
        name, std::string(static_cast<const char*>(value), static_cast<std::size_t>(size)));
  }
  if (at != -FDT_ERR_NOTFOUND) return bad(shown, fmt::format("{}", fdt_strerror(at)));
  int below = fdt_first_subnode(tree, offset);
  for (; below >= 0; below = fdt_next_subnode(tree, below)) {
    node.children.emplace_back();
    auto read = read_node(tree, below, depth + 1, shown, node.children.back());
    if (!read) return read;
  }
  if (below != -FDT_ERR_NOTFOUND) return bad(shown, fmt::format("{}", fdt_strerror(below)));
  return {};
}

// Bytes that a node can take, and the strings of its property names: tags, lengths and padding are
// at most 32 for each name.
// NOLINTNEXTLINE(misc-no-recursion): likewise
std::size_t room_for(const Node& node) {
  std::size_t room = 32 + node.name.size();
  for (const auto& [name, value] : node.properties) room += 32 + name.size() + value.size();
  for (const Node& child : node.children) room += room_for(child);
  return room;
}

// NOLINTNEXTLINE(misc-no-recursion): likewise
int write_node(void* tree, const Node& node) {
  int error = fdt_begin_node(tree, node.name.c_str());
  for (const auto& [name, value] : node.properties) {
    if (error != 0) return error;
    error = fdt_property(tree, name.c_str(), value.data(), static_cast<int>(value.size()));
  }
  for (const Node& child : node.children) {
    if (error != 0) return error;
    error = write_node(tree, child);
  }
  return error != 0 ? error : fdt_end_node(tree);
}

}  // namespace

const std::string* Node::property(std::string_view wanted) const {
  for (const auto& [own_name, value] : properties) {
    if (own_name == wanted) return &value;
  }
  return nullptr;
}

const Node* Node::child(std::string_view wanted) const {
  for (const Node& node : children) {
    if (node.name == wanted) return &node;
  }
  return nullptr;
}

bool Node::is_available() const {
  using namespace std::string_view_literals;
  const std::string* const status = property("status");
  return status == nullptr || *status == "okay\0"sv || *status == "ok\0"sv;
}

Result<Document> Tree::document(const std::string& shown) const {
  const void* const tree = words_.data();
  Document document;
  document.boot_cpu = fdt_boot_cpuid_phys(tree);
  const int entries = fdt_num_mem_rsv(tree);
  if (entries < 0) return bad(shown, fmt::format("its reserve map: {}", fdt_strerror(entries)));
  for (int i = 0; i < entries; ++i) {
    std::uint64_t address = 0;
    std::uint64_t size = 0;
    if (const int error = fdt_get_mem_rsv(tree, i, &address, &size); error != 0) {
      return bad(shown, fmt::format("entry {} of its reserve map: {}", i, fdt_strerror(error)));
    }
    document.reserve_map.emplace_back(address, size);
  }
  if (auto read = read_node(tree, 0, 0, shown, document.root); !read) return read.error();
  return document;
}

Result<std::string> write(const Document& document) {
  const std::size_t room = 256 + 16 * document.reserve_map.size() + room_for(document.root);
  if (room > std::numeric_limits<std::int32_t>::max()) {
    return Error{ErrorCode::kBug, "a device tree of 2 GiB or more cannot be written"};
  }
  std::vector<std::uint64_t> words(room / sizeof(std::uint64_t) + 1);
  void* const tree = words.data();
  int error = fdt_create(tree, static_cast<int>(room));
  for (const auto& [address, size] : document.reserve_map) {
    if (error == 0) error = fdt_add_reservemap_entry(tree, address, size);
  }
  if (error == 0) error = fdt_finish_reservemap(tree);
  if (error == 0) error = write_node(tree, document.root);
  if (error == 0) error = fdt_finish(tree);
  if (error != 0) {
    return Error{ErrorCode::kBug,
                 fmt::format("libfdt cannot write the tree: {}", fdt_strerror(error))};
  }
  fdt_set_boot_cpuid_phys(tree, document.boot_cpu);
  return std::string(static_cast<const char*>(tree), fdt_totalsize(tree));
}

Result<std::string> write(std::span<const Property> properties) {
  // Room for the header, the empty reservation map, and a tag, a length, a name and padding each.
  std::size_t room = 256;
  for (const Property& property : properties) {
    room += property.value.size() + property.name.size() + 32;
  }
  if (room > std::numeric_limits<std::int32_t>::max()) {
    return Error{ErrorCode::kBug, "a device tree of 2 GiB or more cannot be written"};
  }
  // Zeros, so that padding is the same every time.
  std::vector<std::uint64_t> words(room / sizeof(std::uint64_t) + 1);
  void* const tree = words.data();
  int error = fdt_create(tree, static_cast<int>(room));
  if (error == 0) error = fdt_finish_reservemap(tree);
  if (error == 0) error = fdt_begin_node(tree, "");
  for (const Property& property : properties) {
    if (error != 0) break;
    error = fdt_property(tree, property.name.c_str(), property.value.data(),
                         static_cast<int>(property.value.size()));
  }
  if (error == 0) error = fdt_end_node(tree);
  if (error == 0) error = fdt_finish(tree);
  if (error != 0) {
    return Error{ErrorCode::kBug,
                 fmt::format("libfdt cannot write the tree: {}", fdt_strerror(error))};
  }
  return std::string(static_cast<const char*>(tree), fdt_totalsize(tree));
}

std::string cell(std::uint32_t value) {
  std::string bytes;
  for (unsigned shift = 32; shift != 0; shift -= 8) {
    bytes += static_cast<char>(value >> (shift - 8) & 0xFFU);
  }
  return bytes;
}

std::string two_cells(std::uint64_t value) {
  return cell(static_cast<std::uint32_t>(value >> 32U)) + cell(static_cast<std::uint32_t>(value));
}

std::uint64_t number(std::string_view bytes) {
  std::uint64_t value = 0;
  for (const char byte : bytes) value = value << 8U | static_cast<unsigned char>(byte);
  return value;
}

}  // namespace poisonctl::fdt
