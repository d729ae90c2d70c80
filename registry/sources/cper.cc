#include "registry/sources/cper.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "registry/bytes.h"
#include "registry/sources/collecting.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using std::uint32_t;
using std::uint64_t;

constexpr std::string_view kExpected =
    "CPER records (UEFI, appendix N) or the error blocks of an ACPI BERT";

// The largest that the kernel takes of firmware is 64 KiB (GHES_ESTATUS_MAX_SIZE in
// drivers/acpi/apei/ghes.c); ERST's are smaller.
constexpr uint64_t kLargestRecord = uint64_t{1} << 20U;
// A place of a larger share of memory than 1 in so many says nothing.
constexpr uint64_t kLargestShare = 16;

// Tables N.1 and N.4.
constexpr std::string_view kSignature = "CPER";
constexpr uint64_t kHeaderSize = 128;
constexpr uint64_t kDescriptorSize = 72;
constexpr uint64_t kFruTextSize = 20;
constexpr uint32_t kSignatureEnd = 0xFFFFFFFFU;
constexpr uint32_t kTimestampValid = 1U << 1U;
constexpr uint32_t kSimulated = 1U << 2U;
constexpr uint32_t kFruTextValid = 1U << 1U;
constexpr uint32_t kLatentError = 1U << 5U;
enum Severity : uint32_t { kRecoverable, kFatal, kCorrected, kInformational, kSeverities };
constexpr std::array<std::string_view, kSeverities> kSeverityWords = {"recoverable", "fatal",
                                                                      "corrected", "informational"};

// Generic Error Status Block and Generic Error Data Entry (ACPI 6.5, tables 18.11 and 18.12).
constexpr uint64_t kBlockSize = 20;
constexpr uint32_t kBlockStatusBits = 0x3FFF;  // kinds of errors, and the number of entries
constexpr uint64_t kEntrySize = 64;
constexpr uint64_t kEntrySizeRevision3 = 72;  // with a time stamp
constexpr uint32_t kEntryRevision3 = 0x0300;
constexpr uint32_t kEntryTimestampValid = 1U << 2U;

// GUIDs as their bytes lie in a record.
constexpr std::string_view kMemory1{
    "\x14\x11\xbc\xa5\x64\x6f\xde\x4e\xb8\x63\x3e\x83\xed\x7c\x83\xb1", 16};
constexpr std::string_view kMemory2{
    "\xfc\x04\xec\x61\xe6\x48\x13\xd8\x25\xc9\x8d\xaa\x44\x75\x0b\x12", 16};
constexpr std::string_view kCxlGeneralMedia{
    "\x77\x0a\xcd\xfb\x60\xc2\x7f\x41\x85\xa9\x08\x8b\x16\x21\xeb\xa6", 16};
constexpr std::string_view kCxlDram{
    "\xb3\xcb\x1d\x60\x06\x9c\xab\x4e\xb8\xaf\x4e\x9b\xfb\x5c\x96\x24", 16};

// A section with what its headers say of it. The views are into the record.
struct Section {
  std::string_view type;
  uint32_t severity = 0;
  uint32_t flags = 0;     // of the descriptor; blocks of ACPI have others
  std::string_view fru;   // empty: not valid
  std::string_view data;  // the section itself
  std::optional<Time> observed;
  bool simulated = false;
  std::string place;  // "FILE: offset 0x...: "
};

uint64_t number_at(std::string_view bytes, uint64_t at, uint64_t size) {
  return little_endian(bytes.substr(at, size));
}

bool bit(uint64_t bits, unsigned number) { return (bits >> number & 1U) != 0; }

// A field of at most 4 bytes, where bit `number` of `valid` says that it is there.
struct FieldsOf {
  std::string_view bytes;
  uint64_t valid = 0;
  std::optional<uint32_t> operator()(unsigned number, uint64_t at, uint64_t size) const {
    if (!bit(valid, number)) return std::nullopt;
    return static_cast<uint32_t>(number_at(bytes, at, size));
  }
};

// What the first bytes of a time stamp of table N.1 say, in binary-coded decimals: second, minute,
// hour, flags, day, month, year, century. Nothing when that is no time after 1970.
std::optional<Time> time_of(std::string_view stamp) {
  std::array<unsigned, 8> parts{};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto byte = static_cast<unsigned char>(stamp[i]);
    if (i != 3 && (byte >> 4U > 9 || (byte & 0xFU) > 9)) return std::nullopt;
    parts.at(i) = (byte >> 4U) * 10 + (byte & 0xFU);
  }
  return time_from_rfc3339(fmt::format("{:02}{:02}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts[7],
                                       parts[6], parts[5], parts[4], parts[2], parts[1], parts[0]));
}

