#include "registry/sources/ipmi.h"

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "registry/sources/collecting.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// Table 32-1.
constexpr std::uint8_t kSystemEvent = 0x02;
constexpr std::uint8_t kFirstOem = 0xC0;
constexpr std::uint8_t kMemorySensor = 0x0C;
constexpr std::uint8_t kSensorSpecific = 0x6F;  // with bit 7 the event is over

struct Counts {
  std::uint64_t other_events = 0;  // of memory, but no errors
  std::uint64_t foreign = 0;       // OEM records of others
  std::uint64_t others = 0;        // about other things
};

// Seconds since 1970. Small numbers count from when the BMC started, all ones is no time (37.1).
std::optional<Time> time_of(const SelBytes& record) {
  constexpr std::uint32_t kFirstDate = 0x20000000;
  constexpr std::uint32_t kNone = 0xFFFFFFFF;
  std::uint32_t seconds = 0;
  for (std::size_t i = 7; i-- > 3;) seconds = seconds << 8U | record.at(i);
  if (seconds <= kFirstDate || seconds == kNone) return std::nullopt;
  return Time(std::chrono::seconds(seconds));
}

std::string evidence_of(const SelBytes& record) { return "SEL " + to_hex(record); }

// The kind of error that an offset of a memory sensor means; nothing for what is none.
std::optional<EventKind> kind_of(unsigned offset) {
  switch (offset) {
    case 0:  // corrected
    case 5:  // so many corrected ones that no more are logged
      return EventKind::kCorrected;
    case 1:  // uncorrectable
    case 2:  // parity
    case 3:  // scrubbing failed
      return EventKind::kUncorrected;
    default:
      return std::nullopt;
  }
}

Result<void> take_sensor_event(const SelBytes& record, Collector& collector, Counts& counts) {
  constexpr unsigned kOffset = 0x0F;
  constexpr unsigned kData3 = 0x30;  // what the third byte is: 3 says which module
  const auto kind = kind_of(record.at(13) & kOffset);
  if (record.at(12) != kSensorSpecific || !kind) {
    ++counts.other_events;
    return {};
  }
  Event event = event_of(*kind, std::nullopt, evidence_of(record));
  event.observed = time_of(record);
  event.label = fmt::format("IPMI sensor {:#04x}", record.at(11));
  if ((record.at(13) & kData3) == kData3 && record.at(15) != SelNotice::kNoNumber) {
    event.label += fmt::format(" module {}", record.at(15));
  }
  return collector.hand_over(std::move(event));
}

// `before`: the record of it that has a time, or null.
Result<void> take_notice(const SelBytes& record, const SelNotice& notice, const SelBytes* before,
                         Collector& collector) {
  Event event = event_of(notice.data_lost ? EventKind::kUncorrected : EventKind::kMedia,
                         std::nullopt, evidence_of(record));
  if (before != nullptr) {
    event.observed = time_of(*before);
    event.evidence += " after " + to_hex(*before);
  }
  event.result = fmt::format("retired, time {}", notice.episode + 1);
  if (notice.module != SelNotice::kNoModule) {
    event.label = fmt::format("SMBIOS handle {:#06x}", notice.module);
  }
  // Without a time nobody knows whether it was mended since.
  if (event.observed) {
    event.range = notice.block;
  } else {
    collector.warn(
        fmt::format("BMC: a notice of {} without the time of it: kept as evidence "
                    "without a place",
                    to_hex(notice.block.begin().value())));
  }
  return collector.hand_over(std::move(event));
}

void warn_of(const Counts& counts, Collector& collector) {
  if (counts.foreign != 0) {
    collector.warn(fmt::format("BMC: {} of other makers in its event log: left alone",
                               counted(counts.foreign, "OEM record")));
  }
  if (counts.other_events != 0) {
    collector.warn(fmt::format("BMC: {} of memory sensors that tell of no error: left out",
                               counted(counts.other_events, "event")));
  }
  if (counts.others != 0) {
    collector.warn(fmt::format("BMC: {} about other things than memory: left out",
                               counted(counts.others, "record")));
  }
}

}  // namespace

Result<SourceReport> collect_ipmi(Sel& sel, const EventSink& sink) {
  const auto records = sel.read();
  if (!records) return records.error();
  const auto info = sel.info();
  if (!info) return info.error();
  Collector collector(sink);
  Counts counts;
  for (std::size_t i = 0; i < records->size(); ++i) {
    const SelBytes& record = (*records)[i];
    const std::uint8_t type = record.at(2);
    Result<void> taken;
    if (const auto notice = notice_in(record)) {
      const bool paired = i != 0 && belong_together((*records)[i - 1], record);
      taken = take_notice(record, *notice, paired ? &(*records)[i - 1] : nullptr, collector);
    } else if (type >= kFirstOem) {
      ++counts.foreign;
    } else if (type != kSystemEvent || record.at(10) != kMemorySensor) {
      ++counts.others;
    } else if (i + 1 == records->size() || !belong_together(record, (*records)[i + 1])) {
      taken = take_sensor_event(record, collector, counts);
    }
    if (!taken) return taken.error();
  }
  warn_of(counts, collector);
  if (info->overflowed) {
    collector.warn("BMC: its event log has overflowed: it knew of more than it says");
  }
  return collector.take_report();
}

}  // namespace poisonctl
