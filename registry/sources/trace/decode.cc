#include "registry/sources/trace/decode.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "registry/bytes.h"
#include "registry/sources/mca.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using std::uint64_t;

// log2 of the largest piece of memory that an address can stand for: a 1 GiB page.
constexpr uint64_t kMostAddressBits = 30;
// What the kernel traces for "no address" (drivers/cxl/core/trace.h, drivers/acpi/acpi_extlog.c).
constexpr uint64_t kNoAddress = std::numeric_limits<uint64_t>::max();

constexpr bool bit(uint64_t value, unsigned number) { return ((value >> number) & 1U) != 0; }

Event event_from(const TraceEvent& trace, EventKind kind) {
  Event event;
  event.kind = kind;
  event.observed = trace.time;
  event.evidence = trace.evidence();
  return event;
}

// The piece of 2^`address_bits` bytes that holds `address`.
void set_place(Event& event, uint64_t address, uint64_t address_bits) {
  if (address_bits > kMostAddressBits) return;
  const uint64_t size = uint64_t{1} << address_bits;
  event.range = ByteRange::from_size(PhysAddr(address & ~(size - 1)), size);
  event.granularity = event.range && address_bits != 0 ? size : 0;
}

void set_label(Event& event, std::string_view label) {
  event.label = printable(label, Event::kLabelLimit / 2);
}

std::optional<std::uint32_t> small_number(std::optional<uint64_t> value) {
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<std::int32_t>::max());
  return value && *value <= kMost ? std::optional(static_cast<std::uint32_t>(*value))
                                  : std::nullopt;
}

// The severities of the UEFI specification, appendix N.2.1 ("Error Severity"): nothing for one that
// only informs.
std::optional<EventKind> kind_of_severity(std::optional<uint64_t> severity) {
  constexpr uint64_t kRecoverable = 0;
  constexpr uint64_t kFatal = 1;
  constexpr uint64_t kCorrected = 2;
  if (!severity) return std::nullopt;
  switch (*severity) {
    case kRecoverable:
    case kFatal:
      return EventKind::kUncorrected;
    case kCorrected:
      return EventKind::kCorrected;
    default:
      return std::nullopt;
  }
}

// What the kernel did: "free buddy page: Recovered". The numbers differ between kernels; the words
// are those of the kernel that runs.
std::vector<Event> memory_failure(const TraceEvent& trace, const SourceSettings& settings) {
  Event event = event_from(trace, EventKind::kUncorrected);
  const std::string_view type = trace.text("type");
  const std::string_view result = trace.text("result");
  event.result =
      printable(fmt::format("{}{}{}", type, type.empty() || result.empty() ? "" : ": ", result),
                Event::kResultLimit / 2);
  if (const auto pfn = trace.number("pfn")) {
    event.range = ByteRange::from_frames(Pfn(*pfn), 1, settings.page_shift);
    event.granularity = event.range ? settings.page_shift.page_size() : 0;
  }
  return {std::move(event)};
}

std::vector<Event> machine_check(const TraceEvent& trace, const SourceSettings& /*settings*/) {
  const MachineCheckBank bank{.status = trace.number("status").value_or(0),
                              .misc = trace.number("misc").value_or(0),
                              .address = trace.number("addr").value_or(0),
                              .mcgcap = trace.number("mcgcap").value_or(0),
                              .ipid = trace.number("ipid").value_or(0),
                              .vendor = trace.number("cpuvendor"),
                              .cpuid = trace.number("cpuid"),
                              .bank = trace.number("bank")};
  if (!is_memory_error(bank)) return {};
  Event event = event_from(trace, kind_of(bank));
  event.count = count_of(bank);
  event.dram.socket = small_number(trace.number("socketid"));
  if (const auto place = place_of(bank)) set_place(event, place->address, place->address_bits);
  return {std::move(event)};
}

