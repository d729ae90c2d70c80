// How telling the board's management controller went, by whichever way.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>

#include "registry/result.h"

namespace poisonctl {

struct NoticeDelivery {
  std::size_t sent = 0;
  std::size_t found = 0;     // were in the BMC's log already
  std::size_t left_out = 0;  // an action names the DIMM, which is not known
  // Why notices are left, if not for the limit of a run: the first reason. kCannotWrite: there is
  // no more room in the log.
  std::optional<Error> stopped;
  std::chrono::seconds retry_after{};  // when the BMC wants to be asked again; 0: it does not say
};

// Keeps the queue after each notice that is delivered; its error ends the delivery.
using SaveQueue = std::function<Result<void>()>;

}  // namespace poisonctl
