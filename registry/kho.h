// What KHO (kexec handover) hands from one kernel to the next, as its debugfs shows it: the root
// tree, the head of the live update orchestrator, and the list of poisoned frames of a kernel with
// the proof of concept. Kernels write their numbers as they lie in memory: the caller says in which
// byte order.
#pragma once

#include <bit>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "registry/address.h"
#include "registry/result.h"

namespace poisonctl {

// The root tree: include/linux/kho/abi/kexec_handover.h.
struct KhoSubtree {
  std::string name;
  PhysAddr address;                   // preserved-data
  std::optional<std::uint64_t> size;  // blob-size, in bytes; not there before kho-v3
  friend bool operator==(const KhoSubtree&, const KhoSubtree&) = default;
};
struct KhoRoot {
  std::string version;                 // compatible
  std::optional<PhysAddr> memory_map;  // preserved-memory-map
  std::vector<KhoSubtree> subtrees;    // in their order
  friend bool operator==(const KhoRoot&, const KhoRoot&) = default;
};
// The form that this program was written for, and what LUO calls its own (include/linux/kho/abi/
// luo.h), both of Linux 7.2.
inline constexpr std::string_view kKhoVersion = "kho-v4";
inline constexpr std::string_view kLuoVersion = "luo-v5";
inline constexpr std::string_view kLuoSubtree = "LUO";

// `blob` may be longer than the tree. Of another version, what has the same names is read. Errors:
// kUnknownForm (no device tree, or not one of KHO), kBadData.
Result<KhoRoot> read_kho_root(std::string_view blob, std::endian order, const std::string& shown);
// Errors: kBug.
Result<std::string> write_kho_root(const KhoRoot& root, std::endian order);

// struct luo_ser: the version, with which it begins. Errors: kUnknownForm.
Result<std::string> read_luo_version(std::string_view blob, const std::string& shown);

// The proof of concept: struct kho_hwpoison_metadata {u32 version, pad; u64 count; struct
// kho_vmalloc}, the subtree "hwpoison" of a patched kernel. The frame numbers (u64 each) are in the
// pages that a chain of chunks names.
struct KhoVmalloc {
  PhysAddr first;  // the first chunk; 0: none
  std::uint32_t pages = 0;
  std::uint16_t flags = 0;
  std::uint16_t order = 0;  // of each block of pages
  friend bool operator==(const KhoVmalloc&, const KhoVmalloc&) = default;
};
struct HwpoisonMetadata {
  std::uint64_t count = 0;
  KhoVmalloc frames;
  friend bool operator==(const HwpoisonMetadata&, const HwpoisonMetadata&) = default;
};
inline constexpr std::string_view kHwpoisonSubtree = "hwpoison";
inline constexpr std::uint32_t kHwpoisonVersion = 1;
inline constexpr std::uint64_t kMostHwpoisonFrames = std::uint64_t{1} << 24U;  // 64 GiB of 4 KiB

// Errors: kUnknownForm for another version; kBadData for too few bytes, more frames than the pages
// hold, or more than kMostHwpoisonFrames.
Result<HwpoisonMetadata> read_hwpoison(std::string_view blob, std::endian order, PageShift shift,
                                       const std::string& shown);

// Reads physical memory: exactly so many bytes, or an error.
using MemoryReader = std::function<Result<std::string>(PhysAddr address, std::size_t bytes)>;
// The frames, in their order. Errors: those of `memory`; kBadData for a chain that ends early, goes
// on for ever, or has a frame outside the address space.
Result<std::vector<Pfn>> read_hwpoison_frames(const HwpoisonMetadata& metadata, std::endian order,
                                              PageShift shift, const MemoryReader& memory,
                                              const std::string& shown);

// The same as it lies in memory, its pages one after another from `base` on.
struct HwpoisonImage {
  std::string metadata;
  std::map<PhysAddr, std::string> pages;
};
HwpoisonImage write_hwpoison(std::span<const Pfn> frames, std::endian order, PageShift shift,
                             PhysAddr base);

}  // namespace poisonctl