// As much of a section as evidence has room for: thousands of descriptors may share one of a MiB.
constexpr std::size_t kShownData = Event::kEvidenceLimit / 2;

std::string hex(std::string_view bytes) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    text += kDigits[value >> 4U];
    text += kDigits[value & 0xFU];
  }
  return text;
}

// Bytes of a stream by their offset, of which only one record and one chunk are held.
class Window {
 public:
  explicit Window(ByteStream& stream) : stream_(stream) {}
  // Whether the input has `size` bytes more. Ends what bytes() gave. Errors: kIo.
  Result<bool> has(uint64_t size) {
    constexpr std::size_t kChunk = std::size_t{64} << 10U;
    while (bytes().size() < size && !ended_) {
      buffer_.erase(0, std::exchange(at_, 0));
      const std::size_t before = buffer_.size();
      buffer_.resize(before + kChunk);
      const auto got = stream_.read(std::span(buffer_).subspan(before));
      if (!got) return got.error();
      buffer_.resize(before + *got);
      ended_ = *got == 0;
    }
    return bytes().size() >= size;
  }
  [[nodiscard]] std::string_view bytes() const { return std::string_view(buffer_).substr(at_); }
  void drop(uint64_t size) {
    at_ += size;
    offset_ += size;
  }
  [[nodiscard]] uint64_t offset() const { return offset_; }
  [[nodiscard]] std::string place(uint64_t further = 0) const {
    return fmt::format("{}: offset {:#x}: ", stream_.shown(), offset_ + further);
  }

 private:
  ByteStream& stream_;
  std::string buffer_;
  std::size_t at_ = 0;
  uint64_t offset_ = 0;
  bool ended_ = false;
};

class CperReader {
 public:
  CperReader(ByteStream& stream, const SourceSettings& settings, const EventSink& sink)
      : shown_(stream.shown()), settings_(settings), window_(stream), collector_(sink) {}
  Result<SourceReport> run();

 private:
  Result<void> next();
  Result<uint64_t> take_record();
  Result<uint64_t> take_block();
  Result<bool> end_of_region();
  Result<void> take_section(const Section& section);
  Result<void> take_memory(const Section& section, Event event);
  Result<void> take_cxl(const Section& section, Event event);
  Result<std::string_view> whole(uint64_t size, std::string_view what);
  void locate(const Section& section, uint64_t valid, Event& event);
  std::optional<Time> checked_time(std::string_view stamp, std::string_view place);

  std::string shown_;
  const SourceSettings& settings_;
  Window window_;
  Collector collector_;
  bool ended_ = false;
  uint64_t others_ = 0;
  uint64_t informational_ = 0;
};

// The next `size` bytes.
Result<std::string_view> CperReader::whole(uint64_t size, std::string_view what) {
  const auto there = window_.has(size);
  if (!there) return there.error();
  if (*there) return window_.bytes().substr(0, size);
  return bad_data(window_.place(), fmt::format("{} of {} bytes, of which {} are there: expected {}",
                                               what, size, window_.bytes().size(), kExpected));
}

std::optional<Time> CperReader::checked_time(std::string_view stamp, std::string_view place) {
  auto time = time_of(stamp);
  if (!time) {
    collector_.warn_once(place, fmt::format("time stamp {} is no time: taken as not known",
                                            hex(stamp.substr(0, 8))));
  }
  return time;
}

