#include "registry/kho.h"

#include <fmt/format.h>

#include <algorithm>

#include "registry/fdt.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using namespace std::string_view_literals;

// "One page in all" (kernel/liveupdate/kexec_handover.c), of whatever size.
constexpr std::size_t kMostRootBytes = std::size_t{1} << PageShift::kMax;
constexpr std::string_view kMemoryMap = "preserved-memory-map";
constexpr std::string_view kData = "preserved-data";
constexpr std::string_view kSize = "blob-size";
constexpr std::size_t kWord = sizeof(std::uint64_t);

Error bad(const std::string& shown, std::string_view what) {
  return {ErrorCode::kBadData, fmt::format("{}: {}", shown, what)};
}

// All of `bytes`, 8 at the most, as one number.
std::uint64_t number(std::string_view bytes, std::endian order) {
  if (order == std::endian::big) return fdt::number(bytes);
  return fdt::number(std::string(bytes.rbegin(), bytes.rend()));
}

std::string bytes_of(std::uint64_t value, std::size_t width, std::endian order) {
  std::string bytes = fdt::two_cells(value).substr(kWord - width);
  if (order == std::endian::little) std::reverse(bytes.begin(), bytes.end());
  return bytes;
}

// A u64 of a node; nothing when it has no such property.
Result<std::optional<std::uint64_t>> word_of(const fdt::Node& node, std::string_view name,
                                             std::endian order, const std::string& shown) {
  const std::string* const value = node.property(name);
  if (value == nullptr) return std::optional<std::uint64_t>();
  if (value->size() != kWord) {
    return bad(shown, fmt::format("'{}' of node '{}' has {} bytes; expected {}", name,
                                  printable(node.name), value->size(), kWord));
  }
  return std::optional(number(*value, order));
}

Result<KhoSubtree> subtree_of(const fdt::Node& node, std::endian order, const std::string& shown) {
  const auto address = word_of(node, kData, order, shown);
  if (!address) return address.error();
  if (!*address) {
    return bad(shown, fmt::format("node '{}' has no '{}'", printable(node.name), kData));
  }
  const auto size = word_of(node, kSize, order, shown);
  if (!size) return size.error();
  return KhoSubtree{node.name, PhysAddr(**address), *size};
}

// Where the fields of struct kho_hwpoison_metadata are, and its size.
constexpr std::size_t kCountAt = 8;
constexpr std::size_t kFirstAt = 16;
constexpr std::size_t kPagesAt = 24;
constexpr std::size_t kFlagsAt = 28;
constexpr std::size_t kOrderAt = 30;
constexpr std::size_t kMetadataBytes = 32;
// A block of more would not be one of the kernel's (MAX_PAGE_ORDER is 10 to 13).
constexpr std::uint16_t kMostOrder = 16;

}  // namespace

Result<KhoRoot> read_kho_root(std::string_view blob, std::endian order, const std::string& shown) {
  const auto tree = fdt::Tree::parse(blob, kMostRootBytes, shown);
  if (!tree) return tree.error();
  const auto document = tree->document(shown);
  if (!document) return document.error();
  const std::string* const version = document->root.property("compatible");
  if (version == nullptr || !version->starts_with("kho-"sv) || !version->ends_with('\0')) {
    return Error{ErrorCode::kUnknownForm,
                 fmt::format("{}: is no tree of kexec handover: expected compatible = \"{}\"",
                             shown, kKhoVersion)};
  }
  KhoRoot root;
  root.version = version->substr(0, version->find('\0'));
  const auto map = word_of(document->root, kMemoryMap, order, shown);
  if (!map) return map.error();
  if (*map) root.memory_map = PhysAddr(**map);
  for (const fdt::Node& node : document->root.children) {
    auto subtree = subtree_of(node, order, shown);
    if (!subtree) return subtree.error();
    root.subtrees.push_back(*std::move(subtree));
  }
  return root;
}

