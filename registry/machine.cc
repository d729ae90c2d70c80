#include "registry/machine.h"

#include <fmt/format.h>

#include <array>

#include "registry/bytes.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::uint64_t kAtPageSize = 6;  // AT_PAGESZ, uapi linux/auxvec.h

// One form of the vector: the machine that was captured need not be the one that reads.
struct WordForm {
  std::size_t bytes;
  bool is_big_endian;
};

std::uint64_t word_at(std::string_view data, std::size_t offset, WordForm form) {
  const std::string_view word = data.substr(offset, form.bytes);
  return form.is_big_endian ? big_endian(word) : little_endian(word);
}

std::optional<PageShift> page_size_in(std::string_view auxv, WordForm form) {
  for (std::size_t at = 0; at + 2 * form.bytes <= auxv.size(); at += 2 * form.bytes) {
    if (word_at(auxv, at, form) == kAtPageSize) {
      return PageShift::from_page_size(word_at(auxv, at + form.bytes, form));
    }
  }
  return std::nullopt;
}

std::string optional_line(const SysRoot& sysroot, std::string_view path) {
  const auto text = sysroot.read(path);
  return text ? std::string(trim(*text)) : std::string();
}

}  // namespace

Result<PageShift> parse_auxv_page_size(std::string_view auxv, const std::string& shown) {
  constexpr std::array kForms = {WordForm{8, false}, WordForm{8, true}, WordForm{4, false}};
  for (const WordForm form : kForms) {
    if (const auto shift = page_size_in(auxv, form)) return *shift;
  }
  return Error{ErrorCode::kBadData,
               fmt::format("{}: no AT_PAGESZ with a page size of 4 KiB to 256 KiB in its {} bytes",
                           shown, auxv.size())};
}

Result<Machine> load_machine(const SysRoot& sysroot) {
  constexpr std::string_view kAuxv = "proc/self/auxv";
  const auto auxv = sysroot.read(kAuxv);
  if (!auxv) return auxv.error();
  const auto shift = parse_auxv_page_size(*auxv, sysroot.shown(kAuxv));
  if (!shift) return shift.error();
  const auto release = sysroot.read("proc/sys/kernel/osrelease");
  if (!release) return release.error();
  const auto boot_id = sysroot.read("proc/sys/kernel/random/boot_id");
  if (!boot_id) return boot_id.error();
  return Machine{
      .page_shift = *shift,
      .architecture = optional_line(sysroot, "proc/sys/kernel/arch"),
      .kernel_release = std::string(trim(*release)),
      .boot_id = std::string(trim(*boot_id)),
      .host_id = optional_line(sysroot, "etc/machine-id"),
      .product_uuid = optional_line(sysroot, "sys/class/dmi/id/product_uuid"),
      .product_serial = optional_line(sysroot, "sys/class/dmi/id/product_serial"),
      .command_line = optional_line(sysroot, "proc/cmdline"),
  };
}

Result<std::optional<std::uint64_t>> read_hardware_corrupted(const SysRoot& sysroot) {
  constexpr std::string_view kPath = "proc/meminfo";
  const auto text = sysroot.read(kPath);
  if (!text) return text.error();
  std::size_t number = 0;
  for (const std::string_view line : split_lines(*text)) {
    ++number;
    if (!line.starts_with("HardwareCorrupted:")) continue;
    const auto words = split_words(line);
    const auto kib =
        words.size() == 3 && words[2] == "kB" ? parse_unsigned(words[1], 10) : std::nullopt;
    if (!kib || *kib > kPhysAddrLimit >> 10U) {
      return Error{ErrorCode::kBadData,
                   fmt::format("{}:{}: expected 'HardwareCorrupted: N kB', found '{}'",
                               sysroot.shown(kPath), number, printable(line))};
    }
    return std::optional(*kib << 10U);
  }
  return std::optional<std::uint64_t>();
}

}  // namespace poisonctl
