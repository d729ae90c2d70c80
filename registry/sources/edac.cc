#include "registry/sources/edac.h"

#include <fmt/format.h>

#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "registry/sources/collecting.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kFolder = "sys/devices/system/edac/mc";
constexpr std::size_t kAttributeLimit = 4096;  // sysfs gives at most a page

// The number at the end of "mc12" after "mc".
std::optional<std::uint32_t> number_after(std::string_view name, std::string_view start) {
  if (name.substr(0, start.size()) != start) return std::nullopt;
  const auto number = parse_unsigned(name.substr(start.size()), 10);
  if (!number || *number > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  return static_cast<std::uint32_t>(*number);
}

// The trimmed text of an attribute; nothing where this driver or kernel has none.
Result<std::optional<std::string>> read_attribute(const SysRoot& sysroot, const std::string& path) {
  const auto text = sysroot.read(path, kAttributeLimit);
  if (text) return std::optional(std::string(trim(*text)));
  if (text.error().code == ErrorCode::kNoInput) return std::optional<std::string>();
  return text.error();
}

// "channel 0 slot 1" of dimm_location: the layers of the controller, named by the driver.
void read_location(std::string_view location, DramCoordinates& dram) {
  const auto words = split_words(location);
  for (std::size_t i = 0; i + 1 < words.size(); i += 2) {
    const auto value = number_after(words[i + 1], "");
    if (words[i] == "channel") dram.channel = value;
    if (words[i] == "slot") dram.slot = value;
  }
}

// What a counter counts.
struct Counted {
  std::string label;
  DramCoordinates dram;
};

class EdacReader {
 public:
  EdacReader(const SysRoot& sysroot, Collector& collector)
      : sysroot_(sysroot), collector_(collector) {}

  Result<void> read_controller(const std::string& name, std::uint32_t number);

 private:
  Result<bool> read_dimm(const std::string& folder, std::uint32_t controller);
  Result<void> read_csrow(const std::string& folder, std::uint32_t controller);
  Result<bool> read_counter(const std::string& path, EventKind kind, const Counted& counted);

  const SysRoot& sysroot_;
  Collector& collector_;
};

// Whether the counter is there at all.
Result<bool> EdacReader::read_counter(const std::string& path, EventKind kind,
                                      const Counted& counted) {
  const auto text = read_attribute(sysroot_, path);
  if (!text) return text.error();
  if (!*text) return false;
  const auto count = parse_count(**text);
  if (!count) {
    return bad_data(sysroot_.shown(path),
                    fmt::format(": '{}': expected a count of errors", printable(**text)));
  }
  if (*count == 0) return true;
  Event event =
      event_of(kind, std::nullopt, fmt::format("{}={}", path.substr(kFolder.size() + 1), *count));
  event.count = *count;
  event.label = counted.label;
  event.dram = counted.dram;
  if (const auto done = collector_.hand_over(std::move(event)); !done) return done.error();
  return true;
}

// Whether it has counters: old kernels have the folder without them.
Result<bool> EdacReader::read_dimm(const std::string& folder, std::uint32_t controller) {
  Counted counted;
  counted.dram.controller = controller;
  const auto label = read_attribute(sysroot_, folder + "/dimm_label");
  if (!label) return label.error();
  counted.label = label->value_or("");
  const auto location = read_attribute(sysroot_, folder + "/dimm_location");
  if (!location) return location.error();
  read_location(location->value_or(""), counted.dram);
  auto corrected = read_counter(folder + "/dimm_ce_count", EventKind::kCorrected, counted);
  if (!corrected) return corrected;
  auto uncorrected = read_counter(folder + "/dimm_ue_count", EventKind::kUncorrected, counted);
  if (!uncorrected) return uncorrected;
  return *corrected || *uncorrected;
}

// Corrected errors are counted for each channel of the row, uncorrected ones for the row.
Result<void> EdacReader::read_csrow(const std::string& folder, std::uint32_t controller) {
  const auto names = sysroot_.list(folder);
  if (!names) return names.error();
  Counted row;
  row.dram.controller = controller;
  bool by_channel = false;
  for (const std::string& name : *names) {
    constexpr std::string_view kEnd = "_ce_count";
    if (name.size() <= kEnd.size() || name.substr(name.size() - kEnd.size()) != kEnd) continue;
    const std::string channel = name.substr(0, name.size() - kEnd.size());
    const auto number = number_after(channel, "ch");
    if (!number) continue;
    Counted counted = row;
    counted.dram.channel = number;
    const auto label = read_attribute(sysroot_, folder + "/" + channel + "_dimm_label");
    if (!label) return label.error();
    counted.label = label->value_or("");
    const auto done = read_counter(folder + "/" + name, EventKind::kCorrected, counted);
    if (!done) return done.error();
    by_channel = true;
  }
  if (!by_channel) {
    const auto done = read_counter(folder + "/ce_count", EventKind::kCorrected, row);
    if (!done) return done.error();
  }
  const auto done = read_counter(folder + "/ue_count", EventKind::kUncorrected, row);
  return done ? Result<void>() : done.error();
}

Result<void> EdacReader::read_controller(const std::string& name, std::uint32_t number) {
  const std::string folder = fmt::format("{}/{}", kFolder, name);
  const auto names = sysroot_.list(folder);
  if (!names) return names.error();
  bool by_dimm = false;
  for (const std::string& part : *names) {
    if (!number_after(part, "dimm") && !number_after(part, "rank")) continue;
    const auto counted = read_dimm(folder + "/" + part, number);
    if (!counted) return counted.error();
    by_dimm = by_dimm || *counted;
  }
  for (const std::string& part : *names) {
    if (by_dimm || !number_after(part, "csrow")) continue;
    if (auto done = read_csrow(folder + "/" + part, number); !done) return done;
  }
  Counted unknown;
  unknown.dram.controller = number;
  const auto corrected = read_counter(folder + "/ce_noinfo_count", EventKind::kCorrected, unknown);
  if (!corrected) return corrected.error();
  const auto uncorrected =
      read_counter(folder + "/ue_noinfo_count", EventKind::kUncorrected, unknown);
  return uncorrected ? Result<void>() : uncorrected.error();
}

}  // namespace

Result<SourceReport> collect_edac(const SysRoot& sysroot, const EventSink& sink) {
  const auto names = sysroot.list(kFolder);
  if (!names && names.error().code != ErrorCode::kNoInput) return names.error();
  Collector collector(sink);
  EdacReader reader(sysroot, collector);
  bool found = false;
  for (const std::string& name : names ? *names : std::vector<std::string>()) {
    const auto number = number_after(name, "mc");
    if (!number) continue;
    found = true;
    if (const auto done = reader.read_controller(name, *number); !done) return done.error();
  }
  if (!found) {
    return Error{
        ErrorCode::kNotAvailable,
        fmt::format("{} has no memory controller: the memory of this machine has no ECC, or "
                    "the EDAC driver for its controller is not loaded",
                    sysroot.shown(kFolder))};
  }
  return collector.take_report();
}

}  // namespace poisonctl
