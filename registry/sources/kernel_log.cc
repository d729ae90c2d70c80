#include "registry/sources/kernel_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "registry/sources/collecting.h"
#include "registry/sources/mcelog.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::uint64_t kLargestShare = 16;

bool take_prefix(std::string_view& text, std::string_view prefix) {
  if (text.substr(0, prefix.size()) != prefix) return false;
  text.remove_prefix(prefix.size());
  return true;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// The number that `text` begins with, as %#lx prints it: 0x and hexadecimal digits, or a plain 0.
// The digits are taken off; nothing when there are none or too many.
std::optional<std::uint64_t> take_hex(std::string_view& text) {
  const auto end = std::min(text.find_first_of(" :,)"), text.size());
  const std::string_view word = text.substr(0, end);
  text.remove_prefix(end);
  return word == "0" ? std::optional<std::uint64_t>(0) : parse_prefixed_hex(word);
}

std::optional<std::uint32_t> small_number(std::string_view text) {
  const auto value = parse_unsigned(text, 10);
  if (!value || *value > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
  return static_cast<std::uint32_t>(*value);
}

// "2026-03-01T12:00:00,123456+00:00" (dmesg) and "...+0000" (journalctl) in the form of RFC 3339.
std::optional<Time> time_of_stamp(std::string_view word) {
  std::string stamp(word);
  std::replace(stamp.begin(), stamp.end(), ',', '.');
  constexpr std::size_t kZone = 5;  // +0000
  const bool short_zone = stamp.size() > kZone && (stamp[stamp.size() - kZone] == '+' ||
                                                   stamp[stamp.size() - kZone] == '-');
  if (short_zone) stamp.insert(stamp.size() - 2, ":");
  return time_from_rfc3339(stamp);
}

// What the kernel said in a line of a log, without what daemons and tools put before it.
struct Message {
  std::string_view text;
  std::optional<Time> observed;
};

// "[   12.345678] " or "[Sat Nov 21 11:00:00 2026] ", and "[ T123] " of the caller.
void drop_brackets(std::string_view& text) {
  while (!text.empty() && text[0] == '[' && text.substr(0, 10) != "[Hardware ") {
    const auto end = text.find(']');
    if (end > 40) return;  // or is not there
    text = trim(text.substr(end + 1));
  }
}

// Nothing when another program said it.
std::optional<Message> message_of(std::string_view line) {
  Message message{trim(line), std::nullopt};
  std::string_view& text = message.text;
  if (text.size() > 2 && text[0] == '<' && text.find('>') < 5)
    text.remove_prefix(text.find('>') + 1);
  const auto blank = text.find(' ');
  if (blank != std::string_view::npos) {
    message.observed = time_of_stamp(text.substr(0, blank));
    if (message.observed) text = trim(text.substr(blank));
  }
  // "DATE HOST kernel: ": what is before has no ": ", or it is the text of another program.
  const auto tag = text.find("kernel: ");
  const bool is_tag = tag == 0 || (tag != std::string_view::npos && text[tag - 1] == ' ');
  if (is_tag && !contains(text.substr(0, tag), ": ")) text = trim(text.substr(tag + 8));
  if (take_prefix(text, "kern  :")) {  // dmesg --decode: "kern  :err   : "
    text.remove_prefix(std::min(text.find(": ") + 1, text.size()));
    text = trim(text);
  }
  drop_brackets(text);
  return text.empty() ? std::nullopt : std::optional(message);
}

// A section of a CPER record in the making.
struct CperSection {
  bool is_memory = false;
  std::string severity;
  std::optional<std::uint64_t> address;
  std::optional<std::uint64_t> mask;
  std::optional<Time> observed;
  std::string label;
  DramCoordinates dram;
  std::string evidence;
};

// A CPER record in the making. Several processors can print theirs at the same time.
struct CperRecord {
  std::string id;        // "{1}": what belongs together; empty for records of the previous boot
  std::string severity;  // of the whole record
  CperSection section;
};

class KernelLogReader {
 public:
  KernelLogReader(const SourceSettings& settings, Collector& collector)
      : settings_(settings), collector_(collector) {}

  Result<void> take_line(std::string_view line, const std::string& place);
  Result<void> flush();

 private:
  Result<void> take_message(std::string_view text);
  Result<void> take_memory_failure(std::string_view text);
  Result<void> take_soft_offline(std::string_view text);
  Result<void> take_pfn(std::string_view text, EventKind kind, std::string_view result);
  Result<void> take_user_access(std::string_view text);
  Result<void> take_edac(std::string_view text);
  Result<void> take_hardware_error(std::string_view id, std::string_view text);
  Result<void> take_machine_check(std::string_view text);
  Result<void> take_cper(std::string_view id, std::string_view text);
  Result<void> flush_machine_check();
  Result<void> flush_section(CperRecord& record);
  Result<CperRecord*> record_of(std::string_view id);

  Result<void> hand_over(Event event);
  [[nodiscard]] Error no_number(std::string_view what) const;
  // The range of `size` bytes that holds `address`, where that says something; warns where not.
  std::optional<ByteRange> block_at(std::uint64_t address, std::uint64_t size);
  std::optional<ByteRange> checked(std::optional<ByteRange> range);

  const SourceSettings& settings_;
  Collector& collector_;
  std::string_view line_;  // that is being read
  std::string place_;
  std::optional<Time> observed_;
  MachineCheck check_;
  std::vector<CperRecord> records_;  // at most kOpenRecords, the oldest first
};

Error KernelLogReader::no_number(std::string_view what) const {
  return bad_data(place_, fmt::format("'{}': expected {}, a number of at most 64 bits; the log is "
                                      "damaged here",
                                      printable(line_), what));
}

Result<void> KernelLogReader::hand_over(Event event) {
  if (!event.observed) event.observed = observed_;
  return collector_.hand_over(std::move(event));
}

std::optional<ByteRange> KernelLogReader::checked(std::optional<ByteRange> range) {
  if (!range) {
    collector_.warn_once(place_, fmt::format("a place beyond {}, the last address that any machine "
                                             "has: kept as evidence without a place",
                                             to_hex(kPhysAddrLimit - 1)));
  }
  return range;
}

std::optional<ByteRange> KernelLogReader::block_at(std::uint64_t address, std::uint64_t size) {
  const std::uint64_t most =
      std::max(settings_.memory_end.value() / kLargestShare, settings_.page_shift.page_size());
  if (size > most) {
    collector_.warn_once(place_, fmt::format("a place of more than 1/{} of memory says nothing: "
                                             "kept as evidence without a place",
                                             kLargestShare));
    return std::nullopt;
  }
  return checked(ByteRange::from_size(PhysAddr(address & ~(size - 1)), size));
}

// `text` begins with the PFN.
Result<void> KernelLogReader::take_pfn(std::string_view text, EventKind kind,
                                       std::string_view result) {
  const auto pfn = take_hex(text);
  if (!pfn) return no_number("0x and the number of a page");
  Event event =
      event_of(kind, checked(ByteRange::from_frames(Pfn(*pfn), 1, settings_.page_shift)), line_);
  event.granularity = settings_.page_shift.page_size();
  event.result = result;
  return hand_over(std::move(event));
}

// "0xPFN: what was done".
Result<void> KernelLogReader::take_memory_failure(std::string_view text) {
  std::string_view rest = text;
  if (rest.substr(0, 2) != "0x" && rest.substr(0, 2) != "0:") return {};
  const auto pfn = take_hex(rest);
  if (!pfn) return no_number("0x and the number of a page");
  if (!take_prefix(rest, ": ")) return {};
  constexpr std::string_view kAction = "recovery action for ";
  if (take_prefix(rest, kAction)) {
    const auto colon = rest.rfind(": ");
    if (colon == std::string_view::npos) return {};
    const bool again = contains(rest.substr(0, colon), "already poisoned");
    return take_pfn(text, again ? EventKind::kPoisoned : EventKind::kUncorrected,
                    rest.substr(colon + 2));
  }
  if (contains(rest, "already hardware poisoned")) {
    return take_pfn(text, EventKind::kPoisoned, rest);
  }
  const bool told = contains(rest, "unhandlable page") || contains(rest, "outside kernel control");
  return told ? take_pfn(text, EventKind::kUncorrected, rest) : Result<void>();
}

// "0xPFN: what became of it" or "0xPFN page already poisoned".
Result<void> KernelLogReader::take_soft_offline(std::string_view text) {
  std::string_view rest = text;
  if (rest.substr(0, 2) != "0x" && rest.substr(0, 2) != "0:") return {};
  if (!take_hex(rest)) return no_number("0x and the number of a page");
  take_prefix(rest, ":");
  rest = trim(rest);
  const bool poisoned = contains(rest, "already poisoned");
  return take_pfn(text, poisoned ? EventKind::kPoisoned : EventKind::kCorrected, rest);
}

// A byte address, hexadecimal without 0x.
Result<void> KernelLogReader::take_user_access(std::string_view text) {
  const auto address = parse_unsigned(text.substr(0, text.find(' ')), 16);
  if (!address) return no_number("a physical address in hexadecimal");
  return hand_over(event_of(EventKind::kUncorrected, block_at(*address, 1), line_));
}

// The coordinates that EDAC and CPER print: "channel:0 slot:1", "rank: 2 bank: 3".
void take_coordinates(std::string_view text, DramCoordinates& dram) {
  const auto words = split_words(text);
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto colon = words[i].find(':');
    if (colon == std::string_view::npos) continue;
    const bool apart = colon + 1 == words[i].size() && i + 1 < words.size();
    const auto value = small_number(apart ? words[i + 1] : words[i].substr(colon + 1));
    const std::string_view name = words[i].substr(0, colon);
    auto* const field = coordinate(dram, name == "col" ? "column" : name);
    if (field != nullptr && value) *field = value;
  }
}

// "0: 1 CE memory read error on DIMM_A1 (channel:0 slot:0 page:0x12 offset:0x40 grain:32 ...)".
Result<void> KernelLogReader::take_edac(std::string_view text) {
  const auto words = split_words(text.substr(0, text.find(" on ")));
  const auto label = text.find(" on ");
  const auto page_at = text.find("page:0x");
  const auto open = text.rfind(" (", page_at);
  if (words.size() < 3 || label == std::string_view::npos || page_at == std::string_view::npos ||
      open == std::string_view::npos || open < label || (words[2] != "CE" && words[2] != "UE")) {
    return {};
  }
  const auto controller = small_number(words[0].substr(0, words[0].size() - 1));
  const auto count = parse_count(words[1]);
  if (!controller || !count) return {};

  const auto number = [&](std::string_view name, int base) -> std::optional<std::uint64_t> {
    const auto at = text.find(name, open);
    if (at == std::string_view::npos) return std::nullopt;
    const std::string_view rest = text.substr(at + name.size());
    return parse_unsigned(rest.substr(0, rest.find_first_of(" )")), base);
  };
  const auto page = number("page:0x", 16);
  const auto offset = number("offset:0x", 16);
  if (!page || !offset) return no_number("page:0xPFN offset:0xBYTES");
  const std::uint64_t grain = number("grain:", 10).value_or(0);

  Event event = event_of(words[2] == "UE" ? EventKind::kUncorrected : EventKind::kCorrected,
                         std::nullopt, line_);
  event.count = std::max<std::uint64_t>(*count, 1);
  event.label = text.substr(label + 4, open - label - 4);
  event.dram.controller = controller;
  take_coordinates(text.substr(open + 2, page_at - open - 2), event.dram);
  event.granularity = std::has_single_bit(grain) ? grain : 0;
  // Drivers that do not know the address pass page 0, offset 0.
  const auto frame = ByteRange::from_frames(Pfn(*page), 1, settings_.page_shift);
  if ((*page != 0 || *offset != 0) && checked(frame)) {
    event.range = *offset < frame->size() ? block_at(frame->begin().value() + *offset,
                                                     std::max<std::uint64_t>(event.granularity, 1))
                                          : std::nullopt;
  }
  if (!event.range) event.granularity = 0;
  return hand_over(std::move(event));
}

Result<void> KernelLogReader::flush_machine_check() {
  const MachineCheck check = std::exchange(check_, {});
  const auto event = event_of(check, settings_);
  return event ? hand_over(*event) : Result<void>();
}

// One line of __print_mce() in arch/x86/kernel/cpu/mce/core.c.
Result<void> KernelLogReader::take_machine_check(std::string_view text) {
  const auto words = split_words(text);
  if (words.empty()) return {};
  if (words[0] == "CPU" && contains(text, ": Machine Check")) {
    if (auto done = flush_machine_check(); !done) return done;
    check_.status = parse_unsigned(words.back(), 16);
    if (!check_.status) return no_number("the status of a machine check");
  } else if (!check_.status || (words[0] != "TSC" && words[0] != "PROCESSOR")) {
    return {};
  }
  add_evidence(check_.evidence, line_);
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    const auto take = [&](std::string_view name, int base, std::optional<std::uint64_t>& value) {
      if (words[i] != name) return true;
      value = parse_unsigned(words[i + 1], base);
      return value.has_value();
    };
    if (!take("ADDR", 16, check_.address) || !take("MISC", 16, check_.misc) ||
        !take("IPID", 16, check_.ipid) || !take("TIME", 10, check_.time)) {
      return no_number(words[i]);
    }
    if (words[i] == "SOCKET") check_.socket = small_number(words[i + 1]);
  }
  if (words[0] != "PROCESSOR") return {};
  // X86_VENDOR_AMD and X86_VENDOR_HYGON, which the kernel prints as numbers.
  check_.is_amd =
      words.size() > 1 && (take_prefix(text, "PROCESSOR 2:") || take_prefix(text, "PROCESSOR 9:"));
  return flush_machine_check();
}

