// The contract of a source: something that knows of bad memory. A source reads a stream or the
// machine and hands over events one by one; it never writes, never guesses, and holds no more in
// memory than one item and its bounds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "registry/address.h"
#include "registry/event.h"
#include "registry/result.h"

namespace poisonctl {

// What a source must know of the machine whose addresses it reads.
struct SourceSettings {
  PageShift page_shift;  // what a PFN means where the input does not say
  PhysAddr memory_end;   // one past the last byte of installed RAM: bounds what a mask expands to
};

// What a source has to say besides its events.
struct SourceReport {
  std::string version;                // of the program or format that was read, if it says
  std::vector<std::string> warnings;  // for people: "FILE:LINE: ...", each once, at most kWarnings
  std::uint64_t events = 0;           // handed over
  static constexpr std::size_t kWarnings = 100;
};

// Takes one event, and what the source has said before it. An error stops the source, which returns
// it.
using EventSink = std::function<Result<void>(const Event&, const SourceReport& so_far)>;

// Bytes that are read once, from the start to the end.
class ByteStream {
 public:
  ByteStream() = default;
  ByteStream(const ByteStream&) = delete;
  ByteStream& operator=(const ByteStream&) = delete;
  virtual ~ByteStream() = default;
  // The name of the input in messages: a path, or "standard input".
  [[nodiscard]] virtual const std::string& shown() const = 0;
  // Fills up to buffer.size() bytes; 0 at the end. Errors: kIo.
  [[nodiscard]] virtual Result<std::size_t> read(std::span<char> buffer) = 0;
};

// A stream over memory, which must outlive it.
class TextStream final : public ByteStream {
 public:
  TextStream(std::string_view text, std::string shown) : text_(text), shown_(std::move(shown)) {}
  [[nodiscard]] const std::string& shown() const override { return shown_; }
  [[nodiscard]] Result<std::size_t> read(std::span<char> buffer) override;

 private:
  std::string_view text_;
  std::string shown_;
};

// Lines of a stream without their line ends (LF or CRLF), however large the input: a line of more
// than kLongest bytes is kBadData with its number.
class LineReader {
 public:
  static constexpr std::size_t kLongest = 64U << 10U;
  explicit LineReader(ByteStream& stream) : stream_(stream) {}

  struct Line {
    std::string_view text;     // valid until the next call
    std::uint64_t number = 0;  // from 1
  };
  // Nothing at the end of the input.
  Result<std::optional<Line>> next();
  // "FILE:LINE: " of the line that next() gave last.
  [[nodiscard]] std::string place() const;

 private:
  ByteStream& stream_;
  std::string buffer_;
  std::size_t at_ = 0;
  bool ended_ = false;
  std::uint64_t number_ = 0;
};

// The whole of a stream of at most `limit` bytes; kBadData when it is longer.
Result<std::string> read_all(ByteStream& stream, std::size_t limit);

}  // namespace poisonctl
