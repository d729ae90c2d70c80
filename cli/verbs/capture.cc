// poisonctl capture: copies what poisonctl reads of a machine into a folder, so that it can be
// looked at elsewhere with --sysroot, or donated as a test.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <span>
#include <system_error>

#include "cli/verb.h"
#include "registry/kernel_config.h"
#include "registry/posix_file.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

// Some of it only root may read on the machine that it is from: addresses, serial numbers.
constexpr mode_t kFileMode = 0600;

// Files that are copied as they are. Every file that a part of poisonctl reads must be here or in
// one of the folders below.
constexpr std::array<std::string_view, 22> kFiles = {
    "etc/machine-id",
    "proc/cmdline",
    "proc/iomem",
    "proc/meminfo",
    "proc/self/auxv",
    "proc/sys/kernel/arch",
    "proc/sys/kernel/osrelease",
    "proc/sys/kernel/random/boot_id",
    "proc/sys/kernel/version",
    "proc/sys/vm/memory_failure_recovery",
    "sys/class/dmi/id/product_serial",
    "sys/class/dmi/id/product_uuid",
    "sys/class/misc/liveupdate/dev",
    "sys/devices/system/memory/block_size_bytes",
    "sys/firmware/acpi/tables/CEDT",
    "sys/firmware/acpi/tables/data/BERT",
    "sys/firmware/dmi/tables/DMI",
    "sys/firmware/fdt",
    "sys/kernel/boot_params/data",
    "sys/kernel/debug/kho/out/scratch_len",
    "sys/kernel/debug/kho/out/scratch_phys",
    "sys/kernel/debug/ras/fmpm/entries",
};

// Folders in which each entry `prefix`N is a folder with files of these names.
struct NumberedFolders {
  std::string_view folder;
  std::string_view prefix;
  std::array<std::string_view, 3> files;
};
constexpr std::array<NumberedFolders, 3> kFolders = {{
    {"sys/firmware/efi/runtime-map", "", {"phys_addr", "num_pages", ""}},
    {"sys/firmware/memmap", "", {"start", "end", "type"}},
    {"sys/devices/system/memory", "memory", {"state", "", ""}},
}};

void add_options(po::options_description& options) {
  options.add_options()(
      "without-page-flags",
      "leave /proc/kpageflags out (8 bytes a frame: 2 MiB for each GiB of memory)");
}

Result<void> copy_file(const SysRoot& from, const SysRoot& to, const std::string& path) {
  const auto content = from.read(path);
  if (!content) return content.error();
  return to.replace_file(path, *content, kFileMode);
}

bool is_numbered(std::string_view name, std::string_view prefix) {
  return name.starts_with(prefix) && parse_unsigned(name.substr(prefix.size()), 10).has_value();
}

// kpageflags block by block; blocks of zeros become holes of the file.
Result<void> copy_page_flags(const SysRoot& from, const std::string& target_root) {
  constexpr std::string_view kPath = "proc/kpageflags";
  const auto source = from.open(kPath);
  if (!source) return source.error();
  const std::string target = fmt::format("{}/{}", target_root, kPath);
  const auto cannot = [&] {
    return os_error("cannot write " + target, errno, ErrorCode::kCannotWrite);
  };
  const UniqueFd fd(
      ::open(target.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kFileMode));
  if (!fd.valid()) return cannot();
  std::vector<std::byte> block(1U << 20U);
  std::uint64_t offset = 0;
  for (;;) {
    const auto got = (*source)->read_at(offset, block);
    if (!got) return got.error();
    const std::span<const std::byte> words(block.data(), *got);
    const bool empty = std::all_of(words.begin(), words.end(),
                                   [](std::byte byte) { return byte == std::byte{0}; });
    if (!empty) {
      if (::lseek(fd.get(), static_cast<off_t>(offset), SEEK_SET) < 0) return cannot();
      const std::string_view bytes(reinterpret_cast<const char*>(words.data()), words.size());
      if (const int error = write_fully(fd.get(), bytes); error != 0) {
        errno = error;
        return cannot();
      }
    }
    offset += *got;
    if (*got < block.size()) break;
  }
  if (::ftruncate(fd.get(), static_cast<off_t>(offset)) != 0) return cannot();
  return {};
}