Result<std::string> write_kho_root(const KhoRoot& root, std::endian order) {
  fdt::Document document;
  document.root.properties.emplace_back("compatible", root.version + '\0');
  if (root.memory_map) {
    document.root.properties.emplace_back(kMemoryMap,
                                          bytes_of(root.memory_map->value(), kWord, order));
  }
  for (const KhoSubtree& subtree : root.subtrees) {
    fdt::Node node;
    node.name = subtree.name;
    node.properties.emplace_back(kData, bytes_of(subtree.address.value(), kWord, order));
    if (subtree.size) node.properties.emplace_back(kSize, bytes_of(*subtree.size, kWord, order));
    document.root.children.push_back(std::move(node));
  }
  return fdt::write(document);
}

Result<std::string> read_luo_version(std::string_view blob, const std::string& shown) {
  constexpr std::size_t kLongest = 16;
  const std::string_view version = blob.substr(0, blob.substr(0, kLongest).find('\0'));
  if (!version.starts_with("luo-") || version.size() > kLongest) {
    return Error{ErrorCode::kUnknownForm,
                 fmt::format("{}: does not begin with the version of the live update orchestrator "
                             "(\"{}\")",
                             shown, kLuoVersion)};
  }
  return std::string(version);
}

Result<HwpoisonMetadata> read_hwpoison(std::string_view blob, std::endian order, PageShift shift,
                                       const std::string& shown) {
  if (blob.size() < kMetadataBytes) {
    return bad(shown, fmt::format("has {} bytes; expected struct kho_hwpoison_metadata of {}",
                                  blob.size(), kMetadataBytes));
  }
  const auto field = [&](std::size_t at, std::size_t width) {
    return number(blob.substr(at, width), order);
  };
  if (field(0, 4) != kHwpoisonVersion) {
    return Error{
        ErrorCode::kUnknownForm,
        fmt::format("{}: is a list of poisoned frames of version {:#x}, this program knows "
                    "{}; one of a machine of the other byte order has 0x1000000",
                    shown, field(0, 4), kHwpoisonVersion)};
  }
  HwpoisonMetadata metadata{.count = field(kCountAt, kWord),
                            .frames = {.first = PhysAddr(field(kFirstAt, kWord)),
                                       .pages = static_cast<std::uint32_t>(field(kPagesAt, 4)),
                                       .flags = static_cast<std::uint16_t>(field(kFlagsAt, 2)),
                                       .order = static_cast<std::uint16_t>(field(kOrderAt, 2))}};
  if (metadata.count > kMostHwpoisonFrames) {
    return bad(shown, fmt::format("says that it has {} frames; at most {} are read", metadata.count,
                                  kMostHwpoisonFrames));
  }
  const std::uint64_t room = metadata.frames.pages * (shift.page_size() / kWord);
  if (metadata.count > room) {
    return bad(shown, fmt::format("says that it has {} frames, and {} pages hold no more than {}",
                                  metadata.count, metadata.frames.pages, room));
  }
  if (metadata.frames.order > kMostOrder) {
    return bad(shown, fmt::format("has blocks of order {}; expected at most {}",
                                  metadata.frames.order, kMostOrder));
  }
  return metadata;
}

namespace {

// Follows the chain of chunks and hands over the frame numbers that it leads to.
class FrameWalk {
 public:
  FrameWalk(const HwpoisonMetadata& metadata, std::endian order, PageShift shift,
            const MemoryReader& memory, const std::string& shown)
      : metadata_(metadata), order_(order), shift_(shift), memory_(memory), shown_(shown) {}

  Result<std::vector<Pfn>> run() {
    const std::size_t page = shift_.page_size();
    const std::uint64_t blocks = (metadata_.frames.pages >> metadata_.frames.order) + 1;
    const std::uint64_t in_chunk = page / kWord - 1;  // the first word is the next chunk
    std::uint64_t chunks = blocks / in_chunk + 1;
    PhysAddr at = metadata_.frames.first;
    while (frames_.size() < metadata_.count) {
      if (at.value() == 0) return short_of("ends");
      if (chunks-- == 0) return short_of("does not end");
      const auto chunk = memory_(at, page);
      if (!chunk) return chunk.error();
      at = PhysAddr(word(*chunk, 0));
      for (std::size_t i = 1; i * kWord < page && frames_.size() < metadata_.count; ++i) {
        const PhysAddr block(word(*chunk, i));
        if (block.value() == 0) break;  // the rest of the chunk is empty
        if (auto taken = take(block); !taken) return taken.error();
      }
    }
    return std::move(frames_);
  }

