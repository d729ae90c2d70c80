#include "registry/sources/source.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace poisonctl {

Result<std::size_t> TextStream::read(std::span<char> buffer) {
  const std::size_t count = std::min(buffer.size(), text_.size());
  std::copy_n(text_.begin(), count, buffer.begin());
  text_.remove_prefix(count);
  return count;
}

Result<std::optional<LineReader::Line>> LineReader::next() {
  constexpr std::size_t kStep = 64U << 10U;
  std::size_t searched = at_;
  for (;;) {
    const auto end = buffer_.find('\n', searched);
    const bool last = end == std::string::npos && ended_;
    if (last && at_ == buffer_.size()) return std::optional<Line>();
    const std::size_t stop = last ? buffer_.size() : end;
    if (stop == std::string::npos ? buffer_.size() - at_ > kLongest : stop - at_ > kLongest) {
      return Error{ErrorCode::kBadData, fmt::format("{}:{}: a line of more than {} bytes",
                                                    stream_.shown(), number_ + 1, kLongest)};
    }
    if (stop != std::string::npos) {
      std::string_view text(buffer_.data() + at_, stop - at_);
      if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
      at_ = last ? stop : stop + 1;
      return std::optional(Line{text, ++number_});
    }
    searched = buffer_.size() - at_;
    buffer_.erase(0, at_);
    at_ = 0;
    const std::size_t before = buffer_.size();
    buffer_.resize(before + kStep);
    const auto got = stream_.read(std::span(buffer_).subspan(before));
    buffer_.resize(before + (got ? *got : 0));
    if (!got) return got.error();
    ended_ = *got == 0;
  }
}

std::string LineReader::place() const { return fmt::format("{}:{}: ", stream_.shown(), number_); }

Result<std::string> read_all(ByteStream& stream, std::size_t limit) {
  constexpr std::size_t kStep = 64U << 10U;
  std::string all;
  for (;;) {
    const std::size_t before = all.size();
    all.resize(before + kStep);
    const auto got = stream.read(std::span(all).subspan(before));
    all.resize(before + (got ? *got : 0));
    if (!got) return got.error();
    if (*got == 0) return all;
    if (all.size() > limit) {
      return Error{ErrorCode::kBadData,
                   fmt::format("{}: larger than {} bytes, the most that is read of this format",
                               stream.shown(), limit)};
    }
  }
}

}  // namespace poisonctl
