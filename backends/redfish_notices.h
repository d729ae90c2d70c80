// Tells the board's management controller of retired frames over Redfish: a log entry for each
// block, and the vendor's actions that are configured. Each notice once as far as the BMC lets us
// know: log entries have a key and are looked for before they are written; an action that got no
// answer is not sent again by itself.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "backends/notice_delivery.h"
#include "registry/notices.h"
#include "registry/redfish/action_template.h"
#include "registry/redfish/service.h"

namespace poisonctl {

// The locator of a notice's DIMM; empty when it is not known.
using DimmOf = std::function<std::string(const SelNotice&)>;

// Notices in one run: a BMC is slow, and others need it too.
inline constexpr std::size_t kMostRedfishNotices = 64;

// "[poisonctl 0x2800000+0x1000 #0]": block and episode, in every entry and for ${key}. No two
// notices have the same, and none is part of another's.
std::string redfish_key(const SelNotice& notice);

// Writes the pending notices of `queue`, in order, as entries of the log at `entries` (path of a
// LogEntryCollection, whose members DSP0268 lets be inserted). kNotAvailable when the service says
// that it takes none.
NoticeDelivery deliver_entries(RedfishService& service, std::string_view entries,
                               NoticeQueue& queue, const DimmOf& dimm_of, const SaveQueue& save);

// Sends `action` for each pending notice, in order; past those that the service refuses. Each is
// noted as uncertain before it is sent, so that nothing that happens on the way makes it two.
NoticeDelivery deliver_actions(RedfishService& service, const ActionTemplate& action,
                               NoticeQueue& queue, const DimmOf& dimm_of, const SaveQueue& save);

}  // namespace poisonctl
