// Tells the board's management controller of retired frames: two records in its event log for each
// block (sel.h). The log is never cleared, never filled, and never has a notice twice as far as the
// BMC lets us know: what is in it already is not written again, and what was written is read back.
#pragma once

#include <cstddef>

#include "backends/notice_delivery.h"
#include "registry/notices.h"
#include "registry/sel.h"

namespace poisonctl {

struct DeliveryLimits {
  // Notices in one run: a BMC is slow, and others need it too.
  std::size_t most = 64;
  // Between records that are written.
  std::chrono::milliseconds pace{100};
};

// The room that is left to others, in bytes, of a log with so much in it: a quarter of it all, and
// at least 16 records.
std::uint64_t reserve_of(const SelInfo& info);

// Delivers the pending notices of `queue`, in order.
NoticeDelivery deliver(Sel& sel, NoticeQueue& queue, const DeliveryLimits& limits,
                       const SaveQueue& save);

}  // namespace poisonctl