EventKind kind_of_severity(std::string_view severity) {
  const bool lost = severity == "recoverable" || severity == "fatal";
  return lost ? EventKind::kUncorrected : EventKind::kCorrected;
}

Result<void> KernelLogReader::flush_section(CperRecord& record) {
  const CperSection section = std::exchange(record.section, {});
  if (!section.is_memory) return {};
  const std::string& severity = section.severity.empty() ? record.severity : section.severity;
  if (severity.empty()) {
    collector_.warn_once(place_, "a memory error without a severity: taken as a corrected one");
  }
  if (severity == "info") {  // cper_severity_strs (drivers/firmware/efi/cper.c)
    collector_.warn_once(place_, "what firmware tells for information is no error: left out");
    return {};
  }
  Event event = event_of(kind_of_severity(severity), std::nullopt, section.evidence);
  event.label = section.label;
  event.dram = section.dram;
  event.observed = section.observed;
  if (section.address) {
    event.granularity = section.mask ? size_of_address_mask(*section.mask) : 0;
    event.range = block_at(*section.address, std::max<std::uint64_t>(event.granularity, 1));
    if (!event.range) event.granularity = 0;
  }
  return collector_.hand_over(std::move(event));
}

Result<CperRecord*> KernelLogReader::record_of(std::string_view id) {
  constexpr std::size_t kOpenRecords = 8;
  const auto found = std::find_if(records_.begin(), records_.end(),
                                  [id](const CperRecord& record) { return record.id == id; });
  if (found != records_.end()) return &*found;
  if (records_.size() == kOpenRecords) {
    if (const auto done = flush_section(records_.front()); !done) return done.error();
    records_.erase(records_.begin());
  }
  records_.push_back({.id = std::string(id), .severity = {}, .section = {}});
  return &records_.back();
}

