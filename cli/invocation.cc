#include "cli/invocation.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <ctime>

#include "cli/version.h"
#include "registry/checkpoint.h"
#include "registry/posix_file.h"
#include "registry/range_text.h"

namespace poisonctl {

namespace {

Result<void> make_default_folder() {
  constexpr const char* kFolder = "/var/lib/poisonctl";
  if (::mkdir(kFolder, S_IRWXU | S_IRGRP | S_IXGRP) != 0 && errno != EEXIST) {
    return os_error(fmt::format("cannot make {}", kFolder), errno, ErrorCode::kCannotWrite);
  }
  return {};
}

Time now() {
  return std::chrono::time_point_cast<Time::duration>(std::chrono::system_clock::now());
}

std::uint64_t boot_time_ns() {
  timespec now{};
  if (::clock_gettime(CLOCK_BOOTTIME, &now) != 0) return 0;
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

std::vector<std::string> Invocation::arguments() const {
  return has("argument") ? option<std::vector<std::string>>("argument")
                         : std::vector<std::string>();
}

const std::string& Invocation::registry_path() const { return option<std::string>("registry"); }

Result<const SysRoot*> Invocation::sysroot() {
  if (!sysroot_) {
    auto opened = open_sysroot(option<std::string>("sysroot"));
    if (!opened) return opened.error();
    sysroot_ = *std::move(opened);
  }
  return sysroot_.get();
}

Result<const Machine*> Invocation::machine() {
  if (!machine_) {
    const auto root = sysroot();
    if (!root) return root.error();
    auto loaded = load_machine(**root);
    if (!loaded) return loaded.error();
    machine_ = *std::move(loaded);
  }
  return &*machine_;
}

Result<const MemoryMap*> Invocation::memory_map() {
  if (!memory_map_) {
    const auto root = sysroot();
    if (!root) return root.error();
    auto loaded = load_memory_map(**root);
    if (!loaded) return loaded.error();
    memory_map_ = *std::move(loaded);
  }
  return &*memory_map_;
}

Result<CheckedMachine> Invocation::checked_machine() {
  const auto here = machine();
  if (!here) return here.error();
  const auto map = memory_map();
  if (!map) return map.error();
  if (!placement_) {
    auto loaded = load_placement(*sysroot_);
    if (!loaded) return loaded.error();
    auto nodes = load_nodes(*sysroot_);
    if (!nodes) return nodes.error();
    for (const std::string& missing : loaded->not_known) output().warning(missing);
    placement_ = *std::move(loaded);
    nodes_ = *std::move(nodes);
  }
  return CheckedMachine{**map, *placement_, nodes_, (*here)->page_shift};
}

Result<const TopologyReading*> Invocation::topology() {
  if (!topology_) {
    const auto here = machine();
    if (!here) return here.error();
    const auto map = memory_map();
    if (!map) return map.error();
    auto loaded = load_topology(*sysroot_, **here, **map);
    if (!loaded) return loaded.error();
    topology_ = *std::move(loaded);
  }
  return &*topology_;
}

Result<Quarantine> Invocation::quarantine(Store& store) {
  const auto now = topology();
  if (!now) {
    output().detail("the topology cannot be read, so no record is compared with it: " +
                    now.error().message);
    return Quarantine::prepare({}, {});
  }
  const auto snapshots = store.snapshots();
  if (!snapshots) return snapshots.error();
  return Quarantine::prepare(*snapshots, (*now)->topology);
}

Result<Store> Invocation::open_store(Store::Mode mode) {
  if (mode == Store::Mode::kCreate && registry_path() == kDefaultRegistry) {
    if (auto made = make_default_folder(); !made) return made.error();
  }
  auto store = Store::open(registry_path(), mode);
  if (!store && store.error().code == ErrorCode::kNoInput) {
    return Error{ErrorCode::kNoInput,
                 mode == Store::Mode::kCreate
                     ? fmt::format("{}: its folder does not exist; make it first", registry_path())
                     : fmt::format("no registry at {}: nothing has been recorded there yet. "
                                   "'poisonctl record' or 'poisonctl collect' makes it",
                                   registry_path()),
                 store.error().os_error};
  }
  if (!store || !store->upgraded_from()) return store;
  output().note(fmt::format(
      "{}: brought from schema {} to the newest; the old file is {}.schema-{}", registry_path(),
      *store->upgraded_from(), registry_path(), *store->upgraded_from()));
  // Entries of schema 1 have hashes only now: pin them.
  if (auto pinned = pin_head(*store, registry_path(), now()); !pinned) return pinned.error();
  return store;
}

Result<Provenance> Invocation::provenance(const std::string& source) {
  const auto here = machine();
  if (!here) return here.error();
  Provenance made;
  made.time = now();
  // A captured machine's clock stands still.
  if (option<std::string>("sysroot") == "/") made.monotonic_ns = boot_time_ns();
  made.source = source;
  made.tool = fmt::format("poisonctl {}", kVersion);
  made.uid = ::getuid();
  made.boot_id = (*here)->boot_id;
  made.kernel_release = (*here)->kernel_release;
  made.host_id = (*here)->host_id;
  made.product_uuid = (*here)->product_uuid;
  made.product_serial = (*here)->product_serial;
  made.page_shift = (*here)->page_shift;
  // Who may not see the memory map can still record.
  if (const auto now = topology()) made.topology = to_text((*now)->topology);
  return made;
}

Result<std::vector<ByteRange>> Invocation::ranges(const std::vector<std::string>& words) {
  const auto here = machine();
  if (!here) return here.error();
  std::vector<ByteRange> parsed;
  for (const std::string& word : words) {
    const auto range = parse_range(word, (*here)->page_shift);
    if (!range) return range.error();
    parsed.push_back(*range);
  }
  return parsed;
}

}  // namespace poisonctl
