// One run of poisonctl: its options, and the parts of the machine and the registry that a verb asks
// for. Everything is opened on first use, so that a verb needs no more privilege than it uses.
#pragma once

#include <boost/program_options/variables_map.hpp>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/output.h"
#include "registry/check.h"
#include "registry/event.h"
#include "registry/machine.h"
#include "registry/memory_map.h"
#include "registry/placement.h"
#include "registry/quarantine.h"
#include "registry/result.h"
#include "registry/store.h"
#include "registry/sysroot.h"
#include "registry/topology.h"

namespace poisonctl {

inline constexpr const char* kDefaultRegistry = "/var/lib/poisonctl/registry.db";

class Invocation {
 public:
  Invocation(boost::program_options::variables_map options, Output& output)
      : options_(std::move(options)), output_(output) {}

  // Typed access to options that the verb has declared.
  template <typename T>
  [[nodiscard]] const T& option(const char* name) const {
    return options_[name].as<T>();
  }
  [[nodiscard]] bool has(const char* name) const { return options_.count(name) != 0; }
  // The words after the verb.
  [[nodiscard]] std::vector<std::string> arguments() const;
  [[nodiscard]] Output& output() { return output_; }

  [[nodiscard]] const std::string& registry_path() const;

  // Each is read once; the reference stays valid as long as the Invocation.
  Result<const SysRoot*> sysroot();
  Result<const Machine*> machine();
  Result<const MemoryMap*> memory_map();
  // What the checks go by. What this user may not see is warned of, once.
  Result<CheckedMachine> checked_machine();

  Result<const TopologyReading*> topology();
  // What became of the records of this registry's snapshots on this machine. Where the topology
  // cannot be read at all, nothing is said against any record.
  Result<Quarantine> quarantine(Store& store);
  // The next memory_map() reads it again, and whatever follows from it: for a run so long that
  // memory is added or removed.
  void forget_memory_map() {
    memory_map_.reset();
    placement_.reset();
    topology_.reset();
  }

  // The registry. kCreate also makes the folder of the default path (0750). A registry that does
  // not exist is kNoInput with a message for people.
  // An older one that is opened for writing is upgraded, and a note says so.
  [[nodiscard]] Result<Store> open_store(Store::Mode mode);

  // Who and where, for events from `source`.
  Result<Provenance> provenance(const std::string& source);

  // RANGE arguments, by this machine's page size.
  Result<std::vector<ByteRange>> ranges(const std::vector<std::string>& words);

 private:
  boost::program_options::variables_map options_;
  Output& output_;
  std::unique_ptr<SysRoot> sysroot_;
  std::optional<Machine> machine_;
  std::optional<MemoryMap> memory_map_;
  std::optional<Placement> placement_;
  std::vector<NodeRange> nodes_;
  std::optional<TopologyReading> topology_;
};

}  // namespace poisonctl
