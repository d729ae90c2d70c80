#include "backends/sel_notices.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>
#include <vector>

namespace poisonctl {

namespace {

constexpr std::uint64_t kRecordBytes = 16;

// What the log has of a notice.
struct Presence {
  bool event = false;
  bool place = false;
};

// The first record counts only where the second is or should have been next: another notice, or an
// error that firmware logged, may have the same bytes.
Presence presence_of(const SelNoticeRecords& records, const std::vector<SelBytes>& log) {
  Presence presence;
  for (std::size_t i = 0; i < log.size(); ++i) {
    if (same_content(log[i], records.place)) return {.event = true, .place = true};
    if (!same_content(log[i], records.event)) continue;
    const bool completed = i + 1 < log.size() && belong_together(log[i], log[i + 1]);
    presence.event = presence.event || !completed;
  }
  return presence;
}

Result<void> check_room(Sel& sel, std::uint64_t records) {
  const auto info = sel.info();
  if (!info) return info.error();
  const std::uint64_t reserve = reserve_of(*info);
  if (info->free_bytes >= reserve + records * kRecordBytes) return {};
  return Error{ErrorCode::kCannotWrite,
               fmt::format("the BMC's event log has {} bytes free, of which {} are left to others: "
                           "save it and clear it ('ipmitool sel save', 'ipmitool sel clear')",
                           info->free_bytes, reserve)};
}

// Writes a record and reads it back.
Result<SelBytes> write_record(Sel& sel, const SelBytes& record) {
  const auto id = sel.add(record);
  if (!id) return id.error();
  const auto read = sel.entry(*id);
  if (!read) return read.error();
  if (same_content(*read, record)) return *read;
  return Error{ErrorCode::kBadData,
               fmt::format("BMC: record {:#06x} of its event log should be {} and reads {}", *id,
                           to_hex(record), to_hex(*read))};
}

Result<void> write_notice(Sel& sel, const SelNoticeRecords& records, Presence presence,
                          std::vector<SelBytes>& log, std::chrono::milliseconds pace) {
  if (auto room = check_room(sel, presence.event ? 1 : 2); !room) return room;
  std::vector<const SelBytes*> missing;
  if (!presence.event) missing.push_back(&records.event);
  missing.push_back(&records.place);
  for (const SelBytes* record : missing) {
    const auto written = write_record(sel, *record);
    if (!written) return written.error();
    log.push_back(*written);
    sel.pause(pace);
  }
  return {};
}

}  // namespace

std::uint64_t reserve_of(const SelInfo& info) {
  constexpr std::uint64_t kLeast = 16 * kRecordBytes;
  constexpr std::uint64_t kShare = 4;
  const std::uint64_t all = info.entries * kRecordBytes + info.free_bytes;
  return std::max(kLeast, all / kShare);
}

NoticeDelivery deliver(Sel& sel, NoticeQueue& queue, const DeliveryLimits& limits,
                       const std::function<Result<void>()>& saved) {
  NoticeDelivery delivery;
  if (queue.pending() == 0) return delivery;
  auto log = sel.read();
  if (!log) {
    delivery.stopped = log.error();
    return delivery;
  }
  for (QueuedNotice& queued : queue.notices) {
    if (queued.delivered) continue;
    const SelNoticeRecords records = records_of(queued.notice);
    const Presence presence = presence_of(records, *log);
    if (!presence.place) {
      if (delivery.sent == limits.most) return delivery;
      if (auto done = write_notice(sel, records, presence, *log, limits.pace); !done) {
        delivery.stopped = done.error();
        return delivery;
      }
    }
    ++(presence.place ? delivery.found : delivery.sent);
    queued.delivered = true;
    if (auto kept = saved(); !kept) {
      delivery.stopped = kept.error();
      return delivery;
    }
  }
  return delivery;
}

}  // namespace poisonctl