// Returns how many bytes it was.
Result<uint64_t> CperReader::take_record() {
  const auto head = whole(kHeaderSize, "the header of a record");
  if (!head) return head.error();
  const uint64_t count = number_at(*head, 10, 2);
  const uint64_t valid = number_at(*head, 16, 4);
  const uint64_t length = number_at(*head, 20, 4);
  const uint64_t flags = number_at(*head, 104, 4);
  const std::string place = window_.place();
  if (number_at(*head, 6, 4) != kSignatureEnd || number_at(*head, 4, 2) >> 8U != 1) {
    return bad_data(place, "the header is damaged: expected revision 1 and the end of a signature");
  }
  if (length > kLargestRecord || length < kHeaderSize + count * kDescriptorSize) {
    return bad_data(place, fmt::format("a record of {} bytes with {}: expected {} to {} bytes",
                                       length, counted(count, "section"),
                                       kHeaderSize + count * kDescriptorSize, kLargestRecord));
  }
  const auto record = whole(length, "a record");
  if (!record) return record.error();
  std::optional<Time> observed;
  if ((valid & kTimestampValid) != 0) observed = checked_time(record->substr(24, 8), place);
  for (uint64_t i = 0; i < count; ++i) {
    const auto descriptor = record->substr(kHeaderSize + i * kDescriptorSize, kDescriptorSize);
    const uint64_t offset = number_at(descriptor, 0, 4);
    const uint64_t size = number_at(descriptor, 4, 4);
    if (offset < kHeaderSize + count * kDescriptorSize || offset + size > length) {
      return bad_data(place, fmt::format("section {} is at {:#x} with {} bytes: expected a place "
                                         "behind the headers in the {} bytes of the record",
                                         i, offset, size, length));
    }
    const bool has_fru = (number_at(descriptor, 10, 1) & kFruTextValid) != 0;
    const Section section{.type = descriptor.substr(16, 16),
                          .severity = static_cast<uint32_t>(number_at(descriptor, 48, 4)),
                          .flags = static_cast<uint32_t>(number_at(descriptor, 12, 4)),
                          .fru = has_fru ? descriptor.substr(52, kFruTextSize) : std::string_view(),
                          .data = record->substr(offset, size),
                          .observed = observed,
                          .simulated = (flags & kSimulated) != 0,
                          .place = window_.place(offset)};
    if (auto taken = take_section(section); !taken) return taken.error();
  }
  return length;
}

// How long it is: bert_print_all() in drivers/acpi/apei/bert.c.
Result<uint64_t> CperReader::take_block() {
  const auto head = whole(kBlockSize, "an error block");
  if (!head) return head.error();
  const std::string place = window_.place();
  const uint64_t raw_offset = number_at(*head, 4, 4);
  const uint64_t raw_length = number_at(*head, 8, 4);
  const uint64_t data_length = number_at(*head, 12, 4);
  const uint64_t length =
      std::max(kBlockSize + data_length, raw_length == 0 ? uint64_t{0} : raw_offset + raw_length);
  if ((number_at(*head, 0, 4) & ~uint64_t{kBlockStatusBits}) != 0 ||
      number_at(*head, 16, 4) >= kSeverities) {
    return bad_data(place, fmt::format("expected {}", kExpected));
  }
  if (length > kLargestRecord) {
    return bad_data(place, fmt::format("an error block of {} bytes: expected at most {}", length,
                                       kLargestRecord));
  }
  const auto block = whole(length, "an error block");
  if (!block) return block.error();
  const uint64_t end = kBlockSize + data_length;
  for (uint64_t at = kBlockSize; at < end;) {
    if (end - at < kEntrySize) {
      return bad_data(window_.place(at), fmt::format("an entry of {} bytes: expected at least {}",
                                                     end - at, kEntrySize));
    }
    const auto entry = block->substr(at, end - at);
    const bool stamped = number_at(entry, 20, 2) >= kEntryRevision3;
    const uint64_t size = number_at(entry, 24, 4);
    const uint64_t header = stamped ? kEntrySizeRevision3 : kEntrySize;
    if (header + size > entry.size()) {
      return bad_data(window_.place(at), fmt::format("an entry of {} bytes in the {} that are left",
                                                     header + size, entry.size()));
    }
    const uint64_t valid = number_at(entry, 22, 1);
    std::optional<Time> observed;
    if (stamped && (valid & kEntryTimestampValid) != 0) {
      observed = checked_time(entry.substr(kEntrySize, 8), place);
    }
    const bool has_fru = (valid & kFruTextValid) != 0;
    const Section section{.type = entry.substr(0, 16),
                          .severity = static_cast<uint32_t>(number_at(entry, 16, 4)),
                          .flags = 0,
                          .fru = has_fru ? entry.substr(44, kFruTextSize) : std::string_view(),
                          .data = entry.substr(header, size),
                          .observed = observed,
                          .simulated = false,
                          .place = window_.place(at + header)};
    if (auto taken = take_section(section); !taken) return taken.error();
    at += header + size;
  }
  return length;
}

// A block without an error is where firmware stopped writing: the kernel reads no further either.
Result<bool> CperReader::end_of_region() {
  if (number_at(window_.bytes(), 0, std::min<uint64_t>(4, window_.bytes().size())) != 0) {
    return false;
  }
  const std::string place = window_.place();
  bool zeros = true;
  for (;;) {
    const auto more = window_.has(1);
    if (!more) return more.error();
    if (!*more) break;
    zeros = zeros && window_.bytes().find_first_not_of('\0') == std::string_view::npos;
    window_.drop(window_.bytes().size());
  }
  if (!zeros) {
    collector_.warn(place +
                    "a block without an error ends the region: what is behind was not read");
  }
  return true;
}

