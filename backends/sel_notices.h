// Tells the board's management controller of retired frames: two records in its event log for each
// block (sel.h). The log is never cleared, never filled, and never has a notice twice as far as the
// BMC lets us know: what is in it already is not written again, and what was written is read back.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>

#include "registry/notices.h"
#include "registry/result.h"
#include "registry/sel.h"

namespace poisonctl {

struct DeliveryLimits {
  // Notices in one run: a BMC is slow, and others need it too.
  std::size_t most = 64;
  // Between records that are written.
  std::chrono::milliseconds pace{100};
};

struct Delivery {
  std::size_t written = 0;
  std::size_t found = 0;  // were in the log already
  // Why it ended before the limit with notices left, if so. kCannotWrite: there is no more room.
  std::optional<Error> stopped;
};

// The room that is left to others, in bytes, of a log with so much in it: a quarter of it all, and
// at least 16 records.
std::uint64_t reserve_of(const SelInfo& info);

// Delivers the pending notices of `queue`, in order. `saved` is called after each that is delivered
// and must keep the queue; its error ends the delivery.
Delivery deliver(Sel& sel, NoticeQueue& queue, const DeliveryLimits& limits,
                 const std::function<Result<void>()>& saved);

}  // namespace poisonctl
