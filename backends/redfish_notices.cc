#include "backends/redfish_notices.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>

#include "registry/text.h"

namespace poisonctl {

namespace {

using nlohmann::json;

// An entry as DSP0268 has it, of type Oem: a reader of the log that knows nothing of us shows the
// message, and the source redfish does not take it for an error that the BMC saw.
std::string entry_of(const SelNotice& notice, const std::string& dimm) {
  std::string message = fmt::format("Memory retired at {}, {} bytes",
                                    to_hex(notice.block.begin().value()), notice.block.size());
  if (!dimm.empty()) message += fmt::format(", in {}", printable(dimm));
  if (notice.data_lost) message += ", data was lost";
  message += " " + redfish_key(notice);
  const json entry = {{"Name", "Memory retired"},
                      {"EntryType", "Oem"},
                      {"OemRecordFormat", "poisonctl"},
                      {"Severity", notice.data_lost ? "Critical" : "Warning"},
                      {"Message", message}};
  return entry.dump(-1, ' ', true, json::error_handler_t::replace);
}

// Every key of ours in the texts of an entry, wherever the service puts them.
void add_keys(const json& node, std::set<std::string>& keys) {
  constexpr std::string_view kBegin = "[poisonctl ";
  if (node.is_structured()) {
    for (const json& element : node) add_keys(element, keys);
  }
  if (!node.is_string()) return;
  const std::string_view text = node.get_ref<const std::string&>();
  for (std::size_t at = text.find(kBegin); at != std::string_view::npos;
       at = text.find(kBegin, at + 1)) {
    const std::size_t end = text.find(']', at);
    if (end != std::string_view::npos) keys.emplace(text.substr(at, end + 1 - at));
  }
}

Result<std::set<std::string>> keys_in_log(RedfishService& service, std::string_view entries) {
  std::set<std::string> keys;
  const auto read = service.for_each_member(entries, [&](const json& entry) -> Result<void> {
    add_keys(entry, keys);
    return {};
  });
  if (!read) return read.error();
  return keys;
}

// What DSP0266 (8.2, Allow) lets a service say without being tried.
Result<void> check_insertable(RedfishService& service, std::string_view entries) {
  const auto allowed = service.allowed(entries);
  if (!allowed) return allowed.error();
  if (allowed->empty() || allowed->find("POST") != std::string::npos) return {};
  return Error{ErrorCode::kNotAvailable,
               fmt::format("{}{}: the service takes no new entries here (Allow: {}): name another "
                           "log as entries in poisonctl.conf, [redfish], or none",
                           service.address().origin(), printable(entries), printable(*allowed))};
}

// Whether the service kept what it took: without the key the entry is found by nobody again.
Result<void> check_kept(RedfishService& service, const std::string& location,
                        const SelNotice& notice) {
  if (location.empty()) return {};
  const auto entry = service.get(location);
  if (!entry) return entry.error();
  std::set<std::string> keys;
  add_keys(*entry, keys);
  if (keys.contains(redfish_key(notice))) return {};
  return Error{
      ErrorCode::kBadData,
      fmt::format("{}{}: the service took the entry and did not keep its message: it keeps "
                  "no entries of others; name no entries in poisonctl.conf, [redfish]",
                  service.address().origin(), location)};
}

}  // namespace

std::string redfish_key(const SelNotice& notice) {
  return fmt::format("[poisonctl {:#x}+{:#x} #{}]", notice.block.begin().value(),
                     notice.block.size(), notice.episode);
}

NoticeDelivery deliver_entries(RedfishService& service, std::string_view entries,
                               NoticeQueue& queue, const DimmOf& dimm_of, const SaveQueue& save) {
  NoticeDelivery delivery;
  const auto stop = [&](Error error) {
    delivery.stopped = std::move(error);
    return delivery;
  };
  if (queue.pending() == 0) return delivery;
  if (auto insertable = check_insertable(service, entries); !insertable) {
    return stop(insertable.error());
  }
  const auto known = keys_in_log(service, entries);
  if (!known) return stop(known.error());
  for (QueuedNotice& queued : queue.notices) {
    if (queued.delivered) continue;
    std::optional<std::string> location;
    if (!known->contains(redfish_key(queued.notice))) {
      if (delivery.sent == kMostRedfishNotices) return delivery;
      const ChangeOutcome outcome =
          service.change("POST", entries, entry_of(queued.notice, dimm_of(queued.notice)));
      delivery.retry_after = outcome.retry_after;
      // Of what is unknown too: the next run looks into the log before it writes anything.
      if (outcome.kind != ChangeOutcome::Kind::kDone) return stop(outcome.error);
      location = outcome.location;
    }
    ++(location ? delivery.sent : delivery.found);
    queued.delivered = true;
    if (auto kept = save(); !kept) return stop(kept.error());
    if (!location) continue;
    if (auto kept = check_kept(service, *location, queued.notice); !kept) return stop(kept.error());
  }
  return delivery;
}

NoticeDelivery deliver_actions(RedfishService& service, const ActionTemplate& action,
                               NoticeQueue& queue, const DimmOf& dimm_of, const SaveQueue& save) {
  using Kind = ChangeOutcome::Kind;
  NoticeDelivery delivery;
  const auto stop = [&](Error error) {
    delivery.stopped = std::move(error);
    return delivery;
  };
  for (QueuedNotice& queued : queue.notices) {
    if (queued.delivered || queued.uncertain) continue;
    const auto filled = fill(action, {.block = queued.notice.block,
                                      .dimm = dimm_of(queued.notice),
                                      .key = redfish_key(queued.notice)});
    if (!filled) {
      ++delivery.left_out;
      continue;
    }
    if (delivery.sent == kMostRedfishNotices) return delivery;
    queued.uncertain = true;
    if (auto kept = save(); !kept) return stop(kept.error());
    const ChangeOutcome outcome = service.change(filled->method, filled->path, filled->body);
    delivery.retry_after = outcome.retry_after;
    queued.delivered = outcome.kind == Kind::kDone;
    queued.uncertain = outcome.kind == Kind::kUnknown;
    if (auto kept = save(); !kept) return stop(kept.error());
    if (outcome.kind == Kind::kDone) {
      ++delivery.sent;
    } else if (!outcome.about_this) {
      return stop(outcome.error);
    } else if (!delivery.stopped) {
      // One frame that the vendor's action does not take keeps the others from nothing.
      delivery.stopped = outcome.error;
    }
  }
  return delivery;
}

}  // namespace poisonctl
