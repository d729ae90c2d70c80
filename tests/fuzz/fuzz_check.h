// What a fuzz target calls when its invariant does not hold. Not assert: optimised builds drop it.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace poisonctl {

inline void fuzz_check(bool holds, const char* invariant) {
  if (holds) return;
  std::fprintf(stderr, "does not hold: %s\n", invariant);
  std::abort();
}

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// No error shown to a person may carry what an input wrote to move the cursor.
inline void fuzz_check_shown(std::string_view message) {
  fuzz_check(!message.empty(), "an error has a message");
  for (const char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    fuzz_check(byte >= 0x20 && byte != 0x7f, "a message has no control characters");
  }
}

}  // namespace poisonctl
