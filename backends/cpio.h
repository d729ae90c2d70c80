// A cpio archive in the "newc" form that kernels unpack as an initramfs
// (Documentation/driver-api/early-userspace/buffer-format.rst).
#pragma once

#include <string>
#include <string_view>

namespace poisonctl {

// Kernels, boot loaders and cpio(1) go on with the next archive at a multiple of this.
inline constexpr std::size_t kCpioBlock = 512;

// One file, readable by root alone, in a folder below the root, and the end mark, padded with zeros
// to a multiple of kCpioBlock: another archive, compressed or not, may follow. No times, owners or
// inode numbers of this machine: the same content always gives the same bytes. `content` must be
// smaller than 4 GiB.
std::string cpio_with_file(std::string_view folder, std::string_view file,
                           std::string_view content);

}  // namespace poisonctl