// EDAC. error_type is enum hw_event_mc_err_type (include/linux/edac.h), which the format shows
// through a function of the kernel and not as words. address is 0 when the driver cannot tell, and
// grain_bits is log2 of bytes.
std::vector<Event> memory_controller(const TraceEvent& trace, const SourceSettings& /*settings*/) {
  constexpr std::array<EventKind, 4> kTypes = {EventKind::kCorrected, EventKind::kUncorrected,
                                               EventKind::kDeferred, EventKind::kUncorrected};
  const auto type = trace.number("error_type");
  if (!type || *type >= kTypes.size()) return {};  // "Info" is no error
  Event event = event_from(trace, kTypes.at(*type));
  event.count = std::max(1U, small_number(trace.number("error_count")).value_or(1));
  set_label(event, trace.text("label"));
  event.dram.controller = small_number(trace.number("mc_index"));
  const uint64_t address = trace.number("address").value_or(0);
  // fls_long(grain - 1) of the driver. ghes_edac's grain is the complement of firmware's mask, and
  // was wrong for every error before Linux 5.6 ("EDAC, ghes: Fix grain calculation"): then the
  // address is all that is known.
  const uint64_t grain_bits = trace.number("grain_bits").value_or(0);
  if (address != 0) set_place(event, address, grain_bits > kMostAddressBits ? 0 : grain_bits);
  return {std::move(event)};
}

// struct cper_mem_err_compact (include/linux/cper.h), which the event's format does not describe;
// the kernel appends to it: up to 5.13 it ends without `extended`. The bits are those of the memory
// error section (UEFI specification, table N.5).
DramCoordinates coordinates_of(std::string_view data) {
  constexpr std::size_t kOldSize = 54;
  constexpr std::size_t kExtended = 54;
  if (data.size() < kOldSize) return {};
  const uint64_t valid = little_endian(data.substr(0, 8));
  const auto field = [&](unsigned number, std::size_t at,
                         std::size_t size) -> std::optional<std::uint32_t> {
    if (!bit(valid, number)) return std::nullopt;
    return static_cast<std::uint32_t>(little_endian(data.substr(at, size)));
  };
  DramCoordinates dram;
  dram.socket = field(3, 8, 2);
  dram.controller = field(4, 10, 2);
  dram.slot = field(5, 12, 2);
  dram.bank = field(6, 14, 2);
  dram.device = field(7, 16, 2);
  dram.row = field(8, 18, 2);
  dram.column = field(9, 20, 2);
  dram.rank = field(15, 48, 2);
  // Bits 16 and 17 of the row.
  constexpr std::uint32_t kRowHighBits = 3;
  if (dram.row && bit(valid, 18) && data.size() > kExtended) {
    *dram.row |= (static_cast<unsigned char>(data[kExtended]) & kRowHighBits) << 16U;
  }
  // Where the bank is told as group and address, they are the two bytes of it.
  if (const auto value = field(19, 15, 1)) dram.bank_group = value;
  if (const auto value = field(20, 14, 1)) dram.bank = value;
  return dram;
}

// A memory section of the firmware (UEFI specification, appendix N.2.5). err_seq is a sequence
// number.
std::vector<Event> firmware_memory(const TraceEvent& trace, const SourceSettings& /*settings*/) {
  constexpr uint64_t kInvalidAddress = 10;  // of the memory error types: the access was wrong
  const auto kind = kind_of_severity(trace.number("sev"));
  if (!kind) return {};
  Event event = event_from(trace, *kind);
  set_label(event, trace.text("fru_text"));
  event.dram = coordinates_of(trace.text("data"));
  const auto address = trace.number("pa");
  const uint64_t lowest = trace.number("pa_mask_lsb").value_or(0);
  const bool names_memory = address && *address != 0 && *address != kNoAddress &&
                            trace.number("etype") != kInvalidAddress;
  // 255 is the mask that the firmware did not give (drivers/acpi/acpi_extlog.c).
  if (names_memory) set_place(event, *address, lowest <= kMostAddressBits ? lowest : 0);
  return {std::move(event)};
}

// One structure of processor error information (UEFI specification, table N.17, 32 bytes): a cache
// error that was not corrected tells of lost memory, as the line could not be written back.
void add_arm_place(Event& event, std::string_view info) {
  constexpr uint64_t kCacheError = 0;
  constexpr unsigned kInfoValid = 2;
  constexpr unsigned kPhysicalValid = 4;
  constexpr unsigned kCorrectedValid = 4;
  constexpr unsigned kCorrected = 26;
  const uint64_t valid = little_endian(info.substr(2, 2));
  const uint64_t error = little_endian(info.substr(8, 8));
  const bool lost = little_endian(info.substr(4, 1)) == kCacheError && bit(valid, kInfoValid) &&
                    bit(error, kCorrectedValid) && !bit(error, kCorrected);
  if (!lost) return;
  event.kind = EventKind::kUncorrected;
  if (bit(valid, kPhysicalValid)) set_place(event, little_endian(info.substr(24, 8)), 0);
}

