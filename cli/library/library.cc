// libpoisonctl: the registry, the checks and the backends behind a C interface
// (poisonctl/poisonctl.h, where the contract is). No exception leaves it.
#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backends/table.h"
#include "cli/config.h"
#include "cli/version.h"
#include "registry/generation.h"
#include "registry/machine.h"
#include "registry/memory_map.h"
#include "registry/placement.h"
#include "registry/quarantine.h"
#include "registry/retire_list.h"
#include "registry/store.h"
#include "registry/sysroot.h"
#include "registry/text.h"
#include "registry/topology.h"

// All else of the library is hidden; libpoisonctl.map gives these their versions.
#pragma GCC visibility push(default)
#include "poisonctl/poisonctl.h"
#pragma GCC visibility pop

using poisonctl::Backend;
using poisonctl::ByteRange;
using poisonctl::CheckedMachine;
using poisonctl::Error;
using poisonctl::ErrorCode;
using poisonctl::PhysAddr;
using poisonctl::Plan;
using poisonctl::Quarantine;
using poisonctl::Record;
using poisonctl::Refusal;
using poisonctl::Result;
using poisonctl::RetireList;
using poisonctl::Store;
using poisonctl::SysRoot;

struct poisonctl_list {
  std::unique_ptr<SysRoot> sysroot;
  RetireList list;
  std::vector<std::string> warnings;
};

struct poisonctl_plan {
  Plan plan;
};

namespace {

constexpr const char* kDefaultRegistry = "/var/lib/poisonctl/registry.db";

int status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::kUsage:
      return POISONCTL_ERROR_USAGE;
    case ErrorCode::kBadData:
      return POISONCTL_ERROR_BAD_DATA;
    case ErrorCode::kUnknownForm:
      return POISONCTL_ERROR_UNKNOWN_FORM;
    case ErrorCode::kNoInput:
      return POISONCTL_ERROR_NO_INPUT;
    case ErrorCode::kNotAvailable:
      return POISONCTL_ERROR_NOT_AVAILABLE;
    case ErrorCode::kBug:
      return POISONCTL_ERROR_BUG;
    case ErrorCode::kNoPrivilege:
      return POISONCTL_ERROR_NO_PRIVILEGE;
    case ErrorCode::kCannotWrite:
    case ErrorCode::kIo:
      return POISONCTL_ERROR_IO;
    case ErrorCode::kLocked:
      return POISONCTL_ERROR_LOCKED;
    case ErrorCode::kRefused:
      return POISONCTL_ERROR_REFUSED;
  }
  return POISONCTL_ERROR_BUG;
}

// The most of `text` that fits into `room` bytes and ends with a whole character: in UTF-8 every
// byte of one but the first is 10xxxxxx.
std::string_view cut_to(std::string_view text, std::size_t room) {
  if (text.size() <= room) return text;
  while (room > 0 && (static_cast<unsigned char>(text[room]) & 0xc0U) == 0x80U) --room;
  return text.substr(0, room);
}

int fail(int status, int os_error, std::string_view message, poisonctl_error* error) {
  if (error == nullptr) return status;
  error->status = status;
  error->os_error = os_error;
  const std::string_view kept = cut_to(message, sizeof error->message - 1);
  std::memcpy(error->message, kept.data(), kept.size());
  error->message[kept.size()] = '\0';
  return status;
}

// Runs `make`, which returns a Result of a pointer, and gives what it made to the caller.
template <typename Made, typename Make>
int give(Made** given, poisonctl_error* error, const Make& make) noexcept {
  *given = nullptr;
  try {
    Result<std::unique_ptr<Made>> made = make();
    if (!made) {
      const Error& why = made.error();
      return fail(status_of(why.code), why.os_error, why.message, error);
    }
    *given = made->release();
    return POISONCTL_OK;
  } catch (const std::bad_alloc&) {
    return fail(POISONCTL_ERROR_NO_MEMORY, 0, "there is no memory left", error);
  } catch (const std::exception& exception) {
    return fail(POISONCTL_ERROR_BUG, 0, exception.what(), error);
  }
}

// All records, those that are about other memory quarantined.
Result<std::vector<Record>> records_of(Store& store, const Quarantine& quarantine) {
  std::vector<Record> records;
  auto read = store.for_each_record([&](const Record& record) {
    records.push_back(record);
    static_cast<void>(quarantine.apply(records.back()));
    return true;
  });
  if (!read) return read.error();
  return records;
}

