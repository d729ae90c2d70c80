#include "cli/bmc.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "backends/redfish_notices.h"
#include "backends/sel_notices.h"
#include "cli/bmc_redfish.h"
#include "cli/config.h"
#include "cli/steps.h"
#include "registry/ipmi.h"
#include "registry/notices.h"
#include "registry/range_text.h"
#include "registry/smbios.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kSmbiosTable = "sys/firmware/dmi/tables/DMI";

// The memory modules as firmware lists them. Without them a notice names no module.
SmbiosMemory load_modules(Invocation& invocation, const SysRoot& root) {
  const auto table = root.read(kSmbiosTable);
  if (!table) {
    invocation.output().detail(table.error().message + ": the notices name no memory module");
    return {};
  }
  auto memory = parse_smbios(*table, root.shown(kSmbiosTable));
  if (memory) return *std::move(memory);
  invocation.output().warning(memory.error().message + ": the notices name no memory module");
  return {};
}

void add_notices(const Record& record, const SmbiosMemory& memory,
                 std::vector<SelNotice>& notices) {
  for (const ByteRange& block : notice_blocks(record.range)) {
    SelNotice notice{.block = block,
                     .data_lost = record.severity != EventKind::kCorrected,
                     .module = SelNotice::kNoModule,
                     .module_number = SelNotice::kNoNumber,
                     .episode = static_cast<std::uint16_t>(
                         std::min<std::uint64_t>(record.reopened, SelNotice::kMostEpisodes))};
    if (const auto module = device_at(memory, block, record.label)) {
      notice.module = memory.devices[*module].handle;
      if (*module < SelNotice::kNoNumber) {
        notice.module_number = static_cast<std::uint8_t>(*module);
      }
    }
    notices.push_back(notice);
  }
}

// Of all records that are retired, by the page flags of this moment.
Result<std::vector<SelNotice>> wanted_notices(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto verified = verify_records(invocation);
  if (!verified) return verified.error();
  if (verified->not_stored) invocation.output().warning(*verified->not_stored);
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  const auto records = load_records(invocation, *store);
  if (!records) return records.error();
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  const SmbiosMemory memory = load_modules(invocation, **root);
  std::vector<SelNotice> notices;
  for (const Record& record : *records) {
    const bool retired = record.condition == Condition::kFaulty &&
                         record.retirement_in((*machine)->boot_id) == Retirement::kEffective;
    // Injected poison is a test of this machine, and nobody should pull a module for it.
    if (retired && record.severity != EventKind::kInjected) add_notices(record, memory, notices);
  }
  return notices;
}

// A way to tell the BMC.
struct Way {
  NoticeWay queue;
  std::string_view name;
  std::function<NoticeDelivery(NoticeQueueFile&)> talk;
};

void list_pending(const Way& way, const NoticeQueue& queue, Output& output) {
  for (const auto& [notice, delivered, uncertain] : queue.notices) {
    if (delivered || uncertain) continue;
    output.line(fmt::format("would tell {}: {}{}{}", way.name, to_text(notice.block),
                            notice.data_lost ? ", data lost" : "",
                            notice.module == SelNotice::kNoModule
                                ? ""
                                : fmt::format(", SMBIOS handle {:#06x}", notice.module)));
  }
  if (queue.pending() == 0) output.line("nothing to tell");
}

// Why this is not the time, if so.
std::optional<std::string> wait_for(const NoticeQueue& queue, Time now) {
  constexpr std::chrono::hours kLongest{1};  // of what NoticeQueue asks for; else a clock was set
  if (now >= queue.next_attempt || queue.next_attempt > now + kLongest) return std::nullopt;
  return fmt::format(
      "the BMC failed {} in a row: the next attempt is made from {} on; --now tries "
      "at once. {} kept",
      counted(queue.failures, "time"), to_rfc3339_seconds(queue.next_attempt),
      counted(queue.pending(), "notice"));
}

NoticeDelivery talk_ipmi(const SysRoot& root, NoticeQueueFile& file) {
  auto ipmi = KernelIpmi::open(root);
  if (!ipmi) return {.stopped = ipmi.error()};
  Sel sel(**ipmi, sleep_for);
  return deliver(sel, file.queue(), DeliveryLimits(), [&] { return file.save(); });
}

// The Redfish service, connected to when the first way needs it, and the names of the modules.
class RedfishWays {
 public:
  RedfishWays(Invocation& invocation, const RedfishSettings& settings, const SysRoot& root)
      : invocation_(invocation), settings_(settings), root_(root) {}

  [[nodiscard]] std::vector<Way> ways();

 private:
  // Connects, then lets `talk` deliver.
  template <typename Talk>
  NoticeDelivery connected(const Talk& talk);
  NoticeDelivery act(const ActionTemplate& action, NoticeQueueFile& file);

  Invocation& invocation_;
  const RedfishSettings& settings_;
  const SysRoot& root_;
  std::optional<Result<RedfishConnection>> connection_;
  SmbiosMemory memory_;
};

template <typename Talk>
NoticeDelivery RedfishWays::connected(const Talk& talk) {
  if (!connection_) {
    connection_.emplace(connect_redfish(invocation_, settings_));
    memory_ = load_modules(invocation_, root_);
  }
  if (!*connection_) return {.stopped = connection_->error()};
  return talk(*connection_->value().service, [this](const SelNotice& notice) -> std::string {
    for (const SmbiosDevice& device : memory_.devices) {
      if (device.handle == notice.module) return device.locator;
    }
    return {};
  });
}