// A processor section of the firmware (UEFI specification, appendix N.2.4.4). Kernels before 6.17
// do not trace what it says.
std::vector<Event> arm_processor(const TraceEvent& trace, const SourceSettings& /*settings*/) {
  constexpr std::size_t kInfoBytes = 32;
  const auto kind = kind_of_severity(trace.number("sev"));
  if (!kind) return {};
  Event event = event_from(trace, *kind);
  std::string_view infos = trace.text("pei_buf");
  for (; infos.size() >= kInfoBytes && !event.range; infos.remove_prefix(kInfoBytes)) {
    add_arm_place(event, infos.substr(0, kInfoBytes));
  }
  return {std::move(event)};
}

// A section that the kernel does not know: what is in it only its maker can say.
std::vector<Event> non_standard(const TraceEvent& trace, const SourceSettings& /*settings*/) {
  const auto kind = kind_of_severity(trace.number("sev"));
  if (!kind) return {};
  Event event = event_from(trace, *kind);
  set_label(event, trace.text("fru_text"));
  return {std::move(event)};
}

// A CXL device by its serial number: memN is another device after a boot.
std::string cxl_label(const TraceEvent& trace) {
  const auto serial = trace.number("serial");
  if (serial && *serial != 0) return fmt::format("cxl serial {:#x}", *serial);
  return fmt::format("cxl {} {}", trace.text("memdev"), trace.text("host"));
}

// Device addresses count in pieces of 64 bytes, and an interleave set changes devices after 256 at
// the least (CXL 3.1, 8.2.4.20).
constexpr uint64_t kCxlLine = 64;
constexpr uint64_t kCxlLeastGranule = 256;

// One event for the address of the first `certain` bytes, and one for their other address in a
// region with an extended linear cache (hpa_alias0). Without a region there is no address, and the
// device address of all `length` bytes goes to the label.
std::vector<Event> cxl_places(const Event& event, const TraceEvent& trace, uint64_t certain,
                              uint64_t length) {
  std::vector<Event> found;
  for (const std::string_view field : {"hpa", "hpa_alias0"}) {
    const auto address = trace.number(field);
    if (!address || *address == 0 || *address == kNoAddress) continue;
    Event one = event;
    one.range = ByteRange::from_size(PhysAddr(*address), certain);
    one.granularity = one.range ? kCxlLine : 0;
    found.push_back(std::move(one));
  }
  if (!found.empty()) return found;
  Event unplaced = event;
  if (const auto dpa = trace.number("dpa")) {
    unplaced.label += fmt::format(" dpa {:#x}+{:#x}", *dpa, length);
  }
  return {std::move(unplaced)};
}

// An entry of the device's poison list (CXL 3.1, table 8-140), or what somebody did to the list.
// Poison that was cleared is no error. Of poison over several granules of an interleave set only
// the first address is traced: the first granule is all that is certain, and the rest is evidence
// without a place.
std::vector<Event> cxl_poison(const TraceEvent& trace, const SourceSettings& /*settings*/) {
  const std::string_view what = trace.text("trace_type");
  if (what == "Clear") return {};
  const bool injected = what == "Inject" || trace.text("source") == "Injected";
  Event event = event_from(trace, injected ? EventKind::kInjected : EventKind::kMedia);
  set_label(event, cxl_label(trace));
  const uint64_t dpa = trace.number("dpa").value_or(0);
  const uint64_t length = std::max(kCxlLine, trace.number("dpa_length").value_or(kCxlLine));
  const uint64_t certain = std::min(length, kCxlLeastGranule - dpa % kCxlLeastGranule);
  std::vector<Event> found = cxl_places(event, trace, certain, length);
  if (certain < length && found.front().range) {
    event.label += fmt::format(" dpa {:#x}+{:#x}", dpa, length);
    event.evidence =
        fmt::format("{} bytes after the first {}, at addresses that are not traced: {}",
                    length - certain, certain, event.evidence);
    found.push_back(std::move(event));
  }
  return found;
}

// A coordinate that the record says is valid: 0 is a place too.
std::optional<std::uint32_t> coordinate(const TraceEvent& trace, std::string_view field,
                                        unsigned validity_bit) {
  const bool valid = bit(trace.number("validity_flags").value_or(0), validity_bit);
  return valid ? small_number(trace.number(field)) : std::nullopt;
}

