#include "cli/replay/carriers.h"

#include <fmt/format.h>

#include "registry/handover.h"

namespace poisonctl {

namespace {

constexpr std::string_view kPstore = "sys/fs/pstore";
constexpr std::string_view kPmsg = "pmsg-";  // fs/pstore/inode.c: "pmsg-ramoops-0"
// FDT_MAGIC, big-endian: Devicetree Specification v0.4, 5.2.
constexpr std::string_view kMagic = "\xd0\x0d\xfe\xed";

void add_file(const SysRoot& sysroot, std::string_view path, std::vector<FoundHandover>& found) {
  auto blob = sysroot.read(path, kMostHandoverBytes);
  if (!blob && blob.error().code == ErrorCode::kNoInput) return;
  found.push_back({sysroot.shown(path), std::move(blob)});
}

void add_record(const SysRoot& sysroot, const std::string& path,
                std::vector<FoundHandover>& found) {
  const auto record = sysroot.read(path, kMostHandoverBytes);
  if (!record) {
    found.push_back({sysroot.shown(path), record.error()});
    return;
  }
  // Anybody may write to pmsg: what is no handover at all is nobody's failure.
  for (const std::size_t at : handovers_in_record(*record)) {
    const std::string shown = fmt::format("{}, offset {}", sysroot.shown(path), at);
    std::string blob = record->substr(at);
    if (read_handover(blob, shown)) found.push_back({shown, std::move(blob)});
  }
}

}  // namespace

std::vector<std::size_t> handovers_in_record(std::string_view record) {
  std::vector<std::size_t> places;
  for (std::size_t at = record.rfind(kMagic); at != std::string_view::npos;
       at = at == 0 ? std::string_view::npos : record.rfind(kMagic, at - 1)) {
    places.push_back(at);
    if (places.size() == kMostInRecord) break;
  }
  return places;
}

std::vector<FoundHandover> find_handovers(const SysRoot& sysroot) {
  std::vector<FoundHandover> found;
  add_file(sysroot, kInitrdHandover, found);
  add_file(sysroot, kBuiltInHandover, found);
  const auto records = sysroot.list(kPstore);
  if (!records) return found;  // no pstore here
  for (const std::string& name : *records) {
    if (name.starts_with(kPmsg)) add_record(sysroot, fmt::format("{}/{}", kPstore, name), found);
  }
  return found;
}

}  // namespace poisonctl