 private:
  [[nodiscard]] std::uint64_t word(std::string_view page, std::size_t index) const {
    return number(page.substr(index * kWord, kWord), order_);
  }
  [[nodiscard]] Error short_of(std::string_view what) const {
    return bad(shown_, fmt::format("the chain of its pages {} after {} of {} frames", what,
                                   frames_.size(), metadata_.count));
  }

  // A page at a time: a block that says it is large is not believed to be.
  Result<void> take(PhysAddr block) {
    const std::size_t page = shift_.page_size();
    const std::uint64_t pages = std::uint64_t{1} << metadata_.frames.order;
    for (std::uint64_t i = 0; i < pages && frames_.size() < metadata_.count; ++i) {
      const auto content = memory_(PhysAddr(block.value() + i * page), page);
      if (!content) return content.error();
      for (std::size_t n = 0; n * kWord < page && frames_.size() < metadata_.count; ++n) {
        const Pfn frame(word(*content, n));
        if (!ByteRange::from_frames(frame, 1, shift_)) {
          return bad(shown_, fmt::format("frame {} ({:#x}) is outside the address space",
                                         frames_.size(), frame.value()));
        }
        frames_.push_back(frame);
      }
    }
    return {};
  }

  const HwpoisonMetadata& metadata_;
  std::endian order_;
  PageShift shift_;
  const MemoryReader& memory_;
  const std::string& shown_;
  std::vector<Pfn> frames_;
};

}  // namespace

Result<std::vector<Pfn>> read_hwpoison_frames(const HwpoisonMetadata& metadata, std::endian order,
                                              PageShift shift, const MemoryReader& memory,
                                              const std::string& shown) {
  return FrameWalk(metadata, order, shift, memory, shown).run();
}

HwpoisonImage write_hwpoison(std::span<const Pfn> frames, std::endian order, PageShift shift,
                             PhysAddr base) {
  const std::size_t page = shift.page_size();
  const std::size_t words = page / kWord;
  const std::size_t data_pages = (frames.size() + words - 1) / words;
  const std::size_t chunks = (data_pages + words - 2) / (words - 1);
  const auto address_of = [&](std::size_t index) { return PhysAddr(base.value() + index * page); };
  HwpoisonImage image;
  // Chunks first, then what they name.
  for (std::size_t chunk = 0; chunk < chunks; ++chunk) {
    const bool last = chunk + 1 == chunks;
    std::string content = bytes_of(last ? 0 : address_of(chunk + 1).value(), kWord, order);
    const std::size_t first = chunk * (words - 1);
    for (std::size_t i = first; i < std::min(first + words - 1, data_pages); ++i) {
      content += bytes_of(address_of(chunks + i).value(), kWord, order);
    }
    content.resize(page);
    image.pages.emplace(address_of(chunk), std::move(content));
  }
  for (std::size_t i = 0; i < data_pages; ++i) {
    std::string content;
    for (const Pfn frame : frames.subspan(i * words, std::min(words, frames.size() - i * words))) {
      content += bytes_of(frame.value(), kWord, order);
    }
    content.resize(page);
    image.pages.emplace(address_of(chunks + i), std::move(content));
  }
  image.metadata = bytes_of(kHwpoisonVersion, 4, order) + bytes_of(0, 4, order) +
                   bytes_of(frames.size(), kWord, order) +
                   bytes_of(chunks == 0 ? 0 : base.value(), kWord, order) +
                   bytes_of(data_pages, 4, order) + bytes_of(0, 2, order) + bytes_of(0, 2, order);
  return image;
}

}  // namespace poisonctl