// What general media and DRAM event records have in common (CXL 3.1, tables 8-45 and 8-46).
std::vector<Event> cxl_record(const TraceEvent& trace, const DramCoordinates& dram) {
  constexpr unsigned kUncorrectable = 0;  // of the descriptor
  const bool lost = bit(trace.number("descriptor").value_or(0), kUncorrectable);
  Event event = event_from(trace, lost ? EventKind::kUncorrected : EventKind::kCorrected);
  if (trace.text("transaction_type") == "Host Inject Poison") event.kind = EventKind::kInjected;
  set_label(event, cxl_label(trace));
  event.dram = dram;
  // The types that tell of a wrong access and not of bad memory.
  const std::string_view type = trace.text("type");
  const bool cells =
      type != "Invalid Address" && type != "TE State Violation" && type != "CKID Violation";
  return cells ? cxl_places(event, trace, kCxlLine, kCxlLine)
               : std::vector<Event>{std::move(event)};
}

std::vector<Event> cxl_general_media(const TraceEvent& trace, const SourceSettings& /*settings*/) {
  DramCoordinates dram;
  dram.channel = coordinate(trace, "channel", 0);
  dram.rank = coordinate(trace, "rank", 1);
  dram.device = coordinate(trace, "device", 2);
  return cxl_record(trace, dram);
}

std::vector<Event> cxl_dram(const TraceEvent& trace, const SourceSettings& /*settings*/) {
  DramCoordinates dram;
  dram.channel = coordinate(trace, "channel", 0);
  dram.rank = coordinate(trace, "rank", 1);
  dram.bank_group = coordinate(trace, "bank_group", 3);
  dram.bank = coordinate(trace, "bank", 4);
  dram.row = coordinate(trace, "row", 5);
  dram.column = coordinate(trace, "column", 6);
  dram.sub_channel = coordinate(trace, "sub_channel", 10);
  return cxl_record(trace, dram);
}

struct Decoder {
  std::string_view name;
  std::vector<Event> (*decode)(const TraceEvent&, const SourceSettings&);
};
constexpr std::array<Decoder, 9> kDecoders = {{
    {kMemoryFailureEvent, memory_failure},
    {"mce_record", machine_check},
    {"mc_event", memory_controller},
    {"extlog_mem_event", firmware_memory},
    {"arm_event", arm_processor},
    {"non_standard_event", non_standard},
    {"cxl_poison", cxl_poison},
    {"cxl_general_media", cxl_general_media},
    {"cxl_dram", cxl_dram},
}};

}  // namespace

std::span<const KnownTraceEvent> known_trace_events() {
  static const std::array<KnownTraceEvent, 9> events = {{
      {kMemoryFailureEvent, {"memory_failure", "ras"}},
      {"mce_record", {"mce"}},
      {"mc_event", {"ras"}},
      {"extlog_mem_event", {"ras"}},
      {"arm_event", {"ras"}},
      {"non_standard_event", {"ras"}},
      {"cxl_poison", {"cxl"}},
      {"cxl_general_media", {"cxl"}},
      {"cxl_dram", {"cxl"}},
  }};
  return events;
}

// action_result() of mm/memory-failure.c: neither is counted. One that is counted after all costs a
// scan; one that is not, and is taken to be, would hide a frame that was taken offline without an
// event.
bool raises_counter(const TraceEvent& trace) {
  const std::string_view type = trace.text("type");
  return trace.name == kMemoryFailureEvent && !type.starts_with("already poisoned") &&
         type != "non struct page pfn";
}

std::vector<Event> events_of(const TraceEvent& trace, const SourceSettings& settings) {
  const auto* const decoder =
      std::find_if(kDecoders.begin(), kDecoders.end(),
                   [&](const Decoder& candidate) { return candidate.name == trace.name; });
  if (decoder == kDecoders.end()) return {};
  std::vector<Event> events = decoder->decode(trace, settings);
  for (Event& event : events) limit_texts(event);
  return events;
}

Event gap_of(std::uint64_t lost, std::optional<Time> since, Time until) {
  Event event;
  event.kind = EventKind::kUncorrected;  // nobody knows what it was: the worst has to be assumed
  event.observed = until;
  const std::string_view why = "the ring buffer of the kernel overran";
  event.evidence =
      since ? fmt::format("{} trace events lost between {} and {}: {}", lost, to_rfc3339(*since),
                          to_rfc3339(until), why)
            : fmt::format(
                  "{} trace events lost before {}, when 'poisonctl watch' took over a buffer "
                  "that was there: {}; the one before it may have recorded some of them",
                  lost, to_rfc3339(until), why);
  return event;
}

}  // namespace poisonctl
