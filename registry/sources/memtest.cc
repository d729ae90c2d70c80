#include "registry/sources/memtest.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "registry/sources/badram.h"
#include "registry/sources/memmap_option.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kExpected =
    "the text of memtest86+ (a terminal capture with cursor control has to be typed off)";
// The size of a page to memtest86+, whatever machine it tests: PAGE_SHIFT in its system/memsize.h.
constexpr std::uint64_t kMemtestPage = 4096;
constexpr std::uint64_t kLargestShare = 16;
constexpr unsigned kMendedVersion = 7;

enum class ListKind { kNone, kBadram, kMemmap, kPages };

// A list in the making: it goes on as long as lines end with a comma.
struct PendingList {
  ListKind kind = ListKind::kNone;
  std::string text;
  std::string place;  // where it began
};

class MemtestReader {
 public:
  MemtestReader(const SourceSettings& settings, Collector& collector)
      : collector_(collector), import_{.settings = settings, .collector = collector} {}

  Result<void> take_line(std::string_view line, const std::string& place);
  Result<void> finish(const std::string& place);

 private:
  Result<void> begin_list(std::string_view text, const std::string& place);
  Result<void> continue_list(std::string_view text, const std::string& place);
  Result<void> collect_list();
  Result<void> collect_pages(std::string_view list, std::string_view place);
  void find_version(std::string_view line);

  Collector& collector_;
  BadramImport import_;
  PendingList list_;
  bool under_pages_ = false;  // the heading of bad pages was seen
  bool had_patterns_ = false;
  std::optional<unsigned> major_version_;
};

bool starts_with(std::string_view text, std::string_view start) {
  return text.substr(0, start.size()) == start;
}

// Whether a line can be part of a list: hexadecimal digits and what stands between them.
bool is_list(std::string_view text) {
  return text.find_first_not_of("0123456789abcdefABCDEFxX,.$") == std::string_view::npos;
}

// "0x20..0x2a" or "0x30".
std::optional<ByteRange> parse_pages(std::string_view text) {
  const auto dots = text.find("..");
  const auto first = parse_prefixed_hex(text.substr(0, dots));
  const auto last =
      dots == std::string_view::npos ? first : parse_prefixed_hex(text.substr(dots + 2));
  const auto shift = PageShift::from_page_size(kMemtestPage);
  // A count of 2^64 pages would wrap to 0, which is no range either.
  if (!first || !last || *last < *first) return std::nullopt;
  return ByteRange::from_frames(Pfn(*first), *last - *first + 1, *shift);
}

void MemtestReader::find_version(std::string_view line) {
  constexpr std::string_view kName = "memtest86+";
  const auto matches = [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a | 0x20 : a) == b; };
  const auto found = std::search(line.begin(), line.end(), kName.begin(), kName.end(), matches);
  if (found == line.end()) return;
  line.remove_prefix(static_cast<std::size_t>(found - line.begin()) + kName.size());
  line = trim(line);
  if (!line.empty() && (line[0] == 'v' || line[0] == 'V')) line.remove_prefix(1);
  const std::string_view version = line.substr(0, line.find_first_not_of("0123456789."));
  const auto major = parse_unsigned(version.substr(0, version.find('.')), 10);
  if (!major || *major > 1000 || version.size() > 16) return;
  major_version_ = static_cast<unsigned>(*major);
  collector_.set_version("memtest86+ " + std::string(version));
}

Result<void> MemtestReader::collect_pages(std::string_view list, std::string_view place) {
  const SourceSettings& settings = import_.settings;
  for (;;) {
    const auto comma = list.find(',');
    const std::string_view item = list.substr(0, comma);
    const auto range = parse_pages(item);
    if (!range) {
      return bad_data(place, fmt::format("bad pages '{}': expected 0xN or 0xFIRST..0xLAST, numbers "
                                         "of 4 KiB pages below {}",
                                         printable(item), to_hex(kPhysAddrLimit)));
    }
    const std::uint64_t most = settings.memory_end.value() / kLargestShare;
    if (range->size() > std::max(most, settings.page_shift.page_size())) {
      return bad_data(place,
                      fmt::format("bad pages '{}' are {} of {} of memory, more than 1/{}: "
                                  "replace the memory, or list fewer",
                                  printable(item), to_human_size(range->size()),
                                  to_human_size(settings.memory_end.value()), kLargestShare));
    }
    Event event = event_of(EventKind::kUncorrected, range, item);
    event.granularity = kMemtestPage;
    if (auto done = collector_.hand_over(std::move(event)); !done) return done;
    if (comma == std::string_view::npos) return {};
    list.remove_prefix(comma + 1);
  }
}

