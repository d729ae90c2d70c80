#include "registry/sources/mcelog.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "registry/sources/collecting.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// Bits of MCi_STATUS (Intel SDM volume 3, "IA32_MCi_STATUS MSRs"; AMD APM volume 2 for Deferred).
constexpr unsigned kValid = 63;
constexpr unsigned kUncorrectedBit = 61;
constexpr unsigned kMiscValid = 59;
constexpr unsigned kAddressValid = 58;
constexpr unsigned kDeferredBit = 44;
// MCi_MISC: 6 bits of least valid address bit, then 3 of address mode, where 2 is physical.
constexpr std::uint64_t kLsbMask = 0x3f;
constexpr unsigned kModeShift = 6;
constexpr std::uint64_t kModeMask = 7;
constexpr std::uint64_t kPhysicalMode = 2;
// MCA_IPID: hardware id in bits 43:32; 0x96 is a unified memory controller (AMD PPRs).
constexpr unsigned kHardwareIdShift = 32;
constexpr std::uint64_t kHardwareIdMask = 0xfff;
constexpr std::uint64_t kMemoryController = 0x96;

constexpr std::uint64_t kLargestShare = 16;
// mcelog runs on x86 only and counts pages of 4 KiB.
constexpr std::uint64_t kMcelogPage = 4096;

bool has_bit(std::uint64_t value, unsigned bit) { return ((value >> bit) & 1U) != 0; }

bool is_memory_error(const MachineCheck& check, std::uint64_t status) {
  if (check.ipid) return ((*check.ipid >> kHardwareIdShift) & kHardwareIdMask) == kMemoryController;
  if (check.northbridge_ecc) return true;
  if (check.is_amd) return false;  // its other error codes need the model to tell
  // Memory controller and scrubber errors, whatever bit 12 (filtered) and the channel say.
  if ((status & 0xef80U) == 0x0080U) return true;
  // Data load and instruction fetch of data that was lost before: the address is of memory.
  const std::uint64_t code = status & 0xefffU;
  return has_bit(status, kUncorrectedBit) && (code == 0x0134U || code == 0x0150U);
}

EventKind kind_of(const MachineCheck& check, std::uint64_t status) {
  if (has_bit(status, kUncorrectedBit)) return EventKind::kUncorrected;
  const bool deferred = check.ipid && has_bit(status, kDeferredBit);
  return deferred ? EventKind::kDeferred : EventKind::kCorrected;
}

// Sets range and granularity of `event`, where the registers tell them.
void locate(const MachineCheck& check, std::uint64_t status, const SourceSettings& settings,
            Event& event) {
  if (!check.address || !has_bit(status, kAddressValid) || check.ipid) return;
  std::uint64_t size = 1;
  if (has_bit(status, kMiscValid) && !check.northbridge_ecc) {
    const std::uint64_t misc = check.misc.value_or(0);
    if (((misc >> kModeShift) & kModeMask) != kPhysicalMode) return;
    size = std::uint64_t{1} << (misc & kLsbMask);
  }
  const std::uint64_t most =
      std::max(settings.memory_end.value() / kLargestShare, settings.page_shift.page_size());
  if (size > most) return;
  event.range = ByteRange::from_size(PhysAddr(*check.address & ~(size - 1)), size);
  if (event.range && size > 1) event.granularity = size;
}

std::optional<Time> time_of(std::uint64_t seconds) {
  constexpr std::uint64_t kLast = std::numeric_limits<std::int64_t>::max() / 1'000'000'000;
  if (seconds == 0 || seconds > kLast) return std::nullopt;
  return Time(std::chrono::seconds(static_cast<std::int64_t>(seconds)));
}

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

// `text` after the last of "mcelog: " or "mcelog[PID]: ": mcelog can write to syslog too.
std::string_view without_tag(std::string_view text) {
  const auto tag = text.find("mcelog");
  if (tag == std::string_view::npos) return text;
  const auto end = text.find(": ", tag);
  if (end == std::string_view::npos || text.find(' ', tag) < end) return text;
  return text.substr(end + 2);
}

std::optional<std::uint64_t> parse_register(std::string_view word) {
  const auto value = parse_prefixed_hex(word);
  return value ? value : parse_unsigned(word, 16);
}

class McelogReader {
 public:
  McelogReader(const SourceSettings& settings, Collector& collector)
      : settings_(settings), collector_(collector) {}

  Result<void> take_line(std::string_view line, const std::string& place);
  Result<void> flush();

 private:
  enum class Counting { kNothing, kPages, kCorrected, kUncorrected };

  Result<void> take_registers(const std::vector<std::string_view>& words, const std::string& place);
  Result<void> take_register(std::string_view name, std::string_view word, bool is_raw,
                             const std::string& place);
  void take_decoded(std::string_view line);
  Result<bool> take_page(std::string_view line);
  Result<bool> take_count(std::string_view line, const std::vector<std::string_view>& words);
  Result<void> hand_over_page(std::string_view address, std::uint64_t count,
                              std::string_view result, std::string_view line);

