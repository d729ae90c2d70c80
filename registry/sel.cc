#include "registry/sel.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <set>
#include <string_view>

#include "registry/aligned_blocks.h"
#include "registry/bytes.h"

namespace poisonctl {

namespace {

constexpr std::uint8_t kStorage = 0x0A;  // network function (table 5-1)
// Table G-1.
enum Command : std::uint8_t { kGetInfo = 0x40, kGetEntry = 0x43, kAddEntry = 0x44 };

// Completion codes (table 5-2).
enum Completion : std::uint8_t {
  kDone = 0x00,
  kBusy = 0xC0,
  kInvalidCommand = 0xC1,
  kTimedOut = 0xC3,
  kOutOfSpace = 0xC4,
  kNotPresent = 0xCB,
  kUpdating = 0xD1,
  kStarting = 0xD2,
  kNotInThisState = 0xD5,
};

constexpr std::uint16_t kFirst = 0x0000;
constexpr std::uint16_t kLast = 0xFFFF;
constexpr int kAttempts = 6;
constexpr std::chrono::milliseconds kFirstPause{50};

// A record has its content behind id and type, and behind the time where the type has one.
constexpr std::size_t kTypeAt = 2;
constexpr std::size_t kTimeAt = 3;
constexpr std::size_t kContentAt = 7;
constexpr std::uint8_t kFirstWithoutTime = 0xE0;

// The first record: a system event (32.1) of the sensor type "Memory" (table 42-3), by system
// management software (table 5-4), with what every BMC writes there for an uncorrectable error or
// for too many corrected ones.
constexpr std::uint8_t kSystemEvent = 0x02;
constexpr std::uint8_t kSoftware = 0x20U << 1U | 1U;
constexpr std::uint8_t kRevision = 0x04;
constexpr std::uint8_t kMemorySensor = 0x0C;
constexpr std::uint8_t kSensorSpecific = 0x6F;  // asserted
constexpr std::uint8_t kUncorrectable = 0x01;
constexpr std::uint8_t kLimitReached = 0x05;
constexpr std::uint8_t kData2IsOurs = 0x80;    // an "OEM code": the check sum of the second record
constexpr std::uint8_t kData3IsModule = 0x30;  // sensor specific: which memory module
// The second, an OEM record without a time, as it needs the room (32.3): three bytes by which it is
// known, frame number in units of 4 KiB with log2 of the block's size in the uppermost four of 48
// bits, module, episode with the uppermost bit for lost data.
constexpr std::uint8_t kPlaceType = 0xE5;
constexpr std::array<std::uint8_t, 3> kMark = {'P', 'c', 0x01};
constexpr unsigned kFrameBits = 44;
constexpr unsigned kFrameShift = 12;
constexpr std::uint16_t kDataLost = 0x8000;

void put(SelBytes& record, std::size_t at, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) {
    record.at(at + i) = static_cast<std::uint8_t>(value >> (8 * i) & 0xFFU);
  }
}

std::uint64_t number_in(const SelBytes& record, std::size_t at, std::size_t bytes) {
  std::uint64_t value = 0;
  for (std::size_t i = bytes; i-- > 0;) value = value << 8U | record.at(at + i);
  return value;
}

// Ties the first record to the second.
std::uint8_t check_sum(const SelBytes& place) {
  std::uint8_t sum = 0;
  for (std::size_t i = kTimeAt; i < place.size(); ++i) {
    sum = static_cast<std::uint8_t>(std::rotl(sum, 1) ^ place.at(i));
  }
  return sum;
}

SelBytes record_from(std::string_view bytes) {
  SelBytes record{};
  for (std::size_t i = 0; i < record.size(); ++i) {
    record.at(i) = static_cast<std::uint8_t>(bytes[i]);
  }
  return record;
}

Error error_of(std::uint8_t command, std::uint8_t completion) {
  const auto what = fmt::format("BMC: command {:#04x} on its event log: completion code {:#04x}",
                                command, completion);
  switch (completion) {
    case kBusy:
    case kTimedOut:
    case kUpdating:
    case kStarting:
    case kNotInThisState:
      return {ErrorCode::kLocked, what + ": it is busy"};
    case kInvalidCommand:
      return {ErrorCode::kNotAvailable, what + ": it has no event log"};
    case kOutOfSpace:
      return {ErrorCode::kCannotWrite, what + ": the log is full"};
    default:
      return {ErrorCode::kIo, what};
  }
}

}  // namespace

