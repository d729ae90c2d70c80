#include "cli/replay/carriers.h"

#include <fmt/format.h>

#include "backends/initrd.h"
#include "registry/handover.h"
#include "registry/posix_file.h"
#include "registry/preserved_list.h"

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

Result<std::string> read_handover_file(const std::string& path) {
  const auto fd = open_own_file(path, "handover");
  if (!fd) return fd.error();
  // A region of memory that carries one may be longer than it.
  return read_up_to(*fd, kMostHandoverBytes, path);
}

std::vector<FoundHandover> keep_preserved(LiveUpdate& live_update, const SysRoot& sysroot) {
  constexpr mode_t kMode = 0600;
  std::vector<FoundHandover> left;
  auto received = ReceivedLists::receive(live_update);
  if (!received) {
    left.push_back({sysroot.shown(kLiveUpdateDevice), received.error()});
    return left;
  }
  for (const ReceivedList& list : received->lists()) {
    if (!list.blob) {
      left.push_back({list.from, list.blob});
      continue;
    }
    const auto kept =
        sysroot.replace_file(fmt::format("{}/{}", kPreservedFolder, list.name), *list.blob, kMode);
    if (kept) continue;
    left.push_back({list.from, kept.error()});
    left.push_back({list.from, list.blob});
  }
  if (auto finished = received->finish(); !finished) {
    left.push_back({sysroot.shown(kLiveUpdateDevice), finished.error()});
  }
  return left;
}

std::vector<FoundHandover> find_handovers(const SysRoot& sysroot) {
  std::vector<FoundHandover> found;
  if (const auto kept = sysroot.list(kPreservedFolder)) {
    for (const std::string& name : *kept) {
      add_file(sysroot, fmt::format("{}/{}", kPreservedFolder, name), found);
    }
  }
  add_file(sysroot, fmt::format("{}/{}", kInitrdFolder, kInitrdFile), found);
  add_file(sysroot, kBuiltInHandover, found);
  const auto records = sysroot.list(kPstore);
  if (!records) return found;  // no pstore here
  for (const std::string& name : *records) {
    if (name.starts_with(kPmsg)) add_record(sysroot, fmt::format("{}/{}", kPstore, name), found);
  }
  return found;
}

}  // namespace poisonctl