  const SourceSettings& settings_;
  Collector& collector_;
  MachineCheck check_;
  bool in_record_ = false;
  Counting counting_ = Counting::kNothing;
  std::string dimm_line_;
  DramCoordinates dimm_;
  std::string dimm_name_;
};

Result<void> McelogReader::flush() {
  const MachineCheck check = std::exchange(check_, {});
  in_record_ = false;
  const auto event = event_of(check, settings_);
  return event ? collector_.hand_over(*event) : Result<void>();
}

Result<void> McelogReader::take_register(std::string_view name, std::string_view word, bool is_raw,
                                         const std::string& place) {
  const bool is_time = name == "TIME";
  const bool is_decimal = is_time || (name == "SOCKETID" && is_raw);
  const auto value = is_decimal ? parse_unsigned(word, 10) : parse_register(word);
  if (!value) {
    return bad_data(place, fmt::format("{} '{}': expected a number of at most 64 bits; the log is "
                                       "damaged here",
                                       name, printable(word)));
  }
  if (name == "STATUS") check_.status = value;
  if (name == "ADDR") check_.address = value;
  if (name == "MISC") check_.misc = value;
  if (is_time) check_.time = value;
  if (name == "SOCKETID" && *value <= std::numeric_limits<std::uint32_t>::max()) {
    check_.socket = static_cast<std::uint32_t>(*value);
  }
  return {};
}

// "MISC 8c ADDR 12345000", "STATUS ... MCGSTATUS ...", "SOCKETID 0": names with their values. A
// line that begins with another word is text.
Result<void> McelogReader::take_registers(const std::vector<std::string_view>& words,
                                          const std::string& place) {
  constexpr std::string_view kNames[] = {"STATUS", "ADDR", "MISC", "TIME", "SOCKETID"};
  constexpr std::string_view kFirst[] = {"CPU",  "STATUS", "ADDR",   "MISC",
                                         "TIME", "MCGCAP", "APICID", "SOCKETID"};
  if (std::find(std::begin(kFirst), std::end(kFirst), words[0]) == std::end(kFirst)) return {};
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    if (std::find(std::begin(kNames), std::end(kNames), words[i]) == std::end(kNames)) continue;
    const bool is_raw = i == 0;  // `mcelog --raw` has one register a line
    auto done = take_register(words[i], words[i + 1], is_raw, place);
    if (!done || words[i] == "TIME") return done;  // a date for people follows
    ++i;
  }
  return {};
}

