#include "registry/audit/ustar.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <span>

#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::size_t kBlock = 512;
// Offsets of the fields of a header; numbers are octal digits and an end mark.
constexpr std::size_t kModeAt = 100;
constexpr std::size_t kUserAt = 108;
constexpr std::size_t kGroupAt = 116;
constexpr std::size_t kSizeAt = 124;
constexpr std::size_t kSizeDigits = 11;
constexpr std::size_t kTimeAt = 136;
constexpr std::size_t kChecksumAt = 148;
constexpr std::size_t kTypeAt = 156;
constexpr std::size_t kMagicAt = 257;

void put(std::string& header, std::size_t at, std::string_view text) {
  header.replace(at, text.size(), text);
}

// Where a header has a name and a size; whether it is one is seen by making it again.
std::optional<std::uint64_t> size_in(std::string_view header) {
  std::uint64_t size = 0;
  for (const char digit : header.substr(kSizeAt, kSizeDigits)) {
    if (digit < '0' || digit > '7') return std::nullopt;
    size = size << 3U | static_cast<std::uint64_t>(digit - '0');
  }
  return size;
}

bool is_zeros(std::string_view bytes) {
  return bytes.find_first_not_of('\0') == std::string_view::npos;
}

}  // namespace

std::string tar_header(std::string_view name, std::uint64_t size) {
  std::string header(kBlock, '\0');
  put(header, 0, name);
  put(header, kModeAt, "0000644");
  put(header, kUserAt, "0000000");
  put(header, kGroupAt, "0000000");
  put(header, kSizeAt, fmt::format("{:011o}", size));
  // 1970: the time of a bundle is in it, and signed.
  put(header, kTimeAt, "00000000000");
  put(header, kTypeAt, "0");  // a plain file
  put(header, kMagicAt, std::string_view("ustar\00000", 8));
  // The sum of all bytes, with spaces in place of itself.
  put(header, kChecksumAt, "        ");
  const auto sum = std::accumulate(header.begin(), header.end(), 0U, [](unsigned total, char c) {
    return total + static_cast<unsigned char>(c);
  });
  put(header, kChecksumAt, fmt::format("{:06o}", sum) + '\0');
  return header;
}

std::string tar_padding(std::uint64_t size) {
  return std::string((kBlock - size % kBlock) % kBlock, '\0');
}

std::string tar_end() { return std::string(2 * kBlock, '\0'); }

Error TarReader::bad(std::uint64_t offset, std::string_view problem) const {
  return {ErrorCode::kBadData, fmt::format("{}: offset {}: {}", stream_.shown(), offset, problem)};
}

Result<void> TarReader::read(std::size_t size, std::string& out, std::string_view what) {
  constexpr std::size_t kStep = 64U << 10U;
  while (size != 0) {
    const std::size_t had = out.size();
    out.resize(had + std::min(size, kStep));
    const auto got = stream_.read(std::span(out).subspan(had));
    if (!got) return got.error();
    out.resize(had + *got);
    if (*got == 0) return bad(offset_, fmt::format("the file ends inside {}: it was cut", what));
    offset_ += *got;
    size -= *got;
  }
  return {};
}

Result<std::optional<TarMember>> TarReader::next() {
  const std::uint64_t start = offset_;
  std::string header;
  if (auto done = read(kBlock, header, "the header of a member"); !done) return done.error();
  if (is_zeros(header)) {
    if (auto done = read(kBlock, header, "its end mark"); !done) return done.error();
    std::string more(1, '\0');
    const auto behind = stream_.read(std::span(more));
    if (!behind) return behind.error();
    if (!is_zeros(header) || *behind != 0) {
      return bad(start, "expected two blocks of zeros and no byte behind them");
    }
    return std::optional<TarMember>();
  }
  const auto size = size_in(header);
  TarMember member{.name = std::string(header.substr(0, header.find('\0'))), .content = {}};
  if (!size || member.name.size() > kLongestTarName || header != tar_header(member.name, *size)) {
    return bad(start, "expected the header of a member as 'poisonctl audit export' writes it");
  }
  if (*size > kMostMemberBytes) {
    return bad(start, fmt::format("{} has {} bytes; a member has at most {}",
                                  printable(member.name), *size, kMostMemberBytes));
  }
  if (auto done = read(static_cast<std::size_t>(*size), member.content, printable(member.name));
      !done) {
    return done.error();
  }
  const std::uint64_t end = offset_;
  std::string padding;
  if (auto done = read(tar_padding(*size).size(), padding, "the zeros behind a member"); !done) {
    return done.error();
  }
  if (!is_zeros(padding)) return bad(end, "expected zeros up to the next member");
  return std::optional(std::move(member));
}

}  // namespace poisonctl
