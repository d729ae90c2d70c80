// What the BMC is to be told, and what it has been told already: files beside the registry at PATH,
// one for each way to tell it (NoticeWay). A notice stays in it for good: that one was delivered is
// known even after somebody clears the BMC's log.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "registry/event.h"
#include "registry/result.h"
#include "registry/sel.h"

namespace poisonctl {

struct QueuedNotice {
  SelNotice notice;
  bool delivered = false;
  // It was sent, no answer came, and the BMC cannot be asked: it is not sent again by itself.
  bool uncertain = false;
};

struct NoticeQueue {
  std::vector<QueuedNotice> notices;  // sorted by block, then episode; no two have the same
  // Attempts that failed, one after the other, and when the next may be made.
  std::uint64_t failures = 0;
  Time next_attempt{};

  [[nodiscard]] std::size_t pending() const;  // neither delivered nor uncertain
  [[nodiscard]] std::size_t uncertain() const;
  // Adds those that are not in it.
  void add(const std::vector<SelNotice>& notices);
  // Notes how an attempt went: after a failure the next waits for a minute, then for twice as long
  // each time, up to an hour.
  void succeeded();
  void failed(Time now);
  // Not before `earliest` either: the BMC asked for that.
  void wait_until(Time earliest);
};

inline constexpr std::size_t kMostQueueBytes = 64U << 20U;

// Lines of words: "poisonctl-bmc 1", "failures N TIME", then for each notice "pending",
// "delivered" or "uncertain", address, size, "lost" or "kept", module, its number, episode. And
// back. Errors: kBadData with the line.
std::string to_text(const NoticeQueue& queue);
Result<NoticeQueue> parse_notice_queue(std::string_view text, const std::string& shown);

// Ways to tell a BMC, each with a queue of its own: PATH.bmc, PATH.redfish-entries and so on.
enum class NoticeWay {
  kSel,             // records in its event log, over IPMI
  kRedfishEntries,  // log entries, over Redfish
  kRedfishRetire,   // a vendor's action that retires
  kRedfishRepair,   // a vendor's action that repairs
};

// The queue of a registry, empty where there is none yet; held until the object is gone.
class NoticeQueueFile {
 public:
  // Errors: kLocked when another process has it; kCannotWrite; those of parse_notice_queue.
  static Result<NoticeQueueFile> open(const std::string& registry, NoticeWay way = NoticeWay::kSel);
  [[nodiscard]] const NoticeQueue& queue() const { return queue_; }
  [[nodiscard]] NoticeQueue& queue() { return queue_; }
  // On the disk when it returns without an error. Errors: kCannotWrite.
  [[nodiscard]] Result<void> save() const;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  NoticeQueueFile(std::string path, UniqueFd lock)
      : path_(std::move(path)), lock_(std::move(lock)) {}
  std::string path_;
  UniqueFd lock_;
  NoticeQueue queue_;
};

}  // namespace poisonctl
