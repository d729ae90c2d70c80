#include "backends/reserve_mem.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <optional>

#include "registry/kernel_config.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// The smallest region: what a list of some thousand ranges takes, so that a list that grows does
// not change the command line at once.
constexpr std::size_t kLeastBytes = 256U << 10U;
// reserve_mem= came with this version; no file tells of it (Documentation/admin-guide/
// kernel-parameters.txt).
constexpr std::array<std::uint64_t, 2> kFirstVersion = {6, 12};

// struct persistent_ram_buffer (fs/pstore/ram_core.c) is in the region too; with its checksums,
// which are off by default, more.
constexpr std::uint64_t kRingHead = 12;

// "6.12.3-amd64" is {6, 12}.
std::optional<std::array<std::uint64_t, 2>> version_of(std::string_view release) {
  std::array<std::uint64_t, 2> version{};
  for (std::uint64_t& part : version) {
    const std::size_t digits = std::min(release.find_first_not_of("0123456789"), release.size());
    const auto number = parse_unsigned(release.substr(0, digits), 10);
    if (!number) return std::nullopt;
    part = *number;
    release.remove_prefix(std::min(digits + 1, release.size()));
  }
  return version;
}

}  // namespace

std::size_t reserve_mem_bytes(std::size_t handover_bytes) {
  // Twice: whatever else is written to pmsg until the next boot pushes the oldest bytes out
  // (fs/pstore/ram_core.c keeps a ring), and ramoops rounds down to a power of two (ramoops_probe).
  return std::max(kLeastBytes, std::bit_ceil(2 * handover_bytes));
}

Result<std::size_t> pmsg_bytes(const SysRoot& sysroot) {
  // Parameters of modules: fs/pstore/platform.c ("(null)" without a backend), fs/pstore/ram.c.
  const auto backend = sysroot.read("sys/module/pstore/parameters/backend");
  if (!backend && backend.error().code != ErrorCode::kNoInput) return backend.error();
  if (!backend || trim(*backend) != "ramoops") {
    return Error{ErrorCode::kNotAvailable,
                 fmt::format("/{}: this kernel keeps no region for it (the backend of pstore is "
                             "{}): start it, and the next one, with what 'poisonctl emit "
                             "reserve-mem' prints",
                             kPmsgDevice, backend ? printable(trim(*backend)) : "not there")};
  }
  const std::string path = "sys/module/ramoops/parameters/pmsg_size";
  const auto text = sysroot.read(path);
  if (!text) return text.error();
  const auto bytes = parse_unsigned(trim(*text), 10);
  if (bytes && *bytes > kRingHead) return static_cast<std::size_t>(*bytes - kRingHead);
  return Error{ErrorCode::kBadData,
               fmt::format("{}: expected a number of bytes above {}, found '{}'",
                           sysroot.shown(path), kRingHead, printable(trim(*text)))};
}

Result<void> write_pmsg(const SysRoot& sysroot, std::string_view handover) {
  const auto device = sysroot.open_device(kPmsgDevice);
  if (!device) return device.error();
  const std::string shown = sysroot.shown(kPmsgDevice);
  ssize_t written = 0;
  do {
    written = ::write(device->get(), handover.data(), handover.size());
  } while (written < 0 && errno == EINTR);
  if (written < 0) return os_error(shown, errno, ErrorCode::kIo);
  if (static_cast<std::size_t>(written) == handover.size()) return {};
  return Error{ErrorCode::kIo,
               fmt::format("{}: took {} of {} bytes", shown, written, handover.size())};
}

Availability ReserveMemBackend::probe(const SysRoot& sysroot) const {
  const auto release = sysroot.read("proc/sys/kernel/osrelease");
  if (!release) return {false, release.error().message};
  const std::string_view name = trim(*release);
  const auto version = version_of(name);
  if (!version || *version < kFirstVersion) {
    return {false, fmt::format("this kernel ({}) has no reserve_mem=, which came with Linux 6.12",
                               printable(name))};
  }
  const auto config = KernelConfig::load(sysroot);
  if (!config) {
    return {false, config.error().message +
                       ", so whether this kernel has CONFIG_PSTORE_RAM and CONFIG_PSTORE_PMSG "
                       "cannot be told"};
  }
  for (const std::string_view option : {"CONFIG_PSTORE_RAM", "CONFIG_PSTORE_PMSG"}) {
    const auto value = config->value(option);
    if (value != "y" && value != "m") {
      return {false, fmt::format("this kernel was built without {}", option)};
    }
  }
  return {true,
          "the kernel has reserve_mem=, ramoops and pmsg; the region keeps its place over a "
          "kexec with KHO (kho=on) alone"};
}

Result<Plan> ReserveMemBackend::plan(const PlanRequest& request, const SysRoot& /*sysroot*/) const {
  const std::size_t bytes = reserve_mem_bytes(request.handover.size());
  Plan plan{.covered = request.list.frames,
            .refused = request.list.refused,
            .side_effects = {},
            // Everything but pmsg is switched off: each would take a page and more of the region.
            .artifact = fmt::format(
                "reserve_mem={:#x}:4096:poison ramoops.mem_name=poison ramoops.pmsg_size={:#x} "
                "ramoops.record_size=0 ramoops.console_size=0 ramoops.ftrace_size=0\n",
                bytes, bytes)};
  if (plan.covered.empty()) return plan;
  plan.side_effects = {
      "keeps nothing out: reserve_mem= has no address; the frames are free until the list is acted "
      "on in the next kernel",
      "holds over a kexec with KHO (kho=on) and never over a cold boot; the kernel that writes it "
      "to "
      "/dev/pmsg0 and the next one need the same options",
      fmt::format("{} of RAM are taken for pstore", to_human_size(bytes)),
  };
  return plan;
}

}  // namespace poisonctl