Result<void> CperReader::take_section(const Section& section) {
  const bool memory = section.type == kMemory1 || section.type == kMemory2;
  if (!memory && section.type != kCxlGeneralMedia && section.type != kCxlDram) {
    ++others_;
    return {};
  }
  if (section.severity >= kSeverities) {
    return bad_data(section.place, fmt::format("severity {}: expected 0 to {}", section.severity,
                                               kSeverities - 1));
  }
  if (section.severity == kInformational) {
    ++informational_;
    return {};
  }
  EventKind kind = section.severity == kCorrected ? EventKind::kCorrected : EventKind::kUncorrected;
  if (kind == EventKind::kUncorrected && (section.flags & kLatentError) != 0) {
    kind = EventKind::kDeferred;
  }
  if (section.simulated) kind = EventKind::kInjected;
  Event event = event_of(
      kind, std::nullopt,
      fmt::format("{} {}: {}", memory ? "memory error" : "CXL event",
                  kSeverityWords.at(section.severity), hex(section.data.substr(0, kShownData))));
  event.observed = section.observed;
  return memory ? take_memory(section, std::move(event)) : take_cxl(section, std::move(event));
}

// Sets range and granularity: both sections begin with the same fields.
void CperReader::locate(const Section& section, uint64_t valid, Event& event) {
  if (!bit(valid, 1)) return;
  const uint64_t address = number_at(section.data, 16, 8);
  const uint64_t mask = number_at(section.data, 24, 8);
  const uint64_t size = bit(valid, 2) ? size_of_address_mask(mask) : 0;
  const uint64_t most =
      std::max(settings_.memory_end.value() / kLargestShare, settings_.page_shift.page_size());
  if (size > most) {
    collector_.warn_once(section.place, fmt::format("a place of more than 1/{} of memory says "
                                                    "nothing: kept as evidence without a place",
                                                    kLargestShare));
    return;
  }
  event.granularity = size;
  const uint64_t piece = std::max<uint64_t>(size, 1);
  event.range = ByteRange::from_size(PhysAddr(address & ~(piece - 1)), piece);
  if (event.range) return;
  event.granularity = 0;
  collector_.warn_once(section.place,
                       fmt::format("a place beyond {}, the last address that any machine has: kept "
                                   "as evidence without a place",
                                   to_hex(kPhysAddrLimit - 1)));
}

// Tables N.5 and N.6 have the same fields up to the bank, then others.
Result<void> CperReader::take_memory(const Section& section, Event event) {
  // Section 1 ended before its byte 73 up to UEFI 2.2: struct cper_sec_mem_err_old in
  // include/linux/cper.h.
  constexpr uint64_t kOldSize = 73;
  constexpr uint64_t kSize1 = 80;
  constexpr uint64_t kSize2 = 96;
  const bool second = section.type == kMemory2;
  const uint64_t least = second ? kSize2 : kOldSize;
  const std::string_view data = section.data;
  if (data.size() < least) {
    return bad_data(section.place, fmt::format("a memory error section of {} bytes: expected at "
                                               "least {}",
                                               data.size(), least));
  }
  uint64_t valid = number_at(data, 0, 8);
  // Without the bytes that the later bits are about.
  if (!second && data.size() < kSize1) valid &= (uint64_t{1} << 15U) - 1;
  locate(section, valid, event);

  const FieldsOf field{.bytes = data, .valid = valid};
  DramCoordinates& dram = event.dram;
  dram.socket = field(3, 32, 2);
  dram.controller = field(4, 34, 2);
  dram.slot = field(5, 36, 2);
  dram.bank = field(6, 38, 2);
  if (second) {
    dram.device = field(7, 40, 4);
    dram.row = field(8, 44, 4);
    dram.column = field(9, 48, 4);
    dram.rank = field(10, 52, 4);
  } else {
    dram.device = field(7, 40, 2);
    dram.row = field(8, 42, 2);
    dram.column = field(9, 44, 2);
    dram.rank = field(15, 74, 2);
    // Bits 16 and 17 of the row.
    constexpr unsigned kRowHighBits = 3;
    if (dram.row && bit(valid, 18)) {
      *dram.row |= (static_cast<uint32_t>(number_at(data, 73, 1)) & kRowHighBits) << 16U;
    }
  }
  // Where the bank is told as group and address, they are the two bytes of it.
  const unsigned group = second ? 20 : 19;
  if (const auto value = field(group, 39, 1)) dram.bank_group = value;
  if (const auto value = field(group + 1, 38, 1)) dram.bank = value;
  if (!section.fru.empty()) {
    event.label = printable(section.fru.substr(0, section.fru.find('\0')));
  }
  return collector_.hand_over(std::move(event));
}

