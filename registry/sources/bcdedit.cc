#include "registry/sources/bcdedit.h"

#include <fmt/format.h>

#include <string>

#include "registry/sources/collecting.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// The page size of Windows on every architecture that boots with BCD.
constexpr std::uint64_t kWindowsPage = 4096;
// Some hundred thousand pages: Windows itself stops at far fewer.
constexpr std::size_t kLargestInput = 16U << 20U;
constexpr std::string_view kHowTo =
    "expected the output of bcdedit /enum {badmemory}, run as administrator";

// UTF-16LE to bytes. All that is looked for is ASCII, so any other character becomes one '?'.
Result<std::string> narrowed(std::string_view utf16, const std::string& shown) {
  if (utf16.size() % 2 != 0) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: {} bytes are no whole number of UTF-16 characters: the file was "
                             "cut; {}",
                             shown, utf16.size(), kHowTo)};
  }
  std::string text;
  text.reserve(utf16.size() / 2);
  for (std::size_t i = 0; i < utf16.size(); i += 2) {
    const bool ascii = utf16[i + 1] == '\0' && static_cast<unsigned char>(utf16[i]) < 0x80;
    text += ascii ? utf16[i] : '?';
  }
  return text;
}

Result<std::string> decoded(const std::string& bytes, const std::string& shown) {
  const std::string_view start = std::string_view(bytes).substr(0, 3);
  if (start.substr(0, 2) == "\xff\xfe") return narrowed(std::string_view(bytes).substr(2), shown);
  if (start.substr(0, 2) == "\xfe\xff") {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: UTF-16 with the upper byte first; save it as UTF-8", shown)};
  }
  return start == "\xef\xbb\xbf" ? bytes.substr(start.size()) : bytes;
}

// One line at a time.
class BcdReader {
 public:
  explicit BcdReader(Collector& collector) : collector_(collector) {}

  Result<void> take_line(std::string_view line, const std::string& place) {
    if (auto text = check_is_text(line, place, kHowTo); !text) return text;
    constexpr std::string_view kObject = "{badmemory}";
    constexpr std::string_view kElement = "badmemorylist";
    if (const auto object = line.find(kObject); object != std::string_view::npos) {
      found_ = true;
      const std::string_view rest = trim(line.substr(object + kObject.size()));
      if (line.starts_with("bcdedit /set ") && rest.starts_with(kElement)) {
        return take_numbers(rest.substr(kElement.size()), place);
      }
    }
    const bool indented = !line.empty() && (line[0] == ' ' || line[0] == '\t');
    if (line.substr(0, kElement.size()) == kElement) {
      found_ = in_list_ = true;
      return take_numbers(line.substr(kElement.size()), place);
    }
    in_list_ = in_list_ && indented;
    return in_list_ ? take_numbers(line, place) : Result<void>();
  }
  [[nodiscard]] bool found() const { return found_; }

 private:
  Result<void> take_numbers(std::string_view text, const std::string& place) {
    const auto shift = PageShift::from_page_size(kWindowsPage);
    for (const std::string_view word : split_words(text)) {
      const auto pfn = parse_prefixed_hex(word);
      const auto range = pfn ? ByteRange::from_frames(Pfn(*pfn), 1, *shift) : std::nullopt;
      if (!range) {
        return bad_data(place,
                        fmt::format("'{}' in badmemorylist: expected 0xN, the number of a 4 KiB "
                                    "page below {}",
                                    printable(word), to_hex(kPhysAddrLimit)));
      }
      Event event = event_of(EventKind::kUncorrected, range, fmt::format("badmemorylist {}", word));
      event.granularity = kWindowsPage;
      if (auto done = collector_.hand_over(std::move(event)); !done) return done;
    }
    return {};
  }

  Collector& collector_;
  bool in_list_ = false;
  bool found_ = false;
};

}  // namespace

Result<SourceReport> collect_bcdedit(ByteStream& stream, const SourceSettings& /*settings*/,
                                     const EventSink& sink) {
  const auto bytes = read_all(stream, kLargestInput);
  if (!bytes) return bytes.error();
  const auto text = decoded(*bytes, stream.shown());
  if (!text) return text.error();
  Collector collector(sink);
  BcdReader reader(collector);
  std::uint64_t number = 0;
  for (const std::string_view line : split_lines(*text)) {
    const auto done = reader.take_line(line, fmt::format("{}:{}: ", stream.shown(), ++number));
    if (!done) return done.error();
  }
  if (!reader.found()) {
    return Error{ErrorCode::kBadData, fmt::format("{}: no {{badmemory}} in {} lines; {}",
                                                  stream.shown(), number, kHowTo)};
  }
  return collector.take_report();
}

}  // namespace poisonctl