// What the fields of a memory section say.
bool take_cper_field(std::string_view text, CperSection& section) {
  if (take_prefix(text, "section_type: ")) section.is_memory = text == "memory error";
  if (take_prefix(text, "fru_text: ") || take_prefix(text, "DIMM location: ")) {
    section.label = text;
  }
  if (take_prefix(text, "physical_address: ")) {
    section.address = parse_prefixed_hex(text);
    return section.address.has_value();
  }
  if (take_prefix(text, "physical_address_mask: ")) {
    section.mask = parse_prefixed_hex(text);
    return section.mask.has_value();
  }
  if (text.substr(0, 5) == "node:" || text.substr(0, 5) == "card:") {
    take_coordinates(text, section.dram);
  }
  return true;
}

// One line of cper_estatus_print() and cper_print_mem() in drivers/firmware/efi/cper.c.
Result<void> KernelLogReader::take_cper(std::string_view id, std::string_view text) {
  constexpr std::string_view kSource = "Hardware error from APEI";
  const bool new_section = text.substr(0, 6) == "Error " && contains(text, ", type: ");
  const auto record = record_of(id);
  if (!record) return record.error();
  CperRecord& open = **record;
  if (new_section || text.substr(0, kSource.size()) == kSource) {
    if (auto done = flush_section(open); !done) return done;
    if (!new_section) open.severity.clear();
  }
  open.section.observed = observed_;
  add_evidence(open.section.evidence, line_);
  std::string_view severity = text;
  if (take_prefix(severity, "event severity: ")) open.severity = severity;
  if (new_section) open.section.severity = text.substr(text.find(", type: ") + 8);
  if (!take_cper_field(text, open.section)) return no_number("0x and a physical address or mask");
  return {};
}