Result<void> MemtestReader::collect_list() {
  const PendingList list = std::exchange(list_, {});
  switch (list.kind) {
    case ListKind::kBadram:
      had_patterns_ = true;
      return collect_badram_list(list.text, HexPrefix::kNeeded, list.place, import_);
    case ListKind::kMemmap:
      return collect_memmap_list(list.text, list.place, import_);
    case ListKind::kPages:
      return collect_pages(list.text, list.place);
    case ListKind::kNone:
      break;
  }
  return {};
}

Result<void> MemtestReader::continue_list(std::string_view text, const std::string& place) {
  if (!is_list(text)) {
    return bad_data(place, fmt::format("'{}': expected the rest of the list that {}began with and "
                                       "that ends with a comma so far",
                                       printable(text), list_.place));
  }
  if (list_.text.size() + text.size() > LineReader::kLongest) {
    return bad_data(place,
                    fmt::format("the list that {}began with has more than {} bytes, which no "
                                "version of memtest86+ prints",
                                list_.place, LineReader::kLongest));
  }
  list_.text += text;
  const bool goes_on = list_.text.empty() || list_.text.back() == ',';
  return goes_on ? Result<void>() : collect_list();
}

Result<void> MemtestReader::begin_list(std::string_view text, const std::string& place) {
  constexpr std::string_view kBadram = "badram=";
  constexpr std::string_view kMemmap = "memmap=";
  list_.place = place;
  if (starts_with(text, kBadram) || starts_with(text, kMemmap)) {
    list_.kind = starts_with(text, kBadram) ? ListKind::kBadram : ListKind::kMemmap;
    return continue_list(trim(text.substr(kBadram.size())), place);
  }
  if (!starts_with(text, "0x") || !is_list(text)) return {};
  // Numbers alone could be anything; two dots between them are pages.
  if (!under_pages_ && text.find("..") == std::string_view::npos) {
    return bad_data(place, fmt::format("'{}' does not say what it is a list of: write badram= or "
                                       "memmap= before it, or the line 'Bad pages' above it",
                                       printable(text)));
  }
  list_.kind = ListKind::kPages;
  return continue_list(text, place);
}

Result<void> MemtestReader::take_line(std::string_view line, const std::string& place) {
  if (auto text = check_is_text(line, place, kExpected); !text) return text;
  const std::string_view text = trim(line);
  if (text.empty()) return {};
  if (list_.kind != ListKind::kNone) return continue_list(text, place);
  find_version(text);
  if (starts_with(text, "Bad pages")) under_pages_ = true;
  if (starts_with(text, "BadRAM Patterns") || starts_with(text, "Linux memmap")) {
    under_pages_ = false;
  }
  return begin_list(text, place);
}

Result<void> MemtestReader::finish(const std::string& place) {
  if (list_.kind != ListKind::kNone) {
    return bad_data(place, fmt::format("the input ends inside the list that {}began with: add what "
                                       "follows its last comma, or take the comma away",
                                       list_.place));
  }
  if (had_patterns_ && major_version_.value_or(0) < kMendedVersion) {
    collector_.warn(fmt::format(
        "{}{}: BadRAM patterns of versions before {}.00 can lack the upper digits of addresses, so "
        "that the bad memory is elsewhere. Test again with a newer version",
        place, major_version_ ? "an old version of memtest86+" : "the version is not in the input",
        kMendedVersion));
  }
  return {};
}

}  // namespace

Result<SourceReport> collect_memtest(ByteStream& stream, const SourceSettings& settings,
                                     const EventSink& sink) {
  Collector collector(sink);
  MemtestReader memtest(settings, collector);
  LineReader reader(stream);
  for (;;) {
    const auto line = reader.next();
    if (!line) return line.error();
    const std::string place = reader.place();
    const auto done = *line ? memtest.take_line((*line)->text, place) : memtest.finish(place);
    if (!done) return done.error();
    if (!*line) return collector.take_report();
  }
}

}  // namespace poisonctl