// What was recorded under other memory does not count. Where the topology cannot be read nothing is
// said against any record.
Result<Quarantine> quarantine_of(Store& store, const SysRoot& root,
                                 const poisonctl::Machine& machine, const poisonctl::MemoryMap& map,
                                 std::vector<std::string>& warnings) {
  const auto topology = load_topology(root, machine, map);
  if (!topology) {
    warnings.push_back("the topology cannot be read, so no record is compared with it: " +
                       topology.error().message);
    return Quarantine::prepare({}, {});
  }
  const auto snapshots = store.snapshots();
  if (!snapshots) return snapshots.error();
  return Quarantine::prepare(*snapshots, topology->topology);
}

Result<std::unique_ptr<poisonctl_list>> open_list(const std::string& registry,
                                                  const std::string& folder,
                                                  bool include_injected) {
  auto root = poisonctl::open_sysroot(folder);
  if (!root) return root.error();
  const SysRoot& sysroot = **root;
  const auto config = poisonctl::load_config(sysroot);
  if (!config) return config.error();
  const auto machine = poisonctl::load_machine(sysroot);
  if (!machine) return machine.error();
  const auto map = poisonctl::load_memory_map(sysroot);
  if (!map) return map.error();
  const auto placement = poisonctl::load_placement(sysroot);
  if (!placement) return placement.error();
  const auto nodes = poisonctl::load_nodes(sysroot);
  if (!nodes) return nodes.error();

  auto store = Store::open(registry, Store::Mode::kRead);
  if (!store) return store.error();
  const auto generation = poisonctl::list_generation(*store, registry);
  if (!generation) return generation.error();
  std::vector<std::string> warnings = placement->not_known;
  const auto quarantine = quarantine_of(*store, sysroot, *machine, *map, warnings);
  if (!quarantine) return quarantine.error();
  const auto records = records_of(*store, *quarantine);
  if (!records) return records.error();

  auto checked = poisonctl::make_retire_list(
      std::span<const Record>(*records),
      CheckedMachine{*map, *placement, *nodes, machine->page_shift},
      {.checks = {.include_injected = include_injected}, .bounds = config->bounds}, *generation);
  return std::unique_ptr<poisonctl_list>(
      new poisonctl_list{*std::move(root), std::move(checked.list), std::move(warnings)});
}

// Of one that the library can plan for.
Result<const Backend*> backend_of(std::string_view name) {
  const Backend* const backend = poisonctl::find_backend(name);
  if (backend == nullptr) {
    return Error{ErrorCode::kUsage,
                 fmt::format("there is no backend '{}'; 'poisonctl backends' lists them",
                             poisonctl::printable(name))};
  }
  if (backend->reach() == poisonctl::Reach::kCarries) {
    return Error{
        ErrorCode::kUsage,
        fmt::format("{} carries a signed list, and nothing is signed here; 'poisonctl emit "
                    "{}' does",
                    name, name)};
  }
  return backend;
}

// What the backend calls its form; nothing for the usual one.
Result<std::string_view> form_of(const Backend& backend, const char* form) {
  if (form == nullptr) return std::string_view();
  const auto forms = backend.forms();
  const auto found = std::find(forms.begin(), forms.end(), std::string_view(form));
  if (found != forms.end()) return *found;
  return Error{ErrorCode::kUsage,
               fmt::format("{} has no form '{}'", backend.name(), poisonctl::printable(form))};
}

Result<std::unique_ptr<poisonctl_plan>> make_plan(const poisonctl_list& list, const char* name,
                                                  const char* form, const char* command_line) {
  const auto backend = backend_of(name);
  if (!backend) return backend.error();
  const auto chosen = form_of(**backend, form);
  if (!chosen) return chosen.error();
  if (command_line != nullptr && (*backend)->name() != "e820") {
    return Error{ErrorCode::kUsage, fmt::format("{} puts nothing into a command line", name)};
  }
  const auto availability = (*backend)->probe(*list.sysroot);
  if (!availability.available) {
    return Error{ErrorCode::kNotAvailable, fmt::format("{}: {}", name, availability.reason)};
  }
  poisonctl::PlanRequest request{.list = list.list, .form = *chosen};
  if (command_line != nullptr) request.command_line.merge = command_line;
  auto plan = (*backend)->plan(request, *list.sysroot);
  if (!plan) return plan.error();
  return std::make_unique<poisonctl_plan>(poisonctl_plan{*std::move(plan)});
}

poisonctl_range as_range(const ByteRange& range) { return {range.begin().value(), range.size()}; }