// Whether a line without an id is of a record of the previous boot (drivers/acpi/apei/bert.c).
bool is_cper_field(std::string_view text) {
  constexpr std::string_view kStarts[] = {
      "event severity: ",        "Error ", "section_type: ", "fru_text: ",   "physical_address: ",
      "physical_address_mask: ", "node:",  "card:",          "error_type: ", "DIMM location: "};
  return std::any_of(std::begin(kStarts), std::end(kStarts), [text](std::string_view start) {
    return text.substr(0, start.size()) == start;
  });
}

Result<void> KernelLogReader::take_hardware_error(std::string_view id, std::string_view text) {
  text = trim(text);
  const bool machine_check = text.substr(0, 4) == "CPU " || text.substr(0, 4) == "TSC " ||
                             text.substr(0, 10) == "PROCESSOR ";
  if (id.empty() && machine_check) return take_machine_check(text);
  return !id.empty() || is_cper_field(text) ? take_cper(id, text) : Result<void>();
}

Result<void> KernelLogReader::take_message(std::string_view text) {
  std::string_view rest = text;
  take_prefix(rest, "mce: ");
  if (rest.substr(0, 1) == "{") {
    const auto end = rest.find('}');
    const std::string_view id = rest.substr(0, end == std::string_view::npos ? 0 : end + 1);
    rest.remove_prefix(id.size());
    return take_prefix(rest, "[Hardware Error]: ") ? take_hardware_error(id, rest) : Result<void>();
  }
  if (take_prefix(rest, "[Hardware Error]: ")) return take_hardware_error("", rest);
  if (take_prefix(rest, "Uncorrected hardware memory error in user-access at ")) {
    return take_user_access(rest);
  }
  rest = text;
  // Kernels from 6.1 put this before what the file says of soft offline too.
  const bool failure = take_prefix(rest, "Memory failure: ");
  if (take_prefix(rest, "soft offline: ") || take_prefix(rest, "Soft offline: ") ||
      take_prefix(rest, "soft_offline: ") || take_prefix(rest, "soft_offline_page: ")) {
    return take_soft_offline(rest);
  }
  if (failure) return take_memory_failure(rest);
  if (take_prefix(rest, "RAS: ") && take_prefix(rest, "Soft-offlining pfn: ")) {
    return take_pfn(rest, EventKind::kCorrected, "Soft-offlining");
  }
  if (take_prefix(rest, "Injecting memory failure for pfn ") ||
      take_prefix(rest, "Injecting memory failure at pfn ")) {
    return take_pfn(rest, EventKind::kInjected, "");
  }
  return take_prefix(rest, "EDAC MC") ? take_edac(rest) : Result<void>();
}

