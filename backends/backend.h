// The contract of a backend: one way to keep ranges out of a kernel, or to carry the list of them
// to one. A backend sees a retire list and facts about the machine; it never reads the registry.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "registry/range_set.h"
#include "registry/result.h"
#include "registry/retire_list.h"
#include "registry/sysroot.h"

namespace poisonctl {

// What a machine can do with a backend, and if not, why and what would help.
struct Availability {
  bool available = false;
  std::string reason;  // one sentence in both cases
};

// What it means for a range that a backend covers it.
enum class Reach {
  kExcludes,  // no kernel that gets the artifact hands the frames out
  kCarries,  // the list reaches the next kernel, which has to act on it: until then frames are free
};
constexpr std::string_view to_word(Reach reach) {
  return reach == Reach::kExcludes ? "excludes" : "carries";
}

// What a plan would do. For every plan, `covered` and `refused` are disjoint and together exactly
// the frames of the retire list and what it had refused already: no byte is dropped silently.
struct Plan {
  RangeSet covered;
  std::vector<Refusal> refused;           // sorted by address
  std::vector<std::string> side_effects;  // what else changes, one sentence each
  std::string artifact = {};              // what emit writes; empty when there is nothing to write
};

// Who starts the next kernel. Each has limits of its own.
enum class Loader {
  kKexec,  // this kernel, by kexec: the tightest limits, which all others keep too
  kBoot,   // a boot loader, cold
};

// Where the text of memmap=SIZE$ADDR goes: what reads it there must leave the '$' alone.
enum class Quoting {
  kPlain,        // to the kernel as it is
  kShell,        // an argument of a shell command
  kGrub,         // grub.cfg
  kGrubDefault,  // a value in double quotes in /etc/default/grub
};

// How an option for the next kernel's command line is to be.
struct CommandLineRequest {
  Loader loader = Loader::kKexec;
  // The command line that it goes into; nothing: that of this boot, and the artifact is the option
  // alone.
  std::optional<std::string> merge = {};
  // Others that it goes into as well: it is made so that it fits into the fullest of all.
  std::vector<std::string> also = {};
  std::size_t kept_free = 0;            // bytes for what a boot loader adds to each
  std::uint64_t widen = 0;              // join ranges less than so many bytes apart, if need be
  std::optional<Quoting> reserve = {};  // SIZE$ADDR, in these quotes
};

// What a plan is asked for.
struct PlanRequest {
  const RetireList& list;
  // One of Backend::forms(), or nothing for the usual one.
  std::string_view form = {};
  CommandLineRequest command_line = {};
  // The list as a signed handover (registry/handover.h), for backends that carry it.
  std::string_view handover = {};
  // For devicetree: the flattened device tree to add to, and what it is called in messages. Empty:
  // that of the running kernel.
  std::string_view device_tree = {};
  std::string_view device_tree_name = {};
  bool overlay = false;  // only what is to be added to that tree
};

// Stateless: every method may be called from any thread.
class Backend {
 public:
  Backend() = default;
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  virtual ~Backend() = default;

  // As on the command line.
  [[nodiscard]] virtual std::string_view name() const = 0;
  // What it does, in one line for people.
  [[nodiscard]] virtual std::string_view summary() const = 0;
  // What emit can write other than the usual artifact, by name.
  [[nodiscard]] virtual std::span<const std::string_view> forms() const { return {}; }
  // Whether the artifact of that form is no text, and so belongs into a file.
  [[nodiscard]] virtual bool is_binary(std::string_view /*form*/) const { return false; }
  [[nodiscard]] virtual Reach reach() const { return Reach::kExcludes; }
  // Looks at features of the machine, never at version numbers.
  [[nodiscard]] virtual Availability probe(const SysRoot& sysroot) const = 0;
  // Reads what it must know of the machine and plans; changes nothing. Errors: those of the files
  // it reads. To be called only where probe says it is available.
  [[nodiscard]] virtual Result<Plan> plan(const PlanRequest& request,
                                          const SysRoot& sysroot) const = 0;
};

}  // namespace poisonctl
