// The log as Common Platform Error Records: one record for each event that has a place, with a
// memory error section for each block of it (aligned_blocks.h). UEFI Specification 2.10, appendix
// N: N.2.1 (record header), N.2.2 (section descriptor), N.2.5 (memory error section, 80 bytes). All
// numbers are little-endian.
#include <fmt/format.h>

#include <chrono>

#include "registry/aligned_blocks.h"
#include "registry/exports/exports.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::size_t kHeaderSize = 128;
constexpr std::size_t kDescriptorSize = 72;
constexpr std::size_t kSectionSize = 80;
constexpr std::size_t kFruTextSize = 20;

// Table N.1, and bits of its flags.
enum Severity : std::uint32_t { kRecoverable = 0, kCorrectedSeverity = 2 };
constexpr std::uint32_t kTimestampValid = 2;
constexpr std::uint32_t kSimulated = 4;
// Table N.4.
constexpr std::uint8_t kFruTextValid = 2;
constexpr std::uint32_t kPrimary = 1;
constexpr std::uint32_t kLatentError = 32;  // contained, and not used yet

// GUIDs as their bytes lie in a record.
constexpr std::string_view kMemorySection{
    "\x14\x11\xbc\xa5\x64\x6f\xde\x4e\xb8\x63\x3e\x83\xed\x7c\x83\xb1", 16};
constexpr std::string_view kMachineCheck{
    "\xfe\x6f\xf5\xe8\x9c\x91\xc5\x4c\xba\x88\x65\xab\xe1\x49\x13\xbb", 16};
constexpr std::string_view kCorrectedMachineCheck{
    "\xb1\x8b\xce\x2d\xd7\xbd\x0e\x45\xb9\xad\x9c\xf4\xeb\xd4\xf8\x90", 16};
// 6f701c2a-91b3-4f5e-8d0c-2b7e4a9c5d13, of poisonctl and nothing else.
constexpr std::string_view kCreator{
    "\x2a\x1c\x70\x6f\xb3\x91\x5e\x4f\x8d\x0c\x2b\x7e\x4a\x9c\x5d\x13", 16};

void put(std::string& out, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) {
    out += static_cast<char>(value >> (8 * i) & 0xFFU);
  }
}

// Table N.1, "Timestamp": binary-coded decimals.
void put_time(std::string& out, Time time) {
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(std::chrono::floor<std::chrono::seconds>(time - day));
  const auto decimal = [&](std::int64_t number) {
    put(out, static_cast<std::uint64_t>(number / 10 % 10 * 16 + number % 10), 1);
  };
  decimal(clock.seconds().count());
  decimal(clock.minutes().count());
  decimal(clock.hours().count());
  put(out, 0, 1);  // not precise: it is the time of the event, not of the hardware's record
  decimal(static_cast<unsigned>(date.day()));
  decimal(static_cast<unsigned>(date.month()));
  decimal(static_cast<int>(date.year()) % 100);
  decimal(static_cast<int>(date.year()) / 100);
}

std::uint32_t severity_of(const Event& event) {
  return event.kind == EventKind::kCorrected ? kCorrectedSeverity : kRecoverable;
}

// Where in the section a coordinate is, and the bit that says that it is there.
struct Field {
  const std::optional<std::uint32_t>& value;
  unsigned bit;
};

std::string memory_section(const Event& event, const ByteRange& block) {
  const DramCoordinates& dram = event.dram;
  std::uint64_t valid = 1U << 1U | 1U << 2U;  // address and mask
  std::string fields;
  const auto put_field = [&](const Field& field) {
    // Wider ones have no room, and half of one would be wrong.
    if (field.value && *field.value <= 0xFFFFU) {
      valid |= std::uint64_t{1} << field.bit;
      put(fields, *field.value, 2);
    } else {
      put(fields, 0, 2);
    }
  };
  for (const Field& field :
       {Field{dram.socket, 3}, Field{dram.controller, 4}, Field{dram.slot, 5}, Field{dram.bank, 6},
        Field{dram.device, 7}, Field{dram.row, 8}, Field{dram.column, 9}}) {
    put_field(field);
  }
  fields.append(2 + 8 + 8 + 8, '\0');  // bit position, requestor, responder, target
  fields.append(1 + 1, '\0');          // error type (unknown), extended
  put_field({dram.rank, 15});
  fields.append(2 + 2, '\0');  // SMBIOS handles
  std::string section;
  put(section, valid, 8);
  put(section, 0, 8);  // error status
  put(section, block.begin().value(), 8);
  put(section, ~(block.size() - 1), 8);  // the bits of the address that mean something
  return section + fields;
}

// Table N.2: of the section at `offset` of its record.
void put_descriptor(std::string& out, const Event& event, std::size_t offset, bool first) {
  put(out, offset, 4);
  put(out, kSectionSize, 4);
  put(out, 0x0100, 2);
  put(out, event.label.empty() ? 0 : kFruTextValid, 1);
  put(out, 0, 1);
  put(out, (first ? kPrimary : 0) | (event.kind == EventKind::kDeferred ? kLatentError : 0), 4);
  out += kMemorySection;
  out.append(16, '\0');  // FRU id
  put(out, severity_of(event), 4);
  // ASCII, with an end mark.
  std::string label;
  for (const char c : event.label.substr(0, kFruTextSize - 1)) {
    label += c >= ' ' && c <= '~' ? c : '?';
  }
  label.resize(kFruTextSize, '\0');
  out += label;
}

std::string record(const StoredEvent& stored) {
  const Event& event = stored.event;
  if (!is_observation(event.kind) || !event.range || !event.foreign_host.empty()) return {};
  // A section has an address and a mask, no length.
  const auto blocks = aligned_blocks(*event.range);
  const std::size_t sections_at = kHeaderSize + blocks.size() * kDescriptorSize;
  std::string out = "CPER";
  put(out, 0x0100, 2);
  put(out, 0xFFFFFFFFU, 4);
  put(out, blocks.size(), 2);
  put(out, severity_of(event), 4);
  put(out, kTimestampValid, 4);
  put(out, sections_at + blocks.size() * kSectionSize, 4);
  put_time(out, time_seen(event, stored.provenance));
  out.append(32, '\0');  // platform, partition: not valid
  out += kCreator;
  out += event.kind == EventKind::kCorrected ? kCorrectedMachineCheck : kMachineCheck;
  put(out, static_cast<std::uint64_t>(stored.id), 8);
  put(out, event.kind == EventKind::kInjected ? kSimulated : 0, 4);
  out.append(8 + 12, '\0');  // persistence, reserved
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    put_descriptor(out, event, sections_at + i * kSectionSize, i == 0);
  }
  for (const ByteRange& block : blocks) out += memory_section(event, block);
  return out;
}

}  // namespace

Result<FormatSummary> export_cper(Store& store, const LogSelection& selection,
                                  const TextSink& sink) {
  return for_each_selected(store, selection, sink, record);
}

}  // namespace poisonctl