Result<std::string> Sel::ask(std::uint8_t command, std::string_view data, std::size_t least) {
  std::chrono::milliseconds wait = kFirstPause;
  for (int attempt = 1;; ++attempt, wait *= 2) {
    const auto answer = ipmi_.send({kStorage, command, data});
    if (!answer) return answer.error();
    if (answer->completion == kDone) {
      if (answer->data.size() >= least) return answer->data;
      return Error{
          ErrorCode::kBadData,
          fmt::format("BMC: command {:#04x} on its event log: {} bytes of answer, expected "
                      "{}",
                      command, answer->data.size(), least)};
    }
    // A busy BMC has not taken the command: it may be sent again.
    if (answer->completion != kBusy || attempt == kAttempts) {
      return error_of(command, answer->completion);
    }
    pause_(wait);
  }
}

Result<SelInfo> Sel::info() {
  constexpr std::size_t kAnswer = 14;
  const auto answer = ask(kGetInfo, {}, kAnswer);
  if (!answer) return answer.error();
  const std::string_view bytes = *answer;
  constexpr unsigned kOverflow = 0x80;
  return SelInfo{.entries = static_cast<std::uint32_t>(little_endian(bytes.substr(1, 2))),
                 .free_bytes = static_cast<std::uint32_t>(little_endian(bytes.substr(3, 2))),
                 .overflowed = (little_endian(bytes.substr(13, 1)) & kOverflow) != 0};
}

Result<std::optional<Sel::Entry>> Sel::entry_after(std::uint16_t id) {
  // A whole record, from its first byte: that needs no reservation (31.5).
  const std::string data = {
      0, 0, static_cast<char>(id & 0xFFU), static_cast<char>(id >> 8U), 0, static_cast<char>(0xFF)};
  constexpr std::size_t kAnswer = 18;
  const auto answer = ipmi_.send({kStorage, kGetEntry, data});
  if (!answer) return answer.error();
  if (answer->completion == kNotPresent) return std::optional<Entry>();
  const auto whole = answer->completion == kDone && answer->data.size() >= kAnswer
                         ? Result<std::string>(answer->data)
                         : ask(kGetEntry, data, kAnswer);
  if (!whole) return whole.error();
  return std::optional(
      Entry{record_from(std::string_view(*whole).substr(2)),
            static_cast<std::uint16_t>(little_endian(std::string_view(*whole).substr(0, 2)))});
}

Result<SelBytes> Sel::entry(std::uint16_t id) {
  const auto found = entry_after(id);
  if (!found) return found.error();
  if (*found) return (*found)->record;
  return Error{ErrorCode::kBadData,
               fmt::format("BMC: its event log has no record {:#06x}, which it named before", id)};
}

// Nothing when a record went away meanwhile.
Result<std::optional<std::vector<SelBytes>>> Sel::read_once() {
  std::vector<SelBytes> records;
  std::set<std::uint16_t> seen;
  for (std::uint16_t id = kFirst; id != kLast;) {
    const auto found = entry_after(id);
    if (!found) return found.error();
    if (!*found) {
      // An empty log has no first record.
      if (id == kFirst) return std::optional(std::move(records));
      return std::optional<std::vector<SelBytes>>();
    }
    if (!seen.insert(id).second) {
      return Error{ErrorCode::kBadData,
                   fmt::format("BMC: record {:#06x} of its event log comes again and again", id)};
    }
    records.push_back((*found)->record);
    id = (*found)->next;
  }
  return std::optional(std::move(records));
}

