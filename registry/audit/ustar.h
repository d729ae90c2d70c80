// The one form of tar that a bundle has: POSIX ustar (POSIX.1-2017, pax, "ustar Interchange
// Format"), plain files only, all that is not name, size and content always the same. What reads it
// takes these bytes and no others, so that no byte of a bundle can be changed unseen. A library
// that reads every tar there is could not tell.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "registry/result.h"
#include "registry/sources/source.h"

namespace poisonctl {

// Longest name that the header has room for.
inline constexpr std::size_t kLongestTarName = 99;
// Most bytes of one member. Both sides hold one in memory.
inline constexpr std::size_t kMostMemberBytes = 8U << 20U;

// What comes before the content of a member, and after it: zeros up to the next block.
std::string tar_header(std::string_view name, std::uint64_t size);
std::string tar_padding(std::uint64_t size);
// What comes after the last one: two blocks of zeros.
std::string tar_end();

struct TarMember {
  std::string name;
  std::string content;
};

class TarReader {
 public:
  explicit TarReader(ByteStream& stream) : stream_(stream) {}
  // The next member; nothing at the end, with no byte behind it. Allocates as it reads, not as a
  // header says. Errors: kBadData with the offset of what is not as tar_header and the others
  // write it, or is cut short; kIo.
  Result<std::optional<TarMember>> next();

 private:
  // Exactly `size` bytes, added to `out`.
  Result<void> read(std::size_t size, std::string& out, std::string_view what);
  [[nodiscard]] Error bad(std::uint64_t offset, std::string_view problem) const;
  ByteStream& stream_;
  std::uint64_t offset_ = 0;
};

}  // namespace poisonctl
