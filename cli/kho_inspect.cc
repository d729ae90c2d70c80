#include "cli/kho_inspect.h"

#include <fmt/format.h>

#include <array>
#include <bit>
#include <vector>

#include "cli/json.h"
#include "cli/output.h"
#include "registry/handover.h"
#include "registry/kho.h"
#include "registry/live_update.h"
#include "registry/placement.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kFolder = "sys/kernel/debug/kho";

struct Subtree {
  std::string name;
  std::optional<KhoSubtree> entry;  // what the root tree says of it
  std::uint64_t bytes = 0;          // that debugfs shows
  std::string what;                 // for people
  Json decoded = nullptr;
};

struct Direction {
  std::string name;
  std::optional<KhoRoot> root;
  std::vector<Subtree> subtrees;
};

struct Inspection {
  std::vector<Direction> directions;
  RangeSet scratch;
  std::vector<std::string> findings;
};

// Physical memory by /dev/mem, which most kernels give no RAM through (CONFIG_STRICT_DEVMEM).
MemoryReader memory_reader(const SysRoot& sysroot) {
  return [&sysroot](PhysAddr address, std::size_t bytes) -> Result<std::string> {
    const auto memory = sysroot.open("dev/mem");
    if (!memory) return memory.error();
    std::string content(bytes, '\0');
    const auto got = (*memory)->read_at(
        address.value(), std::as_writable_bytes(std::span<char>(content.data(), content.size())));
    if (!got) return got.error();
    if (*got != bytes) return Error{ErrorCode::kIo, sysroot.shown("dev/mem") + ": ends early"};
    return content;
  };
}

class Inspector {
 public:
  Inspector(const SysRoot& sysroot, PageShift shift) : sysroot_(sysroot), shift_(shift) {}

  Result<void> look(const std::string& direction, Inspection& inspection) {
    const std::string folder = fmt::format("{}/{}", kFolder, direction);
    const auto names = sysroot_.list(folder);
    if (!names && names.error().code == ErrorCode::kNoInput) return {};  // nothing came in
    if (!names) return names.error();
    Direction found{.name = direction, .root = std::nullopt, .subtrees = {}};
    if (auto read = read_root(folder + "/fdt", found, inspection); !read) return read;
    const auto subtrees = sysroot_.list(folder + "/sub_fdts");
    if (!subtrees) return subtrees.error();
    for (const std::string& name : *subtrees) {
      const std::string path = fmt::format("{}/sub_fdts/{}", folder, name);
      const auto blob = sysroot_.read(path);
      if (!blob) return blob.error();
      found.subtrees.push_back(describe(name, *blob, path, found, inspection));
    }
    inspection.directions.push_back(std::move(found));
    return {};
  }

 private:
  // out/fdt is there after a cold boot only (kho_init(), kernel/liveupdate/kexec_handover.c), and
  // debugfs shows as many bytes as it had then: once a subtree is added it is cut, and says
  // nothing.
  Result<void> read_root(const std::string& path, Direction& found, Inspection& inspection) const {
    const auto blob = sysroot_.read(path);
    if (!blob && blob.error().code == ErrorCode::kNoInput) return {};
    if (!blob) return blob.error();
    auto root = read_kho_root(*blob, std::endian::native, sysroot_.shown(path));
    if (!root && found.name == "out") return {};
    if (!root) {
      inspection.findings.push_back(root.error().message);
      return {};
    }
    if (root->version != kKhoVersion) {
      inspection.findings.push_back(fmt::format(
          "{}: is of version {}, this program was written for {}: what it says may mean something "
          "else, and a kernel of another version drops all of it",
          sysroot_.shown(path), printable(root->version), kKhoVersion));
    }
    found.root = *std::move(root);
    return {};
  }

  Subtree describe(const std::string& name, const std::string& blob, const std::string& path,
                   const Direction& found, Inspection& inspection) const {
    Subtree subtree{.name = name, .entry = std::nullopt, .bytes = blob.size(), .what = {}};
    if (found.root) {
      for (const KhoSubtree& entry : found.root->subtrees) {
        if (entry.name == name) subtree.entry = entry;
      }
    }
    const std::string shown = sysroot_.shown(path);
    if (name == kLuoSubtree && found.name == "in") {
      // kho_restore_free() in luo_early_startup() (kernel/liveupdate/luo_core.c): what debugfs
      // shows is whatever is in that memory now.
      subtree.what = "live update orchestrator, read and freed at boot";
    } else if (name == kLuoSubtree) {
      describe_luo(blob, shown, subtree, inspection);
    } else if (name == kHwpoisonSubtree) {
      describe_hwpoison(blob, shown, subtree, inspection);
    } else if (const auto handover = read_handover(blob, shown)) {
      const Handover& content = handover->content;
      subtree.what = fmt::format("a list of poisonctl, generation {}, {}{}", content.generation,
                                 counted(content.ranges.size(), "range"),
                                 handover->signature_fits ? "" : ", signature does not fit");
      subtree.decoded = {{"generation", content.generation},
                         {"ranges", content.ranges.size()},
                         {"signature_fits", handover->signature_fits}};
    }
    return subtree;
  }

