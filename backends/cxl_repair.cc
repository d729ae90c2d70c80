#include "backends/cxl_repair.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "registry/posix_file.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using std::uint64_t;

constexpr std::string_view kDevices = "sys/bus/edac/devices";
constexpr uint64_t kLine = 64;

struct KindName {
  RepairKind kind;
  std::string_view word;
};
// drivers/edac/mem_repair.c, edac_repair_type: the texts are part of the ABI.
constexpr std::array<KindName, 5> kKinds = {{
    {RepairKind::kCachelineSparing, "cacheline-sparing"},
    {RepairKind::kPpr, "ppr"},
    {RepairKind::kRowSparing, "row-sparing"},
    {RepairKind::kBankSparing, "bank-sparing"},
    {RepairKind::kRankSparing, "rank-sparing"},
}};

// The attributes that name a place inside the device.
constexpr std::array<std::string_view, 9> kCoordinates = {
    "dpa", "nibble_mask", "bank_group", "bank", "rank", "row", "column", "channel", "sub_channel"};

std::optional<uint64_t> number_in(const SysRoot& sysroot, const std::string& path) {
  const auto text = sysroot.read(path);
  return text ? parse_size(trim(*text)) : std::nullopt;
}

// Reads one mem_repairN. Errors: kBadData for what no kernel shows.
Result<RepairFunction> function_in(const SysRoot& sysroot, const std::string& folder) {
  const auto type = sysroot.read(folder + "/repair_type");
  if (!type) return type.error();
  const auto kind = repair_kind_from(trim(*type));
  if (!kind) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: '{}' is no kind of repair that is known here",
                             sysroot.shown(folder + "/repair_type"), printable(trim(*type)))};
  }
  const auto names = sysroot.list(folder);
  if (!names) return names.error();
  const auto has = [&](std::string_view name) {
    return std::find(names->begin(), names->end(), name) != names->end();
  };
  RepairFunction function{
      .folder = folder,
      .kind = *kind,
      .permanent = number_in(sysroot, folder + "/persist_mode") == uint64_t{1},
      .can_set_mode = sysroot.open_attribute(folder + "/persist_mode").ok(),
      .safe_when_in_use = number_in(sysroot, folder + "/repair_safe_when_in_use") == uint64_t{1},
      .coordinates = {},
      .least_address = number_in(sysroot, folder + "/min_dpa"),
      .most_address = number_in(sysroot, folder + "/max_dpa")};
  for (const std::string_view name : kCoordinates) {
    if (has(name)) function.coordinates.emplace_back(name);
  }
  return function;
}

// What events need not tell: then it is 0, as the kernel begins, and not what the repair before
// left.
bool is_optional(std::string_view name) { return name == "nibble_mask" || name == "sub_channel"; }

// The value for a coordinate of a target, if it is known.
std::optional<uint64_t> value_for(std::string_view name, const RepairTarget& target) {
  if (name == "dpa") return target.bytes.begin().value() / kLine * kLine;
  if (name == "nibble_mask") return target.nibble_mask.value_or(0);
  DramCoordinates dram = target.dram;
  const auto* const field = coordinate(dram, name);
  if (field == nullptr || !*field)
    return is_optional(name) ? std::optional<uint64_t>(0) : std::nullopt;
  return **field;
}

// Why a function is not the one, if so.
std::optional<std::string> why_not(const RepairFunction& function, const RepairTarget& target,
                                   const RepairPolicy& policy) {
  if (policy.only ? function.kind != *policy.only : function.kind >= RepairKind::kBankSparing) {
    return policy.only ? "another kind was asked for"
                       : "it takes a whole bank or rank, which is only done when it is named";
  }
  if (target.in_use && !function.safe_when_in_use && !policy.unsafe_in_use) {
    return "it may lose data of memory that a region has; without regions ('cxl destroy-region') "
           "it may be done";
  }
  if (function.permanent != policy.permanent && !function.can_set_mode) {
    return policy.permanent ? "a reset undoes it" : "it cannot be undone";
  }
  const uint64_t address = target.bytes.begin().value();
  if ((function.least_address && address < *function.least_address) ||
      (function.most_address && address > *function.most_address)) {
    return fmt::format("it reaches from {:#x} to {:#x} only", function.least_address.value_or(0),
                       function.most_address.value_or(DeviceRange::kLimit));
  }
  const auto& names = function.coordinates;
  if (function.kind == RepairKind::kPpr &&
      std::find(names.begin(), names.end(), "dpa") == names.end()) {
    return "it takes no device address";
  }
  for (const std::string& name : names) {
    if (!value_for(name, target)) return "it needs the " + name + ", which no event told";
  }
  return std::nullopt;
}

