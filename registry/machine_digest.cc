#include "registry/machine_digest.h"

#include <fmt/format.h>

#include "registry/machine.h"

namespace poisonctl {

namespace {

Digest host_digest_of(std::string_view identity) {
  return Hasher().digest(fmt::format("poisonctl-host-v1\n{}\n", identity));
}

}  // namespace

MachineDigest host_digest(const Machine& machine) {
  MachineDigest digest;
  if (!machine.host_id.empty()) {
    digest.without_smbios = host_digest_of("machine-id " + machine.host_id);
  }
  digest.whole = machine.product_uuid.empty()
                     ? digest.without_smbios
                     : host_digest_of(fmt::format("smbios {} {}", machine.product_uuid,
                                                  machine.product_serial));
  return digest;
}

MachineDigest memory_digest(const Topology& topology) {
  Topology without_modules = topology;
  without_modules.modules.clear();
  return {.whole = hardware_digest(topology), .without_smbios = hardware_digest(without_modules)};
}

Likeness compare(const MachineDigest& one, const MachineDigest& other) {
  constexpr Digest kNothing{};
  if (one.whole == kNothing || other.whole == kNothing) return Likeness::kNotKnown;
  if (one.whole == other.whole) return Likeness::kSame;
  const bool one_is_blind = one.whole == one.without_smbios;
  const bool other_is_blind = other.whole == other.without_smbios;
  if (!one_is_blind && !other_is_blind) return Likeness::kOther;
  if (one.without_smbios == kNothing || other.without_smbios == kNothing) {
    return Likeness::kNotKnown;
  }
  return one.without_smbios == other.without_smbios ? Likeness::kSameInPart : Likeness::kOther;
}

}  // namespace poisonctl
