#include "backends/cpio.h"

#include <fmt/format.h>

#include <cstddef>

namespace poisonctl {

namespace {

constexpr std::size_t kAlignment = 4;

void pad(std::string& archive, std::size_t alignment) {
  archive.resize((archive.size() + alignment - 1) / alignment * alignment, '\0');
}

struct Entry {
  unsigned inode;
  unsigned mode;
  unsigned links;
  std::string_view name;
  std::string_view content;
};

// Thirteen numbers of eight hexadecimal digits; the last, a checksum, is 0 in this form. Links: a
// file with one is never taken for a second name of another archive's file (init/initramfs.c).
void add(std::string& archive, const Entry& entry) {
  const std::size_t name_size = entry.name.size() + 1;
  archive += fmt::format(
      "070701{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}"
      "{:08X}{:08X}",
      entry.inode, entry.mode, 0, 0, entry.links, 0, entry.content.size(), 0, 0, 0, 0, name_size,
      0);
  archive += entry.name;
  archive += '\0';
  pad(archive, kAlignment);
  archive += entry.content;
  pad(archive, kAlignment);
}

}  // namespace

std::string cpio_with_file(std::string_view folder, std::string_view file,
                           std::string_view content) {
  constexpr unsigned kFolder = 0040700;
  constexpr unsigned kFile = 0100400;
  std::string archive;
  add(archive, {.inode = 1, .mode = kFolder, .links = 2, .name = folder, .content = {}});
  const std::string path = fmt::format("{}/{}", folder, file);
  add(archive, {.inode = 2, .mode = kFile, .links = 1, .name = path, .content = content});
  add(archive, {.inode = 0, .mode = 0, .links = 1, .name = "TRAILER!!!", .content = {}});
  pad(archive, kCpioBlock);
  return archive;
}

}  // namespace poisonctl
