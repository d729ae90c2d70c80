#include "cli/bmc.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "backends/sel_notices.h"
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

// The one device that answers at the block; else the one whose locator is the label of the record.
// Nothing where several share it: a wrong module would be pulled.
std::optional<std::size_t> module_of(const SmbiosMemory& memory, const Record& record,
                                     const ByteRange& block) {
  std::vector<std::uint16_t> handles;
  for (const SmbiosDeviceRange& range : memory.device_ranges) {
    if (range.range.overlaps(block)) handles.push_back(range.device);
  }
  std::optional<std::size_t> found;
  for (std::size_t i = 0; i < memory.devices.size(); ++i) {
    const SmbiosDevice& device = memory.devices[i];
    const bool meant = handles.size() == 1
                           ? device.handle == handles.front()
                           : !record.label.empty() && device.locator == record.label;
    if (!meant) continue;
    if (found) return std::nullopt;
    found = i;
  }
  return found;
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
    if (const auto module = module_of(memory, record, block)) {
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

void list_pending(const NoticeQueue& queue, Output& output) {
  for (const auto& [notice, delivered] : queue.notices) {
    if (delivered) continue;
    output.line(fmt::format("would tell bmc: {}{}{}", to_text(notice.block),
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

Delivery talk(const SysRoot& root, NoticeQueueFile& file) {
  auto ipmi = KernelIpmi::open(root);
  if (!ipmi) return {.stopped = ipmi.error()};
  Sel sel(**ipmi, sleep_for);
  return deliver(sel, file.queue(), DeliveryLimits(), [&] { return file.save(); });
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
  const auto provenance = invocation.provenance("bmc");
  if (!provenance) return provenance.error();
  const auto wanted = wanted_notices(invocation);
  if (!wanted) return wanted.error();
  auto file = NoticeQueueFile::open(invocation.registry_path());
  if (!file) return file.error();
  NoticeQueue& queue = file->queue();
  queue.add(*wanted);
  Output& output = invocation.output();
  if (invocation.has("dry-run")) {
    list_pending(queue, output);
    return kExitDone;
  }
  if (auto saved = file->save(); !saved) return saved.error();
  if (queue.pending() == 0) {
    output.line("bmc: nothing to tell");
    return kExitDone;
  }
  if (const auto wait = wait_for(queue, provenance->time); wait && !invocation.has("now")) {
    output.note(*wait);
    return kExitFindings;
  }
  const Delivery delivery = talk(**root, *file);
  delivery.stopped ? queue.failed(provenance->time) : queue.succeeded();
  if (auto saved = file->save(); !saved) return saved.error();
  output.line(fmt::format("bmc: {} written, {} there already, {} kept for later",
                          counted(delivery.written, "notice"), delivery.found, queue.pending()));
  if (delivery.stopped) {
    return Error{delivery.stopped->code,
                 fmt::format("{}; {} kept in {}", delivery.stopped->message,
                             counted(queue.pending(), "notice"), file->path()),
                 delivery.stopped->os_error};
  }
  return queue.pending() == 0 ? kExitDone : kExitFindings;
}

}  // namespace poisonctl