NoticeDelivery RedfishWays::act(const ActionTemplate& action, NoticeQueueFile& file) {
  return connected([&](RedfishService& service, const DimmOf& dimm_of) {
    return deliver_actions(service, action, file.queue(), dimm_of, [&] { return file.save(); });
  });
}

std::vector<Way> RedfishWays::ways() {
  std::vector<Way> ways;
  if (!settings_.entries.empty()) {
    ways.push_back({NoticeWay::kRedfishEntries, "redfish entries", [this](NoticeQueueFile& file) {
                      return connected([&](RedfishService& service, const DimmOf& dimm_of) {
                        return deliver_entries(service, settings_.entries, file.queue(), dimm_of,
                                               [&] { return file.save(); });
                      });
                    }});
  }
  if (settings_.retire.configured()) {
    ways.push_back({NoticeWay::kRedfishRetire, "redfish retire",
                    [this](NoticeQueueFile& file) { return act(settings_.retire, file); }});
  }
  if (settings_.repair.configured()) {
    ways.push_back({NoticeWay::kRedfishRepair, "redfish repair",
                    [this](NoticeQueueFile& file) { return act(settings_.repair, file); }});
  }
  return ways;
}

// How often a notice is sent again that got no answer is for a person to say.
void resend_uncertain(NoticeQueue& queue) {
  for (QueuedNotice& queued : queue.notices) queued.uncertain = false;
}

void report_delivery(const Way& way, const NoticeDelivery& delivery, const NoticeQueue& queue,
                     Output& output) {
  output.line(fmt::format("{}: {} written, {} there already, {} kept for later", way.name,
                          counted(delivery.sent, "notice"), delivery.found, queue.pending()));
  if (delivery.left_out != 0) {
    output.warning(
        fmt::format("{}: {} left out: the action names the DIMM, and which it is is not "
                    "known",
                    way.name, counted(delivery.left_out, "notice")));
  }
}

void report_uncertain(const Way& way, const NoticeQueue& queue, Output& output) {
  if (queue.uncertain() == 0) return;
  output.warning(
      fmt::format("{}: {} sent without an answer: whether the BMC did it is not known. "
                  "Look there; 'poisonctl apply bmc --resend' sends them again",
                  way.name, counted(queue.uncertain(), "notice")));
}

Result<ExitStatus> apply_way(Invocation& invocation, const Way& way,
                             const std::vector<SelNotice>& wanted, Time now) {
  auto file = NoticeQueueFile::open(invocation.registry_path(), way.queue);
  if (!file) return file.error();
  NoticeQueue& queue = file->queue();
  queue.add(wanted);
  if (invocation.has("resend")) resend_uncertain(queue);
  Output& output = invocation.output();
  if (invocation.has("dry-run")) {
    list_pending(way, queue, output);
    return kExitDone;
  }
  if (auto saved = file->save(); !saved) return saved.error();
  if (queue.pending() == 0) {
    output.line(fmt::format("{}: nothing to tell", way.name));
    report_uncertain(way, queue, output);
    return queue.uncertain() == 0 ? kExitDone : kExitFindings;
  }
  if (const auto wait = wait_for(queue, now); wait && !invocation.has("now")) {
    output.note(*wait);
    return kExitFindings;
  }
  const NoticeDelivery delivery = way.talk(*file);
  delivery.stopped ? queue.failed(now) : queue.succeeded();
  if (delivery.stopped) {
    constexpr std::chrono::seconds kLongest = std::chrono::hours(1);
    queue.wait_until(now + std::min(delivery.retry_after, kLongest));
  }
  if (auto saved = file->save(); !saved) return saved.error();
  report_delivery(way, delivery, queue, output);
  report_uncertain(way, queue, output);
  if (delivery.stopped) {
    return Error{delivery.stopped->code,
                 fmt::format("{}; {} kept in {}", delivery.stopped->message,
                             counted(queue.pending(), "notice"), file->path()),
                 delivery.stopped->os_error};
  }
  return queue.pending() == 0 && queue.uncertain() == 0 ? kExitDone : kExitFindings;
}

}  // namespace

void sleep_for(std::chrono::milliseconds time) { std::this_thread::sleep_for(time); }

Result<ExitStatus> apply_bmc(Invocation& invocation) {
  if (invocation.has("undo") || invocation.has("only") || invocation.has("widen") ||
      invocation.has("force")) {
    return Error{ErrorCode::kUsage,
                 "apply bmc: adds to the BMC's event log, of which nothing is ever taken out; "
                 "--undo, --only, --force and --widen are about command lines"};
  }
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto config = load_config(**root);
  if (!config) return config.error();
  const auto provenance = invocation.provenance("bmc");
  if (!provenance) return provenance.error();
  const auto wanted = wanted_notices(invocation);
  if (!wanted) return wanted.error();
  // The log of the same BMC, seen from two sides, is told once.
  RedfishWays redfish(invocation, config->redfish, **root);
  std::vector<Way> ways = redfish.ways();
  if (ways.empty()) {
    ways.push_back(
        {NoticeWay::kSel, "bmc", [&](NoticeQueueFile& file) { return talk_ipmi(**root, file); }});
  }
  JoinedOutcome all(invocation.output());
  for (const Way& way : ways) {
    all.add(apply_way(invocation, way, *wanted, provenance->time));
  }
  return all.outcome();
}

}  // namespace poisonctl