// struct cxl_cper_event_rec in include/cxl/event.h: which device, then an event record of CXL 3.1
// (tables 8-45, 8-46) without its UUID, which is the type of the section.
Result<void> CperReader::take_cxl(const Section& section, Event event) {
  constexpr uint64_t kHead = 32;
  constexpr uint64_t kRecord = 112;
  constexpr uint64_t kLine = 64;  // device addresses count in these; the bits below are flags
  const std::string_view data = section.data;
  if (data.size() < kHead + kRecord) {
    return bad_data(section.place, fmt::format("a CXL event of {} bytes: expected at least {}",
                                               data.size(), kHead + kRecord));
  }
  const uint64_t valid = number_at(data, 4, 8);
  if (!bit(valid, 2)) {  // there is no event record
    ++others_;
    return {};
  }
  const std::string_view record = data.substr(kHead, kRecord);
  // Nanoseconds since 1970; 0 when the host never set the clock of the device.
  const uint64_t stamp = number_at(record, 8, 8);
  if (!event.observed && stamp != 0 &&
      stamp <= uint64_t{std::numeric_limits<std::int64_t>::max()}) {
    event.observed = Time(std::chrono::nanoseconds(static_cast<std::int64_t>(stamp)));
  }
  constexpr uint64_t kHostInjectPoison = 4;  // of the transaction types
  const bool lost = bit(number_at(record, 40, 1), 0);
  if (event.kind != EventKind::kInjected) {
    event.kind = lost ? EventKind::kUncorrected : EventKind::kCorrected;
    if (number_at(record, 42, 1) == kHostInjectPoison) event.kind = EventKind::kInjected;
  }
  event.label = "cxl";
  if (bit(valid, 1)) {
    event.label += fmt::format(" serial {:#x}", number_at(data, 24, 8));
  } else if (bit(valid, 0)) {
    event.label +=
        fmt::format(" {:04x}:{:02x}:{:02x}.{:x}", number_at(data, 19, 2), number_at(data, 18, 1),
                    number_at(data, 17, 1), number_at(data, 16, 1));
  }
  event.label += fmt::format(" dpa {:#x}+{:#x}", number_at(record, 32, 8) & ~(kLine - 1), kLine);

  const FieldsOf field{.bytes = record, .valid = number_at(record, 43, 2)};
  DramCoordinates& dram = event.dram;
  dram.channel = field(0, 45, 1);
  dram.rank = field(1, 46, 1);
  if (section.type == kCxlGeneralMedia) {
    dram.device = field(2, 47, 3);
  } else {
    dram.bank_group = field(3, 50, 1);
    dram.bank = field(4, 51, 1);
    dram.row = field(5, 52, 3);
    dram.column = field(6, 55, 2);
  }
  return collector_.hand_over(std::move(event));
}

Result<void> CperReader::next() {
  const auto some = window_.has(1);
  if (!some) return some.error();
  if (!*some) {
    ended_ = true;
    if (window_.offset() != 0) return {};
    return bad_data(window_.place(), fmt::format("nothing here: expected {}", kExpected));
  }
  if (const auto four = window_.has(kSignature.size()); !four) return four.error();
  if (window_.bytes().substr(0, kSignature.size()) == kSignature) {
    const auto length = take_record();
    if (!length) return length.error();
    window_.drop(*length);
    return {};
  }
  const auto end = end_of_region();
  if (!end) return end.error();
  ended_ = *end;
  if (ended_) return {};
  const auto length = take_block();
  if (!length) return length.error();
  window_.drop(*length);
  return {};
}

Result<SourceReport> CperReader::run() {
  while (!ended_) {
    if (auto done = next(); !done) return done.error();
  }
  if (others_ != 0) {
    collector_.warn(fmt::format("{}: {} about other things than memory: left out", shown_,
                                counted(others_, "section")));
  }
  if (informational_ != 0) {
    collector_.warn(fmt::format("{}: {} only for information: left out", shown_,
                                counted(informational_, "section")));
  }
  return collector_.take_report();
}

}  // namespace

Result<SourceReport> collect_cper(ByteStream& stream, const SourceSettings& settings,
                                  const EventSink& sink) {
  return CperReader(stream, settings, sink).run();
}

}  // namespace poisonctl