// Writes a number and reads it back. The mode may be fixed: then it has to be right already.
Result<void> set_attribute(const SysRoot& sysroot, const std::string& path, uint64_t value) {
  if (number_in(sysroot, path) == value) return {};
  const auto attribute = sysroot.open_attribute(path);
  if (!attribute) return attribute.error();
  const std::string text = to_hex(value);
  if (const int error = (*attribute)->write(text); error != 0) {
    Error failed = os_error(sysroot.shown(path), error, ErrorCode::kIo);
    failed.message += fmt::format(" when {} was written; nothing was repaired", text);
    return failed;
  }
  const auto now = number_in(sysroot, path);
  if (now == value) return {};
  return Error{ErrorCode::kIo,
               fmt::format("{}: {} was written and {} is there; nothing was repaired",
                           sysroot.shown(path), text, now ? to_hex(*now) : "no number")};
}

}  // namespace

std::string_view to_word(RepairKind kind) {
  for (const KindName& name : kKinds) {
    if (name.kind == kind) return name.word;
  }
  return {};
}

std::optional<RepairKind> repair_kind_from(std::string_view word) {
  for (const KindName& name : kKinds) {
    if (name.word == word) return name.kind;
  }
  return std::nullopt;
}

Result<RepairFunctions> find_repair_functions(const SysRoot& sysroot, std::string_view memdev) {
  RepairFunctions found;
  // drivers/cxl/core/edac.c registers a device under this name.
  const std::string device = fmt::format("{}/cxl_{}", kDevices, memdev);
  const auto names = sysroot.list(device);
  if (!names) {
    if (names.error().code == ErrorCode::kNoInput) return found;
    return names.error();
  }
  for (const std::string& name : *names) {
    if (!name.starts_with("mem_repair")) continue;
    auto function = function_in(sysroot, fmt::format("{}/{}", device, name));
    if (function) {
      found.functions.push_back(*std::move(function));
    } else {
      found.problems.push_back(function.error().message);
    }
  }
  std::stable_sort(
      found.functions.begin(), found.functions.end(),
      [](const RepairFunction& a, const RepairFunction& b) { return a.kind < b.kind; });
  return found;
}

Result<const RepairFunction*> choose_repair(std::span<const RepairFunction> functions,
                                            const RepairTarget& target,
                                            const RepairPolicy& policy) {
  if (target.bytes.size() > kLine) {
    return Error{ErrorCode::kRefused,
                 fmt::format("it has {} lines of 64 bytes: each would take a spare of its own",
                             (target.bytes.size() + kLine - 1) / kLine)};
  }
  std::string reasons;
  for (const RepairFunction& function : functions) {
    const auto reason = why_not(function, target, policy);
    if (!reason) return &function;
    reasons +=
        fmt::format("{}{}: {}", reasons.empty() ? "" : "; ", to_word(function.kind), *reason);
  }
  if (functions.empty()) {
    return Error{ErrorCode::kNotAvailable,
                 "the device offers no repair, or this kernel does not show it "
                 "(CONFIG_CXL_EDAC_MEM_REPAIR)"};
  }
  return Error{ErrorCode::kRefused, reasons};
}

Result<void> order_repair(const SysRoot& sysroot, const RepairFunction& function,
                          const RepairTarget& target, const RepairPolicy& policy) {
  const auto path = [&](std::string_view name) {
    return fmt::format("{}/{}", function.folder, name);
  };
  if (function.can_set_mode) {
    auto set = set_attribute(sysroot, path("persist_mode"), policy.permanent ? 1 : 0);
    if (!set) return set;
  }
  for (const std::string& name : function.coordinates) {
    const auto value = value_for(name, target);
    if (!value) return Error{ErrorCode::kBug, "order_repair: " + name + " is not known"};
    if (auto set = set_attribute(sysroot, path(name), *value); !set) return set;
  }
  const auto order = sysroot.open_attribute(path("repair"));
  if (!order) return order.error();
  const int error = (*order)->write("1");
  if (error == 0) return {};
  Error failed = os_error(sysroot.shown(path("repair")), error, ErrorCode::kIo);
  if (error == EINVAL && target.in_use) {
    failed.message +=
        "; while a region has memory of the device, the kernel only repairs what the device has "
        "reported in this boot (a general media or DRAM event for this address)";
  }
  if (error == EBUSY) {
    failed.message +=
        "; what is not safe in use the kernel only repairs while no region has memory of the "
        "device";
  }
  return failed;
}

Result<void> clear_poison(const SysRoot& sysroot, std::string_view memdev, DeviceAddr line) {
  const std::string path = fmt::format("sys/kernel/debug/cxl/{}/clear_poison", memdev);
  const auto attribute = sysroot.open_attribute(path);
  if (!attribute) {
    if (attribute.error().code != ErrorCode::kNoInput) return attribute.error();
    return Error{ErrorCode::kNotAvailable,
                 sysroot.shown(path) +
                     " does not exist: debugfs is not mounted, or the device cannot clear poison"};
  }
  const int error = (*attribute)->write(to_hex(line.value()));
  if (error == 0) return {};
  return os_error(sysroot.shown(path), error, ErrorCode::kIo);
}

}  // namespace poisonctl
