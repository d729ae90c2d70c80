#include "registry/audit/redaction.h"

#include <algorithm>

#include "registry/chain.h"
#include "registry/topology.h"

namespace poisonctl {

namespace {

constexpr std::string_view kInstead = "redacted";

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

// Every serial number in a snapshot, and the names of its system.
void add_names(const std::string& snapshot, std::vector<std::string>& names) {
  const auto topology = parse_topology(snapshot, "topology");
  if (!topology) return;  // a later form: of_topology says so
  names.push_back(topology->system_uuid);
  names.push_back(topology->system_serial);
  for (const MemoryModule& module : topology->modules) names.push_back(module.serial);
  for (const CxlRegion& region : topology->cxl) {
    names.insert(names.end(), region.serials.begin(), region.serials.end());
  }
}

}  // namespace

Result<Redaction> Redaction::prepare(Store& store, std::int64_t last, const SigningKey& key) {
  Redaction redaction;
  // Ed25519 signs the same text the same way each time, and only with the key: the same host has
  // the same names in all its bundles.
  const auto secret = key.sign("poisonctl-redaction-v1\n");
  if (!secret) return secret.error();
  redaction.secret_ = as_bytes(Hasher().digest(*secret));
  auto names = store.host_names();
  if (!names) return names.error();
  const auto snapshots = store.snapshots();
  if (!snapshots) return snapshots.error();
  for (const std::string& snapshot : *snapshots) add_names(snapshot, *names);
  for (const std::string& name : *names) {
    // "0" or "NA" is in every text.
    constexpr std::size_t kShortestName = 4;
    if (name.size() >= kShortestName) redaction.names_.push_back(lower_case(name));
  }
  std::sort(redaction.names_.begin(), redaction.names_.end());
  redaction.names_.erase(std::unique(redaction.names_.begin(), redaction.names_.end()),
                         redaction.names_.end());
  const auto read = store.for_each_chained(last, [&](const ChainedEvent& entry) {
    auto& withheld = redaction.withheld_;
    if (!withheld.empty() && withheld.back() == entry.import) return true;
    // What other programs write has host names that nobody here knows.
    if (!entry.stored.provenance.origin.empty() || redaction.names_host(entry.stored.event)) {
      withheld.push_back(entry.import);
    }
    return true;
  });
  if (!read) return read.error();
  return redaction;
}

bool Redaction::withholds(std::int64_t import) const {
  return std::binary_search(withheld_.begin(), withheld_.end(), import);
}

std::string Redaction::instead_of(std::string_view name) const {
  if (name.empty()) return {};
  constexpr std::size_t kBytes = 8;
  const Digest digest = Hasher().digest(secret_ + std::string(name));
  return std::string(kInstead) + ":" + to_hex_text(as_bytes(digest).substr(0, kBytes));
}

bool Redaction::names_host(std::string_view text) const {
  if (text.empty()) return false;
  const std::string lower = lower_case(text);
  return std::any_of(names_.begin(), names_.end(), [&](const std::string& name) {
    return lower.find(name) != std::string::npos;
  });
}

bool Redaction::names_host(const Event& event) const {
  return !event.foreign_host.empty() || names_host(event.label) || names_host(event.result) ||
         names_host(event.evidence);
}

void Redaction::replace_if_named(std::string& text) const {
  if (names_host(text)) text = kInstead;
}

Provenance Redaction::of(Provenance provenance) const {
  for (std::string* name : {&provenance.boot_id, &provenance.host_id, &provenance.product_uuid,
                            &provenance.product_serial, &provenance.origin}) {
    *name = instead_of(*name);
  }
  replace_if_named(provenance.source_version);
  return provenance;
}

Event Redaction::of(Event event, const Provenance& provenance) const {
  event.foreign_host = instead_of(event.foreign_host);
  replace_if_named(event.label);
  replace_if_named(event.result);
  replace_if_named(event.evidence);
  if (!provenance.origin.empty() && !event.evidence.empty()) event.evidence = kInstead;
  return event;
}

Record Redaction::of(Record record) const {
  record.outcome_boot_id = instead_of(record.outcome_boot_id);
  replace_if_named(record.outcome_how);
  replace_if_named(record.resolution_reason);
  replace_if_named(record.label);
  return record;
}

Result<std::string> Redaction::of_topology(const std::string& snapshot) const {
  auto topology = parse_topology(snapshot, "topology");
  if (!topology) return topology.error();
  topology->system_uuid = instead_of(topology->system_uuid);
  topology->system_serial = instead_of(topology->system_serial);
  for (MemoryModule& module : topology->modules) module.serial = instead_of(module.serial);
  for (CxlRegion& region : topology->cxl) {
    for (std::string& serial : region.serials) serial = instead_of(serial);
  }
  return to_text(*topology);
}

}  // namespace poisonctl
