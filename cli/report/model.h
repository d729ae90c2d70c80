// All that a report shows, of bounded size whatever the registry holds: filled in one pass over the
// records and one over the events, and then only read. The page, the map and the metrics are three
// ways to write it down.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/replay/report.h"
#include "cli/report/address_map.h"
#include "cli/report/fault_cells.h"
#include "cli/report/time_line.h"
#include "registry/check.h"
#include "registry/machine.h"
#include "registry/memory_map.h"
#include "registry/quarantine.h"
#include "registry/record.h"
#include "registry/store.h"
#include "registry/topology.h"

namespace poisonctl {

// Records, and the distinct bytes of whole frames that they take.
struct Tally {
  std::uint64_t records = 0;
  std::uint64_t bytes = 0;
};
using Tallies = std::array<Tally, kStandings>;  // by Standing

// A memory module that is there now, and the records at addresses that it answers. Quarantined
// records are about other memory and are counted at no module.
struct ModuleFacts {
  MemoryModule module;
  Tallies alone = {};   // it is the only one that answers there
  Tallies shared = {};  // so do others, in turn
};

// A device as the sources of events call it.
struct DeviceFacts {
  std::string label;
  DramCoordinates place;  // socket to slot: which device, not where in it
  std::uint64_t errors = 0;
  FaultCells cells = {};
};

struct NodeFacts {
  unsigned node = 0;
  std::uint64_t memory = 0;  // bytes
  std::uint64_t faulty = 0;  // bytes of faulty frames in it
};

// How many huge pages of one size hold a faulty frame, of all that the memory has room for.
struct HugePageFacts {
  std::uint64_t size = 0;
  std::uint64_t touched = 0;
};

// What one rule of the checks found.
struct RuleFacts {
  const Rule* rule = nullptr;
  std::uint64_t findings = 0;
  std::vector<ByteRange> examples;  // the first few
  std::string detail;               // of the first that has one
};

struct SourceFacts {
  std::uint64_t entries = 0;
  std::uint64_t errors = 0;  // with their counts
  Time first{};
  Time last{};
  std::string tool = {};  // of the newest
  std::string origin = {};
};

// A record that is shown by itself, and what is behind it.
struct ShownRecord {
  Record record;
  Standing standing = Standing::kInUse;
  std::vector<std::string> modules = {};  // slot and serial of those that answer there
  std::vector<StoredEvent> events = {};   // the first few and the newest few
  std::uint64_t events_between = 0;       // left out between those
};

// What the list of what must be kept out comes to.
struct ListFacts {
  std::uint64_t wanted = 0;    // bytes that faulty and quarantined records ask for
  std::uint64_t accepted = 0;  // bytes that pass the checks
  std::string bound;           // which bound that passes, in words; else empty
};

struct ReportModel {
  ReportModel(Machine about, AddressMap of_memory)
      : machine(std::move(about)), map(std::move(of_memory)) {}

  // The machine and the registry, when this was made.
  Time made{};
  Machine machine;
  std::string registry;
  bool has_registry = false;
  ChainHead head;
  std::int64_t entries_since = 0;  // written while this was collected
  std::uint64_t generation = 0;
  std::uint64_t ram = 0;       // bytes that this kernel manages
  std::uint64_t left_out = 0;  // bytes that an option or the firmware keeps from it
  std::optional<std::uint64_t> hardware_corrupted;  // bytes that the kernel counts
  std::uint64_t block_bytes = 0;                    // of a memory block; 0: no memory hot-plug
  std::uint64_t blocks = 0;
  std::uint64_t blocks_offline = 0;
  std::uint64_t blocks_touched = 0;    // by a faulty frame
  std::vector<std::string> not_known;  // what could not be looked at: a sentence each

  // Of the records.
  Tallies tallies{};
  Time first_seen{};  // of all records; only with records
  Time last_seen{};
  std::array<Tally, 4> retirement{};         // of faulty records, by Retirement
  std::map<std::string, std::uint64_t> how;  // of faulty records looked at in this boot
  std::vector<ModuleFacts> modules;
  std::vector<NodeFacts> nodes;
  std::vector<HugePageFacts> huge_pages;
  AddressMap map;
  std::vector<RuleFacts> findings;  // in the order of the rules
  bool checked_in_parts = false;    // so many that sources were not all compared with each other
  ListFacts list;
  std::vector<ShownRecord> shown;  // the worst first, then by address
  std::uint64_t records_left_out = 0;

  // Of the events; empty when those were not asked for.
  std::map<std::string, SourceFacts> sources;
  std::uint64_t sources_left_out = 0;  // entries
  std::vector<DeviceFacts> devices;    // most errors first
  std::uint64_t devices_left_out = 0;  // errors
  std::uint64_t without_place = 0;     // entries
  std::uint64_t of_other_hosts = 0;    // entries
  TimeLine time_line;

  std::optional<ReplayReport> replay;

  [[nodiscard]] const Tally& of(Standing standing) const {
    return tallies.at(static_cast<std::size_t>(standing));
  }
  [[nodiscard]] std::uint64_t records() const;
};

// Limits of what is shown one by one; what is past them is counted and said.
inline constexpr std::size_t kMostShownRecords = 200;
inline constexpr std::size_t kFirstEvents = 3;  // of a shown record
inline constexpr std::size_t kNewestEvents = 3;
inline constexpr std::size_t kMostSources = 64;
inline constexpr std::size_t kMostDevices = 64;
inline constexpr std::size_t kMostExamples = 5;
inline constexpr std::size_t kMostHow = 16;

// The machine that it is about. The references must outlive the call.
struct ReportedMachine {
  const CheckedMachine& machine;
  const Machine& host;
  const Topology& topology;
  const std::vector<MemoryBlock>& blocks;
  Time now;
};

enum class ReportDepth {
  kRecords,  // counts, map, findings
  kAll,      // and every event
};

// A model with what is known without a registry.
ReportModel empty_report(const ReportedMachine& input);
// Adds what the registry says, whose list has this generation. Memory does not grow with it.
// Errors: those of reading the store.
Result<void> add_registry(ReportModel& model, const CheckedMachine& machine,
                          const Quarantine& quarantine, Store& store, std::uint64_t generation,
                          ReportDepth depth);

}  // namespace poisonctl
