#include "registry/notices.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <limits>
#include <tuple>

#include "registry/file_lock.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kHead = "poisonctl-bmc 1";
constexpr mode_t kMode = 0600;

auto key_of(const SelNotice& notice) { return std::tuple(notice.block, notice.episode); }

bool comes_before(const QueuedNotice& left, const QueuedNotice& right) {
  return key_of(left.notice) < key_of(right.notice);
}

Error bad_line(const std::string& shown, std::size_t number, std::string_view line) {
  return {
      ErrorCode::kBadData,
      fmt::format("{}:{}: '{}': expected what poisonctl wrote there; without the file, what the "
                  "BMC has in its log is not sent again, and the rest is",
                  shown, number, printable(line))};
}

std::string_view ending_of(NoticeWay way) {
  switch (way) {
    case NoticeWay::kSel:
      return ".bmc";
    case NoticeWay::kRedfishEntries:
      return ".redfish-entries";
    case NoticeWay::kRedfishRetire:
      return ".redfish-retire";
    case NoticeWay::kRedfishRepair:
      return ".redfish-repair";
  }
  return {};
}

// A number that is at most `most`.
template <typename Number>
std::optional<Number> number_in(std::string_view word, std::uint64_t most) {
  const auto value = parse_unsigned(word, 10);
  if (!value || *value > most) return std::nullopt;
  return static_cast<Number>(*value);
}

std::optional<QueuedNotice> notice_from(const std::vector<std::string_view>& words) {
  if (words.size() != 7 ||
      (words[0] != "pending" && words[0] != "delivered" && words[0] != "uncertain") ||
      (words[3] != "lost" && words[3] != "kept")) {
    return std::nullopt;
  }
  const auto address = parse_prefixed_hex(words[1]);
  const auto size = parse_prefixed_hex(words[2]);
  const auto module = number_in<std::uint16_t>(words[4], SelNotice::kNoModule);
  const auto number = number_in<std::uint8_t>(words[5], SelNotice::kNoNumber);
  const auto episode = number_in<std::uint16_t>(words[6], SelNotice::kMostEpisodes);
  if (!address || !size || !module || !number || !episode) return std::nullopt;
  if (!std::has_single_bit(*size) || *size < PageShift::smallest().page_size() ||
      *size > SelNotice::kMostBytes || *address % *size != 0) {
    return std::nullopt;
  }
  const auto block = ByteRange::from_size(PhysAddr(*address), *size);
  if (!block) return std::nullopt;
  return QueuedNotice{{.block = *block,
                       .data_lost = words[3] == "lost",
                       .module = *module,
                       .module_number = *number,
                       .episode = *episode},
                      words[0] == "delivered",
                      words[0] == "uncertain"};
}

}  // namespace

std::size_t NoticeQueue::pending() const {
  return static_cast<std::size_t>(std::count_if(
      notices.begin(), notices.end(),
      [](const QueuedNotice& queued) { return !queued.delivered && !queued.uncertain; }));
}

std::size_t NoticeQueue::uncertain() const {
  return static_cast<std::size_t>(std::count_if(
      notices.begin(), notices.end(), [](const QueuedNotice& queued) { return queued.uncertain; }));
}

void NoticeQueue::add(const std::vector<SelNotice>& wanted) {
  for (const SelNotice& notice : wanted) notices.push_back({notice});
  // Stable: of two with the same key the one that was there stays, and what is known of it.
  std::stable_sort(notices.begin(), notices.end(), comes_before);
  const auto same = [](const QueuedNotice& left, const QueuedNotice& right) {
    return key_of(left.notice) == key_of(right.notice);
  };
  notices.erase(std::unique(notices.begin(), notices.end(), same), notices.end());
}

void NoticeQueue::succeeded() {
  failures = 0;
  next_attempt = Time{};
}

void NoticeQueue::failed(Time now) {
  constexpr std::uint64_t kDoublings = 6;
  constexpr std::chrono::minutes kLongest{60};
  const auto wait = std::chrono::minutes(std::int64_t{1} << std::min(failures, kDoublings));
  next_attempt = now + std::min(wait, kLongest);
  if (failures != std::numeric_limits<std::uint64_t>::max()) ++failures;
}

void NoticeQueue::wait_until(Time earliest) { next_attempt = std::max(next_attempt, earliest); }

std::string to_text(const NoticeQueue& queue) {
  std::string text =
      fmt::format("{}\nfailures {} {}\n", kHead, queue.failures, to_rfc3339(queue.next_attempt));
  for (const auto& [notice, delivered, uncertain] : queue.notices) {
    text += fmt::format("{} {:#x} {:#x} {} {} {} {}\n",
                        delivered   ? "delivered"
                        : uncertain ? "uncertain"
                                    : "pending",
                        notice.block.begin().value(), notice.block.size(),
                        notice.data_lost ? "lost" : "kept", notice.module, notice.module_number,
                        notice.episode);
  }
  return text;
}

Result<NoticeQueue> parse_notice_queue(std::string_view text, const std::string& shown) {
  NoticeQueue queue;
  const auto lines = split_lines(text);
  if (lines.size() < 2 || lines[0] != kHead || text.back() != '\n') {
    return bad_line(shown, 1, lines.empty() ? std::string_view() : lines[0]);
  }
  const auto words = split_words(lines[1]);
  const auto failures = words.size() == 3 ? parse_unsigned(words[1], 10) : std::nullopt;
  const auto next = words.size() == 3 ? time_from_rfc3339(words[2]) : std::nullopt;
  if (!failures || !next || words[0] != "failures") return bad_line(shown, 2, lines[1]);
  queue.failures = *failures;
  queue.next_attempt = *next;
  for (std::size_t i = 2; i < lines.size(); ++i) {
    const auto notice = notice_from(split_words(lines[i]));
    const bool in_order =
        notice && (queue.notices.empty() || comes_before(queue.notices.back(), *notice));
    if (!in_order) return bad_line(shown, i + 1, lines[i]);
    queue.notices.push_back(*notice);
  }
  return queue;
}

Result<NoticeQueueFile> NoticeQueueFile::open(const std::string& registry, NoticeWay way) {
  const std::string path = registry + std::string(ending_of(way));
  auto lock = take_file_lock(path + ".lock");
  if (!lock) {
    if (lock.error().code != ErrorCode::kLocked) return lock.error();
    return Error{ErrorCode::kLocked, path + ": another process is talking to the BMC; try again"};
  }
  NoticeQueueFile file(path, *std::move(lock));
  const auto fd = open_own_file(path, "queue for the BMC");
  if (!fd) {
    if (fd.error().code == ErrorCode::kNoInput) return file;
    return fd.error();
  }
  const auto size = size_of(*fd, path);
  if (!size) return size.error();
  if (*size > kMostQueueBytes) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: {} bytes: expected at most {}", path, *size, kMostQueueBytes)};
  }
  const auto text = read_up_to(*fd, kMostQueueBytes, path);
  if (!text) return text.error();
  auto queue = parse_notice_queue(*text, path);
  if (!queue) return queue.error();
  file.queue_ = *std::move(queue);
  return file;
}

Result<void> NoticeQueueFile::save() const {
  return replace_file_at(AT_FDCWD, path_, to_text(queue_), kMode, path_);
}

}  // namespace poisonctl