// Tools put blanks before the further lines of one message (dmesg, journalctl), whose text may be
// that of a user: what looks like a message of its own there is none.
bool is_continuation(std::string_view line) {
  return line.starts_with(' ') || line.starts_with('\t');
}

bool looks_like_ours(std::string_view line) {
  return contains(line, "[Hardware Error]") || contains(line, "emory failure") ||
         contains(line, "oft offline") || contains(line, "oft_offline") ||
         contains(line, "oft-offlining") || contains(line, "EDAC MC") ||
         contains(line, "hardware memory error");
}

Result<void> KernelLogReader::take_line(std::string_view line, const std::string& place) {
  if (is_continuation(line)) {
    if (looks_like_ours(line)) {
      collector_.warn_once(place,
                           "begins with a blank, as further lines of another message do, "
                           "whose text anybody may have made: left out");
    }
    return {};
  }
  const auto message = message_of(line);
  if (!message) return {};
  line_ = trim(line);
  place_ = place;
  observed_ = message->observed;
  return take_message(message->text);
}

Result<void> KernelLogReader::flush() {
  observed_.reset();
  if (auto done = flush_machine_check(); !done) return done;
  for (CperRecord& record : records_) {
    if (auto done = flush_section(record); !done) return done;
  }
  return {};
}

}  // namespace

Result<SourceReport> collect_kernel_log(ByteStream& stream, const SourceSettings& settings,
                                        const EventSink& sink) {
  Collector collector(sink);
  KernelLogReader log(settings, collector);
  LineReader reader(stream);
  auto read = for_each_log_line(
      reader, collector,
      [&](std::string_view line, const std::string& place) { return log.take_line(line, place); });
  if (read) read = log.flush();
  if (!read) return read.error();
  return collector.take_report();
}

}  // namespace poisonctl