// What the decoders for some processors add in words.
void McelogReader::take_decoded(std::string_view line) {
  const auto number_after = [line](std::string_view text) -> std::optional<std::uint32_t> {
    if (!starts_with(line, text)) return std::nullopt;
    const auto number = parse_unsigned(trim(line.substr(text.size())), 10);
    if (!number || *number > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
    return static_cast<std::uint32_t>(*number);
  };
  if (const auto slot = number_after("Memory DIMM ID of error:")) check_.slot = slot;
  if (const auto channel = number_after("Memory channel ID of error:")) check_.channel = channel;
  if (starts_with(line, "Northbridge") && line.find("ECC error") != std::string_view::npos) {
    check_.northbridge_ecc = true;
  }
}

Result<void> McelogReader::hand_over_page(std::string_view address, std::uint64_t count,
                                          std::string_view result, std::string_view line) {
  const auto value = parse_unsigned(address, 16);
  const auto range = value
                         ? ByteRange::from_size(PhysAddr(*value & ~(kMcelogPage - 1)), kMcelogPage)
                         : std::nullopt;
  Event event = event_of(EventKind::kCorrected, range, line);
  event.granularity = kMcelogPage;
  event.count = count;
  event.result = result;
  return collector_.hand_over(std::move(event));
}

// What mcelog says when it has counted enough on a page. Whether the line was such a one.
Result<bool> McelogReader::take_page(std::string_view line) {
  constexpr std::string_view kStarts[] = {"Corrected memory errors on page ", "Offlining page ",
                                          "Soft offlining of page "};
  for (const std::string_view start : kStarts) {
    if (!starts_with(line, start)) continue;
    const std::string_view rest = line.substr(start.size());
    const std::string_view address = rest.substr(0, rest.find(' '));
    if (!parse_unsigned(address, 16)) return false;
    const std::string_view what = trim(rest.substr(address.size()));
    const auto done = hand_over_page(address, 1, what.empty() ? trim(start) : what, line);
    return done ? Result<bool>(true) : done.error();
  }
  return false;
}

// The counts of `mcelog --client`. Whether the line was one of them.
Result<bool> McelogReader::take_count(std::string_view line,
                                      const std::vector<std::string_view>& words) {
  if (line == "Per page corrected memory statistics:") {
    counting_ = Counting::kPages;
    return true;
  }
  if (words.size() == 6 && words[0] == "SOCKET" && words[2] == "CHANNEL" && words[4] == "DIMM") {
    const auto number = [](std::string_view word) -> std::optional<std::uint32_t> {
      const auto value = parse_unsigned(word, 10);  // or "any"
      if (!value || *value > std::numeric_limits<std::uint32_t>::max()) return std::nullopt;
      return static_cast<std::uint32_t>(*value);
    };
    dimm_ = {};
    dimm_.socket = number(words[1]);
    dimm_.channel = number(words[3]);
    dimm_.slot = number(words[5]);
    dimm_line_ = line;
    dimm_name_.clear();
    return true;
  }
  if (words.size() >= 2 && words[0] == "DMI_NAME") {
    const auto begin = line.find('"');
    const auto end = begin == std::string_view::npos ? begin : line.find('"', begin + 1);
    if (end != std::string_view::npos) dimm_name_ = line.substr(begin + 1, end - begin - 1);
    return true;
  }
  if (line == "corrected memory errors:" || line == "uncorrected memory errors:") {
    counting_ = line[0] == 'c' ? Counting::kCorrected : Counting::kUncorrected;
    return true;
  }
  if (counting_ == Counting::kPages && words.size() >= 4 && words[1] == "total") {
    const auto count = parse_count(words[2]);
    if (!count || *count == 0 || words[0].back() != ':') return false;
    const auto quote = line.rfind('"');
    const std::string_view state = quote == std::string_view::npos ? "" : line.substr(quote + 1);
    const auto done =
        hand_over_page(words[0].substr(0, words[0].size() - 1), *count, trim(state), line);
    return done ? Result<bool>(true) : done.error();
  }
  const bool of_dimm = counting_ == Counting::kCorrected || counting_ == Counting::kUncorrected;
  if (of_dimm && words.size() == 2 && words[1] == "total") {
    const auto count = parse_count(words[0]);
    if (!count) return false;
    if (*count == 0) return true;
    const bool corrected = counting_ == Counting::kCorrected;
    Event event = event_of(
        corrected ? EventKind::kCorrected : EventKind::kUncorrected, std::nullopt,
        fmt::format("{} {}corrected memory errors: {}", dimm_line_, corrected ? "" : "un", line));
    event.count = *count;
    event.dram = dimm_;
    event.label = dimm_name_;
    const auto done = collector_.hand_over(std::move(event));
    return done ? Result<bool>(true) : done.error();
  }
  return false;
}

Result<void> McelogReader::take_line(std::string_view line, const std::string& place) {
  const std::string_view text = trim(without_tag(line));
  const auto words = split_words(text);
  if (words.empty()) {  // a raw record ends with one; a decoded one has none
    return check_.status ? flush() : Result<void>();
  }
  const auto page = take_page(text);
  if (!page) return page.error();
  const auto counted = *page ? page : take_count(text, words);
  if (!counted) return counted.error();
  if (*counted) return {};
  const bool begins = starts_with(text, "Hardware event") || starts_with(text, "HARDWARE ERROR") ||
                      (words[0] == "CPU" && words.size() > 1 && check_.status);
  if (begins && in_record_) {
    if (auto done = flush(); !done) return done;
  }
  if (!begins && !in_record_ && words[0] != "CPU") return {};
  in_record_ = true;
  counting_ = Counting::kNothing;
  add_evidence(check_.evidence, text);
  take_decoded(text);
  return take_registers(words, place);
}

}  // namespace

void add_evidence(std::string& evidence, std::string_view line) {
  if (evidence.size() > Event::kEvidenceLimit) return;  // limit_texts() marks the cut
  if (!evidence.empty()) evidence += '\n';
  evidence += line.substr(0, Event::kEvidenceLimit);
}

std::optional<Event> event_of(const MachineCheck& check, const SourceSettings& settings) {
  if (!check.status || !has_bit(*check.status, kValid)) return std::nullopt;
  const std::uint64_t status = *check.status;
  if (!is_memory_error(check, status)) return std::nullopt;
  Event event = event_of(kind_of(check, status), std::nullopt, check.evidence);
  event.observed = check.time ? time_of(*check.time) : std::nullopt;
  event.dram.socket = check.socket;
  event.dram.channel = check.channel;
  event.dram.slot = check.slot;
  locate(check, status, settings, event);
  return event;
}

Result<SourceReport> collect_mcelog(ByteStream& stream, const SourceSettings& settings,
                                    const EventSink& sink) {
  Collector collector(sink);
  McelogReader mcelog(settings, collector);
  LineReader reader(stream);
  auto read =
      for_each_log_line(reader, collector, [&](std::string_view line, const std::string& place) {
        return mcelog.take_line(line, place);
      });
  if (read) read = mcelog.flush();
  if (!read) return read.error();
  return collector.take_report();
}

}  // namespace poisonctl