// Node folders are kept as empty files "memoryN", which is all that load_nodes looks at.
Result<void> copy_nodes(const SysRoot& from, const SysRoot& to) {
  constexpr std::string_view kDir = "sys/devices/system/node";
  const auto nodes = from.list(kDir);
  if (!nodes) return {};  // no NUMA
  for (const std::string& node : *nodes) {
    if (!is_numbered(node, "node")) continue;
    const std::string folder = fmt::format("{}/{}", kDir, node);
    const auto names = from.list(folder);
    if (!names) return names.error();
    for (const std::string& name : *names) {
      if (!is_numbered(name, "memory")) continue;
      if (auto made = to.replace_file(folder + "/" + name, "", kFileMode); !made) return made;
    }
  }
  return {};
}

// The memory controllers of EDAC: their DIMMs, and rows of chips with what they count.
void add_controllers(const SysRoot& from, const std::string& folder, unsigned depth,
                     std::vector<std::string>& paths) {
  constexpr std::array<std::string_view, 4> kParts = {"mc", "dimm", "rank", "csrow"};
  constexpr std::array<std::string_view, 3> kFilesOfParts = {"_count", "_label", "_location"};
  constexpr unsigned kDeepest = 2;  // mc/mc0/dimm0
  const auto names = from.list(folder);
  if (!names) return;  // no EDAC driver
  for (const std::string& name : *names) {
    const std::string path = fmt::format("{}/{}", folder, name);
    if (std::any_of(kFilesOfParts.begin(), kFilesOfParts.end(),
                    [&](std::string_view end) { return name.ends_with(end); })) {
      paths.push_back(path);
    }
    const bool part = std::any_of(kParts.begin(), kParts.end(), [&](std::string_view prefix) {
      return is_numbered(name, prefix);
    });
    if (part && depth < kDeepest) add_controllers(from, path, depth + 1, paths);
  }
}

// All of a repair but its trigger, which cannot be read.
void add_repairs(const SysRoot& from, std::vector<std::string>& paths) {
  const std::string folder = "sys/bus/edac/devices";
  const auto devices = from.list(folder);
  if (!devices) return;
  for (const std::string& device : *devices) {
    const auto repairs = from.list(fmt::format("{}/{}", folder, device));
    if (!device.starts_with("cxl_") || !repairs) continue;
    for (const std::string& repair : *repairs) {
      if (!is_numbered(repair, "mem_repair")) continue;
      const std::string inside = fmt::format("{}/{}/{}", folder, device, repair);
      const auto files = from.list(inside);
      if (!files) continue;
      for (const std::string& file : *files) {
        if (file != "repair") paths.push_back(fmt::format("{}/{}", inside, file));
      }
    }
  }
}

// CXL memory: devices, decoders and regions, and the repairs that a device offers.
void add_cxl(const SysRoot& from, std::vector<std::string>& paths) {
  constexpr std::array<std::string_view, 8> kOfDecoders = {
      "start",  "resource",     "size",    "interleave_ways", "interleave_granularity",
      "commit", "dpa_resource", "dpa_size"};
  const std::string folder = "sys/bus/cxl/devices";
  const auto names = from.list(folder);
  if (!names) return;
  for (const std::string& name : *names) {
    const std::string device = fmt::format("{}/{}", folder, name);
    if (is_numbered(name, "endpoint")) paths.push_back(device + "/uport/serial");
    if (is_numbered(name, "mem")) {
      for (const char* file : {"serial", "ram/size", "pmem/size"}) {
        paths.push_back(fmt::format("{}/{}", device, file));
      }
    }
    if (!name.starts_with("decoder") && !is_numbered(name, "region")) continue;
    const auto files = from.list(device);
    if (!files) continue;
    for (const std::string& file : *files) {
      if (std::find(kOfDecoders.begin(), kOfDecoders.end(), file) != kOfDecoders.end() ||
          file == "extended_linear_cache_size" || is_numbered(file, "target")) {
        paths.push_back(fmt::format("{}/{}", device, file));
      }
    }
  }
  add_repairs(from, paths);
}

