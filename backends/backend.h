// The contract of a backend: one way to keep ranges out of a kernel, or to carry the list of them
// to one. A backend sees a retire list and facts about the machine; it never reads the registry.
#pragma once

#include <cstdint>
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
  bool binary = false;                    // the artifact is no text: it belongs into a file
};

// What a plan is asked for.
struct PlanRequest {
  const RetireList& list;
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
  [[nodiscard]] virtual Reach reach() const { return Reach::kExcludes; }
  // Looks at features of the machine, never at version numbers.
  [[nodiscard]] virtual Availability probe(const SysRoot& sysroot) const = 0;
  // Reads what it must know of the machine and plans; changes nothing. Errors: those of the files
  // it reads. To be called only where probe says it is available.
  [[nodiscard]] virtual Result<Plan> plan(const PlanRequest& request,
                                          const SysRoot& sysroot) const = 0;
};

}  // namespace poisonctl
