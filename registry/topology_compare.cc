#include "registry/topology_compare.h"

#include <fmt/format.h>

#include <algorithm>

#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// A module as it answers an address: with one of its mappings, or none where firmware tells none.
struct Part {
  const MemoryModule* module;
  const MemoryModule::Mapping* mapping;
};

bool has_mappings(const Topology& topology) {
  return std::any_of(topology.modules.begin(), topology.modules.end(),
                     [](const MemoryModule& module) { return !module.mappings.empty(); });
}

std::vector<Part> parts_behind(const Topology& topology, const ByteRange& range) {
  const bool mapped = has_mappings(topology);
  std::vector<Part> parts;
  for (const MemoryModule& module : topology.modules) {
    if (!mapped) parts.push_back({&module, nullptr});
    for (const MemoryModule::Mapping& mapping : module.mappings) {
      if (mapping.range.overlaps(range)) parts.push_back({&module, &mapping});
    }
  }
  return parts;
}

bool differ(const std::string& before, const std::string& now) {
  return !before.empty() && !now.empty() && before != now;
}

const MemoryModule* with_serial(const Topology& topology, const std::string& serial) {
  const auto found = std::find_if(topology.modules.begin(), topology.modules.end(),
                                  [&](const MemoryModule& m) { return m.serial == serial; });
  return found == topology.modules.end() ? nullptr : &*found;
}

Judgement changed(std::string reason) { return {Meaning::kChanged, std::move(reason)}; }

Judgement compare_parts(const std::vector<Part>& before, const std::vector<Part>& now,
                        const Topology& topology_now) {
  if (before.size() != now.size()) {
    return changed(
        fmt::format("{} memory modules answered there, and {} do now", before.size(), now.size()));
  }
  for (std::size_t i = 0; i < before.size(); ++i) {
    const MemoryModule& was = *before[i].module;
    const MemoryModule& is = *now[i].module;
    if (was.slot != is.slot) {
      return changed(
          fmt::format("slot {} answered there, and slot {} does now", was.slot, is.slot));
    }
    const bool has_moved = (before[i].mapping == nullptr) != (now[i].mapping == nullptr) ||
                           (before[i].mapping != nullptr && *before[i].mapping != *now[i].mapping);
    if (differ(was.serial, is.serial)) {
      if (const MemoryModule* const there = with_serial(topology_now, was.serial)) {
        return changed(fmt::format("the module of slot {} (serial {}) is in slot {} now", was.slot,
                                   was.serial, there->slot));
      }
      const bool alone = before.size() == 1 && !has_moved && was.bytes == is.bytes;
      return {alone ? Meaning::kReplaced : Meaning::kChanged,
              fmt::format("slot {} had the module with serial {}, and has {} now", was.slot,
                          was.serial, is.serial)};
    }
    if (was.bytes != is.bytes || differ(was.part, is.part)) {
      return changed(fmt::format("slot {} had a module {} of {}, and has {} of {} now", was.slot,
                                 was.part, to_human_size(was.bytes), is.part,
                                 to_human_size(is.bytes)));
    }
    if (has_moved) {
      return changed(
          fmt::format("the module in slot {} answers other addresses, or shares them "
                      "with others in another way",
                      was.slot));
    }
  }
  return {};
}

bool all_have_serials(const std::vector<Part>& parts) {
  return !parts.empty() && std::all_of(parts.begin(), parts.end(), [](const Part& part) {
    return !part.module->serial.empty();
  });
}

std::vector<const CxlRegion*> regions_behind(const Topology& topology, const ByteRange& range) {
  std::vector<const CxlRegion*> regions;
  for (const CxlRegion& region : topology.cxl) {
    if (region.range.overlaps(range)) regions.push_back(&region);
  }
  return regions;
}

std::string module_text(const MemoryModule& module) {
  return fmt::format("{} {} {} serial {}", to_human_size(module.bytes),
                     module.manufacturer.empty() ? "?" : module.manufacturer,
                     module.part.empty() ? "?" : module.part,
                     module.serial.empty() ? "not told" : module.serial);
}