Result<std::vector<SelBytes>> Sel::read() {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const auto there = info();
    if (!there) return there.error();
    if (there->entries == 0) return std::vector<SelBytes>();
    auto records = read_once();
    if (!records) return records.error();
    if (*records) return **std::move(records);
  }
  return Error{ErrorCode::kLocked, "BMC: somebody takes records out of its event log all the time"};
}

Result<std::uint16_t> Sel::add(const SelBytes& record) {
  const std::string data(record.begin(), record.end());
  const auto answer = ask(kAddEntry, data, 2);
  if (!answer) return answer.error();
  return static_cast<std::uint16_t>(little_endian(std::string_view(*answer).substr(0, 2)));
}

SelNoticeRecords records_of(const SelNotice& notice) {
  SelNoticeRecords records{};
  SelBytes& place = records.place;
  put(place, kTypeAt, kPlaceType, 1);
  std::copy(kMark.begin(), kMark.end(), place.begin() + kTimeAt);
  const auto order = static_cast<unsigned>(std::countr_zero(notice.block.size())) - kFrameShift;
  put(place, 6, notice.block.begin().value() >> kFrameShift | std::uint64_t{order} << kFrameBits,
      6);
  put(place, 12, notice.module, 2);
  put(place, 14, notice.episode | (notice.data_lost ? kDataLost : 0U), 2);

  SelBytes& event = records.event;
  const bool has_module = notice.module_number != SelNotice::kNoNumber;
  put(event, kTypeAt, kSystemEvent, 1);
  put(event, kContentAt, kSoftware, 1);
  put(event, 9, kRevision, 1);
  put(event, 10, kMemorySensor, 1);
  put(event, 12, kSensorSpecific, 1);
  put(event, 13,
      static_cast<unsigned>(notice.data_lost ? kUncorrectable : kLimitReached) | kData2IsOurs |
          (has_module ? kData3IsModule : 0U),
      1);
  put(event, 14, check_sum(place), 1);
  put(event, 15, notice.module_number, 1);
  return records;
}

std::optional<SelNotice> notice_in(const SelBytes& record) {
  if (record.at(kTypeAt) != kPlaceType ||
      !std::equal(kMark.begin(), kMark.end(), record.begin() + kTimeAt)) {
    return std::nullopt;
  }
  const std::uint64_t where = number_in(record, 6, 6);
  const std::uint64_t address = (where & ((std::uint64_t{1} << kFrameBits) - 1)) << kFrameShift;
  const std::uint64_t size = std::uint64_t{1} << ((where >> kFrameBits) + kFrameShift);
  const auto block = ByteRange::from_size(PhysAddr(address), size);
  if (!block || address % size != 0) return std::nullopt;
  const auto episode = static_cast<std::uint16_t>(number_in(record, 14, 2));
  return SelNotice{.block = *block,
                   .data_lost = (episode & kDataLost) != 0,
                   .module = static_cast<std::uint16_t>(number_in(record, 12, 2)),
                   .module_number = SelNotice::kNoNumber,
                   .episode = static_cast<std::uint16_t>(episode & SelNotice::kMostEpisodes)};
}

bool same_content(const SelBytes& left, const SelBytes& right) {
  const std::uint8_t type = left.at(kTypeAt);
  const auto from = static_cast<std::ptrdiff_t>(type >= kFirstWithoutTime ? kTimeAt : kContentAt);
  return type == right.at(kTypeAt) &&
         std::equal(left.begin() + from, left.end(), right.begin() + from);
}

bool belong_together(const SelBytes& event, const SelBytes& place) {
  const auto notice = notice_in(place);
  if (!notice) return false;
  // The number of the module is only in the first.
  SelNotice whole = *notice;
  whole.module_number = event.at(15);
  return same_content(event, records_of(whole).event);
}

std::vector<ByteRange> notice_blocks(const ByteRange& range) {
  return aligned_blocks(range.widened_to(PageShift::smallest()), SelNotice::kMostBytes);
}

std::string to_hex(const SelBytes& record) {
  std::string text;
  for (const std::uint8_t byte : record) text += fmt::format("{:02x}", byte);
  return text;
}

}  // namespace poisonctl
