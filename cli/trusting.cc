#include "cli/trusting.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "cli/steps.h"
#include "registry/adoption.h"
#include "registry/checkpoint.h"
#include "registry/generation.h"
#include "registry/topology.h"

namespace poisonctl {

namespace {

// Those of a registry that may not be there yet.
Result<std::vector<Record>> records_here(Invocation& invocation) {
  auto store = invocation.open_store(Store::Mode::kRead);
  if (store) return store->records();
  if (store.error().code == ErrorCode::kNoInput) return std::vector<Record>();
  return store.error();
}

}  // namespace

Result<std::vector<std::string>> trusted_keys(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  auto keys = load_trusted_keys(**root);
  if (!keys) return keys;
  const auto own = SigningKey::load(key_path(invocation.registry_path()));
  if (own) {
    keys->push_back(own->public_key());
  } else if (own.error().code != ErrorCode::kNoInput) {
    invocation.output().warning(own.error().message);
  }
  return keys;
}

Result<TrustContext> trust_context_here(Invocation& invocation, std::uint64_t generation) {
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  const auto topology = invocation.topology();
  if (!topology) return topology.error();
  auto keys = trusted_keys(invocation);
  if (!keys) return keys.error();
  auto newest = read_newest_generation(invocation.registry_path());
  if (!newest) return newest.error();
  TrustContext context{.keys = *std::move(keys),
                       .host = host_digest(**machine),
                       .topology = memory_digest((*topology)->topology),
                       .newest_generation = *newest,
                       .newer_exists = false};
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) {
    if (store.error().code == ErrorCode::kNoInput) return context;
    return store.error();
  }
  const auto here = list_generation(*store, invocation.registry_path());
  if (!here) return here.error();
  context.newest_generation = std::max(context.newest_generation, *here);
  context.newer_exists = *here > generation;
  return context;
}

Result<TrustDecision> judge_here(Invocation& invocation, const SignedHandover& handover) {
  const auto context = trust_context_here(invocation, handover.content.generation);
  if (!context) return context.error();
  return judge_handover(handover, *context);
}

Result<Adopted> adopt_here(Invocation& invocation, const Handover& handover,
                           const std::string& from) {
  if (handover.generation > kMostGeneration) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: no list has a generation of {}", from, handover.generation)};
  }
  const auto records = records_here(invocation);
  if (!records) return records.error();
  const Adoption adoption = adopt(handover, *records);
  Adopted adopted{.added = 0, .quarantined = adoption.quarantined};
  if (!adoption.events.empty()) {
    auto provenance = invocation.provenance(std::string(kHandoverSource));
    if (!provenance) return provenance.error();
    provenance->source_version = adopted_version(handover.generation);
    provenance->origin = from;
    const auto stored =
        store_events(invocation, Store::Mode::kCreate, *provenance, adoption.events);
    if (!stored) return stored.error();
    report_import(invocation.output(), *stored);
    adopted.added = stored->added;
  }
  if (auto noted = note_generation(invocation.registry_path(), handover.generation); !noted) {
    return noted.error();
  }
  return adopted;
}

}  // namespace poisonctl