std::string cxl_text(const CxlRegion& region) {
  return fmt::format("CXL region {}: serials {}, granularity {}", to_text(region.range),
                     fmt::join(region.serials, ","), region.granularity);
}

std::string node_text(const NodeRange& node) {
  return fmt::format("node {}: {}", node.node, to_text(node.range));
}

// "- LINE" for what is only in the first, "+ LINE" for what is only in the second.
template <typename Item, typename Show>
void add_differences(const std::vector<Item>& before, const std::vector<Item>& now,
                     const Show& show, std::vector<std::string>& lines) {
  for (const Item& item : before) {
    if (std::find(now.begin(), now.end(), item) == now.end()) lines.push_back("- " + show(item));
  }
  for (const Item& item : now) {
    if (std::find(before.begin(), before.end(), item) == before.end()) {
      lines.push_back("+ " + show(item));
    }
  }
}

}  // namespace

Comparison::Comparison(const Topology& before, const Topology& now)
    : before_(before),
      now_(now),
      same_(before.modules == now.modules && before.ram == now.ram && before.nodes == now.nodes &&
            before.cxl == now.cxl && !differ(before.system_uuid, now.system_uuid)) {}

Judgement Comparison::judge(const ByteRange& range) const {
  if (same_) return {};
  if (differ(before_.system_uuid, now_.system_uuid)) {
    return changed(fmt::format("it was seen on another machine (UUID {})", before_.system_uuid));
  }
  const auto cxl_before = regions_behind(before_, range);
  const auto cxl_now = regions_behind(now_, range);
  // A region that is not up yet is judged when it is.
  if (!cxl_before.empty() && !cxl_now.empty()) {
    const bool equal =
        std::equal(cxl_before.begin(), cxl_before.end(), cxl_now.begin(), cxl_now.end(),
                   [](const auto* a, const auto* b) { return *a == *b; });
    return equal ? Judgement{} : changed("the CXL region there has other devices, or other ways");
  }
  if (!cxl_before.empty()) return {};

  const auto node_before = node_of(before_.nodes, range.begin());
  const auto node_now = node_of(now_.nodes, range.begin());
  if (node_before && node_now && *node_before != *node_now) {
    return changed(
        fmt::format("it was in NUMA node {}, and is in node {} now", *node_before, *node_now));
  }
  // Modules can be compared where both snapshots have them; one of the two may have been made
  // without the privilege to see them.
  const bool both_have_modules = !before_.modules.empty() && !now_.modules.empty();
  const auto parts_before = parts_behind(before_, range);
  const auto parts_now = parts_behind(now_, range);
  if (both_have_modules) {
    Judgement judgement = compare_parts(parts_before, parts_now, now_);
    if (judgement.meaning != Meaning::kSame) return judgement;
    if (all_have_serials(parts_before) && all_have_serials(parts_now)) return {};
  }
  if (before_.ram != now_.ram) {
    return changed(
        "the memory map is another, and firmware gives no serial numbers that would tell "
        "whether the memory there is the same");
  }
  return {};
}

std::vector<std::string> Comparison::differences() const {
  std::vector<std::string> lines;
  if (differ(before_.system_uuid, now_.system_uuid)) {
    lines.push_back("- machine " + before_.system_uuid);
    lines.push_back("+ machine " + now_.system_uuid);
  }
  add_differences(
      before_.modules, now_.modules,
      [](const MemoryModule& module) {
        std::string text = fmt::format("slot {}: {}", module.slot, module_text(module));
        for (const auto& mapping : module.mappings) text += ", at " + to_text(mapping.range);
        return text;
      },
      lines);
  add_differences(before_.cxl, now_.cxl, cxl_text, lines);
  add_differences(
      before_.ram, now_.ram, [](const ByteRange& range) { return "RAM " + to_text(range); }, lines);
  add_differences(before_.nodes, now_.nodes, node_text, lines);
  if (before_.page_size != now_.page_size) {
    lines.push_back(fmt::format("- page size {}", before_.page_size));
    lines.push_back(
        fmt::format("+ page size {} (records are in bytes and stay as they are)", now_.page_size));
  }
  return lines;
}

}  // namespace poisonctl
