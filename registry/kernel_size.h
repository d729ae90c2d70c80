// Numbers as the kernel reads them on its command line.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace poisonctl {

// Takes a number off the front of `text` as the kernel's memparse() reads it (lib/cmdline.c):
// decimal, hexadecimal after 0x, octal after any other leading 0, then one of K M G T P E (either
// case). Nothing, and `text` untouched, where there is none or where it does not fit 64 bits (the
// kernel wraps).
std::optional<std::uint64_t> take_kernel_size(std::string_view& text);

}  // namespace poisonctl