  static void describe_luo(const std::string& blob, const std::string& shown, Subtree& subtree,
                           Inspection& inspection) {
    const auto version = read_luo_version(blob, shown);
    if (!version) {
      inspection.findings.push_back(version.error().message);
      return;
    }
    subtree.what = fmt::format("live update orchestrator, {}", *version);
    subtree.decoded = {{"version", *version}};
    if (*version == kLuoVersion) return;
    inspection.findings.push_back(fmt::format(
        "{}: is of version {}, not {}: a kernel that knows another one than this panics when it "
        "finds it",
        shown, printable(*version), kLuoVersion));
  }

  void describe_hwpoison(const std::string& blob, const std::string& shown, Subtree& subtree,
                         Inspection& inspection) const {
    const auto metadata = read_hwpoison(blob, std::endian::native, shift_, shown);
    if (!metadata) {
      inspection.findings.push_back(metadata.error().message);
      return;
    }
    subtree.what = fmt::format("poisoned frames of the kernel: {}", metadata->count);
    subtree.decoded = {{"count", metadata->count}, {"frames", nullptr}};
    const auto frames = read_hwpoison_frames(*metadata, std::endian::native, shift_,
                                             memory_reader(sysroot_), shown);
    if (!frames) {
      inspection.findings.push_back(
          fmt::format("{}: which frames cannot be told: {}", shown, frames.error().message));
      return;
    }
    std::vector<ByteRange> ranges;
    for (const Pfn frame : *frames) ranges.push_back(*ByteRange::from_frames(frame, 1, shift_));
    const RangeSet all = RangeSet::from_ranges(std::move(ranges));
    subtree.decoded["frames"] = to_json(all);
    for (const ByteRange& range : all.ranges()) subtree.what += "\n    " + to_text(range);
  }

  const SysRoot& sysroot_;
  PageShift shift_;
};

Json subtree_json(const Subtree& subtree) {
  return {{"name", subtree.name},
          {"address", subtree.entry ? Json(subtree.entry->address.value()) : Json()},
          {"blob_size", subtree.entry && subtree.entry->size ? Json(*subtree.entry->size) : Json()},
          {"bytes", subtree.bytes},
          {"decoded", subtree.decoded}};
}

void print_json(Output& output, const Inspection& inspection) {
  Json directions = Json::array();
  for (const Direction& direction : inspection.directions) {
    Json subtrees = Json::array();
    for (const Subtree& subtree : direction.subtrees) subtrees.push_back(subtree_json(subtree));
    const bool mapped = direction.root && direction.root->memory_map;
    directions.push_back(
        {{"direction", direction.name},
         {"version", direction.root ? Json(direction.root->version) : Json()},
         {"memory_map", mapped ? Json(direction.root->memory_map->value()) : Json()},
         {"subtrees", std::move(subtrees)}});
  }
  output.object({{"schema", "poisonctl/kho-v1"},
                 {"known_version", kKhoVersion},
                 {"directions", std::move(directions)},
                 {"scratch", to_json(inspection.scratch)},
                 {"findings", inspection.findings}});
}

void print_people(Output& output, const Inspection& inspection) {
  for (const Direction& direction : inspection.directions) {
    output.line(fmt::format("{}: {}", direction.name,
                            direction.root ? printable(direction.root->version)
                                           : "the kernel does not show its root tree"));
    for (const Subtree& subtree : direction.subtrees) {
      output.line(fmt::format(
          "  {}, {}{}{}", printable(subtree.name), counted(subtree.bytes, "byte"),
          subtree.entry ? fmt::format(" at {}", to_hex(subtree.entry->address.value())) : "",
          subtree.what.empty() ? "" : ": " + subtree.what));
    }
  }
  for (const ByteRange& range : inspection.scratch.ranges()) {
    output.line(fmt::format("scratch {} ({})", to_text(range), to_human_size(range.size())));
  }
  for (const std::string& finding : inspection.findings) output.warning(finding);
}

// Why there is nothing to look at, and what to do.
Error nothing_here(const SysRoot& sysroot, const Error& error) {
  if (error.code == ErrorCode::kNoPrivilege) return error;
  if (error.code != ErrorCode::kNoInput) return error;
  return {
      ErrorCode::kNotAvailable,
      fmt::format("{}: is not there: {}", sysroot.shown(kFolder),
                  kho_is_on(sysroot)
                      ? "KHO is on, so mount debugfs at /sys/kernel/debug, or the kernel has no "
                        "CONFIG_KEXEC_HANDOVER_DEBUGFS"
                      : why_no_live_update(sysroot))};
}

}  // namespace

Result<ExitStatus> inspect_kho(Invocation& invocation,
                               const std::optional<std::string>& direction) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  if (const auto there = (*root)->list(kFolder); !there) return nothing_here(**root, there.error());
  Inspector inspector(**root, (*machine)->page_shift);
  Inspection inspection;
  for (const char* const name : {"in", "out"}) {
    if (direction && *direction != name) continue;
    if (auto done = inspector.look(name, inspection); !done) return done.error();
  }
  const auto placement = load_placement(**root);
  if (!placement) return placement.error();
  inspection.scratch = placement->kho_scratch;
  Output& output = invocation.output();
  if (output.json()) {
    print_json(output, inspection);
  } else {
    print_people(output, inspection);
    if (direction == "in" && inspection.directions.empty()) {
      output.note("nothing came in: this kernel was not reached by a kexec with handover");
    }
  }
  return inspection.findings.empty() ? kExitDone : kExitFindings;
}

}  // namespace poisonctl