poisonctl_range range_at(const std::vector<ByteRange>& ranges, std::size_t index) {
  return index < ranges.size() ? as_range(ranges[index]) : poisonctl_range{0, 0};
}

const char* text_at(const std::vector<std::string>& texts, std::size_t index) {
  return index < texts.size() ? texts[index].c_str() : nullptr;
}

const char* refusal_at(const std::vector<Refusal>& refused, std::size_t index,
                       poisonctl_range* range) {
  const bool is_there = index < refused.size();
  if (range != nullptr) *range = is_there ? as_range(refused[index].range) : poisonctl_range{0, 0};
  return is_there ? refused[index].reason.c_str() : nullptr;
}

}  // namespace

const char* poisonctl_version(void) { return poisonctl::kVersion; }

int poisonctl_list_open(const char* registry, const char* sysroot, unsigned int flags,
                        poisonctl_list** list, poisonctl_error* error) {
  return give(list, error, [&]() -> Result<std::unique_ptr<poisonctl_list>> {
    constexpr unsigned kKnown = POISONCTL_LIST_INCLUDE_INJECTED;
    if ((flags & ~kKnown) != 0) {
      return Error{ErrorCode::kUsage,
                   fmt::format("flags {:#x}: this version knows {:#x}", flags, kKnown)};
    }
    return open_list(registry == nullptr ? kDefaultRegistry : registry,
                     sysroot == nullptr ? "/" : sysroot,
                     (flags & POISONCTL_LIST_INCLUDE_INJECTED) != 0);
  });
}

void poisonctl_list_close(poisonctl_list* list) { delete list; }

uint64_t poisonctl_list_generation(const poisonctl_list* list) { return list->list.generation; }

uint64_t poisonctl_list_page_size(const poisonctl_list* list) {
  return list->list.page_shift.page_size();
}

size_t poisonctl_list_count(const poisonctl_list* list) {
  return list->list.frames.ranges().size();
}

poisonctl_range poisonctl_list_range(const poisonctl_list* list, size_t index) {
  return range_at(list->list.frames.ranges(), index);
}

size_t poisonctl_list_refused_count(const poisonctl_list* list) {
  return list->list.refused.size();
}

const char* poisonctl_list_refused(const poisonctl_list* list, size_t index,
                                   poisonctl_range* range) {
  return refusal_at(list->list.refused, index, range);
}

size_t poisonctl_list_warning_count(const poisonctl_list* list) { return list->warnings.size(); }

const char* poisonctl_list_warning(const poisonctl_list* list, size_t index) {
  return text_at(list->warnings, index);
}

int poisonctl_list_check(const poisonctl_list* list, uint64_t address, uint64_t size) {
  const auto range = ByteRange::from_size(PhysAddr(address), size);
  if (!range) return POISONCTL_INVALID;
  if (list->list.frames.overlaps(*range)) return POISONCTL_RETIRED;
  const auto& refused = list->list.refused;
  const bool is_refused = std::any_of(refused.begin(), refused.end(), [&](const Refusal& refusal) {
    return refusal.range.overlaps(*range);
  });
  return is_refused ? POISONCTL_REFUSED : POISONCTL_CLEAN;
}

int poisonctl_plan_make(const poisonctl_list* list, const char* backend, const char* form,
                        const char* command_line, poisonctl_plan** plan, poisonctl_error* error) {
  return give(plan, error, [&] { return make_plan(*list, backend, form, command_line); });
}

void poisonctl_plan_free(poisonctl_plan* plan) { delete plan; }

const char* poisonctl_plan_artifact(const poisonctl_plan* plan, size_t* size) {
  if (size != nullptr) *size = plan->plan.artifact.size();
  return plan->plan.artifact.c_str();
}

size_t poisonctl_plan_covered_count(const poisonctl_plan* plan) {
  return plan->plan.covered.ranges().size();
}

poisonctl_range poisonctl_plan_covered(const poisonctl_plan* plan, size_t index) {
  return range_at(plan->plan.covered.ranges(), index);
}

size_t poisonctl_plan_refused_count(const poisonctl_plan* plan) {
  return plan->plan.refused.size();
}

const char* poisonctl_plan_refused(const poisonctl_plan* plan, size_t index,
                                   poisonctl_range* range) {
  return refusal_at(plan->plan.refused, index, range);
}

size_t poisonctl_plan_side_effect_count(const poisonctl_plan* plan) {
  return plan->plan.side_effects.size();
}

const char* poisonctl_plan_side_effect(const poisonctl_plan* plan, size_t index) {
  return text_at(plan->plan.side_effects, index);
}