// The hugetlb pools, and what a device tree says of the initrd and of reserved memory.
void add_placement(const SysRoot& from, std::vector<std::string>& paths) {
  const std::string pools = "sys/kernel/mm/hugepages";
  if (const auto names = from.list(pools)) {
    for (const std::string& name : *names) {
      paths.push_back(fmt::format("{}/{}/nr_hugepages", pools, name));
    }
  }
  const std::string tree = "sys/firmware/devicetree/base";
  for (const char* end : {"start", "end"}) {
    const std::string path = fmt::format("{}/chosen/linux,initrd-{}", tree, end);
    if (from.read(path)) paths.push_back(path);
  }
  const std::string reserved = tree + "/reserved-memory";
  const auto nodes = from.list(reserved);
  if (!nodes) return;
  for (const std::string& node : *nodes) {
    if (node == "#address-cells" || node == "#size-cells") paths.push_back(reserved + "/" + node);
    for (const char* property : {"compatible", "reg"}) {
      const std::string path = fmt::format("{}/{}/{}", reserved, node, property);
      if (from.read(path)) paths.push_back(path);
    }
  }
}

// What kexec handover holds in both directions.
void add_kho(const SysRoot& from, std::vector<std::string>& paths) {
  for (const char* const direction : {"in", "out"}) {
    const std::string folder = fmt::format("sys/kernel/debug/kho/{}", direction);
    if (from.read(folder + "/fdt")) paths.push_back(folder + "/fdt");
    const auto subtrees = from.list(folder + "/sub_fdts");
    if (!subtrees) continue;
    for (const std::string& name : *subtrees) paths.push_back(folder + "/sub_fdts/" + name);
  }
}

Result<void> make_empty_folder(const std::string& folder) {
  if (::mkdir(folder.c_str(), 0700) == 0) return {};
  if (errno != EEXIST) {
    return os_error("cannot make " + folder, errno, ErrorCode::kCannotWrite);
  }
  std::error_code error;
  const bool empty =
      std::filesystem::is_directory(folder, error) && std::filesystem::is_empty(folder, error);
  if (error || !empty) {
    return Error{ErrorCode::kCannotWrite,
                 fmt::format("{}: exists and is not an empty folder; name a new one", folder)};
  }
  return {};
}

Result<ExitStatus> run(Invocation& invocation) {
  const auto source = invocation.sysroot();
  if (!source) return source.error();
  // The one thing without which a capture is worth nothing, and that tells of missing privilege.
  if (const auto map = invocation.memory_map(); !map) return map.error();
  const std::string folder = invocation.arguments().front();
  if (auto made = make_empty_folder(folder); !made) return made.error();
  const auto target = open_sysroot(folder);
  if (!target) return target.error();

  std::vector<std::string> paths(kFiles.begin(), kFiles.end());
  for (const NumberedFolders& group : kFolders) {
    const auto names = (*source)->list(group.folder);
    if (!names) continue;  // not on this machine
    for (const std::string& name : *names) {
      if (!is_numbered(name, group.prefix)) continue;
      for (const std::string_view file : group.files) {
        if (!file.empty()) paths.push_back(fmt::format("{}/{}/{}", group.folder, name, file));
      }
    }
  }
  add_controllers(**source, "sys/devices/system/edac/mc", 0, paths);
  add_placement(**source, paths);
  add_kho(**source, paths);
  add_cxl(**source, paths);
  if (const auto config = kernel_config_path(**source)) paths.push_back(*config);

  // Write-only: that it is there is all that can be known.
  constexpr std::string_view kOffline = "sys/devices/system/memory/hard_offline_page";
  const auto memory = (*source)->list("sys/devices/system/memory");
  if (memory && std::binary_search(memory->begin(), memory->end(), "hard_offline_page")) {
    if (auto made = (*target)->replace_file(kOffline, "", kFileMode); !made) return made.error();
  }

  Output& output = invocation.output();
  for (const std::string& path : paths) {
    const auto copied = copy_file(**source, **target, path);
    if (copied) continue;
    if (copied.error().code == ErrorCode::kCannotWrite) return copied.error();
    output.detail("left out: " + copied.error().message);
  }
  if (auto copied = copy_nodes(**source, **target); !copied) return copied.error();
  if (!invocation.has("without-page-flags")) {
    if (auto copied = copy_page_flags(**source, folder); !copied) return copied.error();
  }
  output.note(
      fmt::format("captured into {}; it holds the machine id, the boot id, the kernel "
                  "command line and the serial numbers of memory modules: look before you share it",
                  folder));
  return kExitDone;
}

}  // namespace

const Verb kCaptureVerb = {
    .name = "capture",
    .arguments = "DIR",
    .summary = "Copy what poisonctl reads of this machine into a folder for --sysroot",
    .least_arguments = 1,
    .most_arguments = 1,
    .has_json = false,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
