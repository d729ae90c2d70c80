// What a handover says of the machine that it is for, so that another kernel of the same machine
// knows it again: also one that does not see SMBIOS, as after a kexec with noefi.
#pragma once

#include "registry/chain.h"
#include "registry/topology.h"

namespace poisonctl {

struct Machine;

// SHA-256 of what a kernel sees of the machine, in two ways. Zeros: nothing is known.
struct MachineDigest {
  Digest whole{};           // of all; where the kernel sees no SMBIOS, the same as the other
  Digest without_smbios{};  // of what it would see without
  friend bool operator==(const MachineDigest&, const MachineDigest&) = default;
};

// Which machine: by the SMBIOS UUID and serial number, and by the machine id.
MachineDigest host_digest(const Machine& machine);
// Which memory, by hardware_digest(): with the modules, and by RAM and nodes alone.
MachineDigest memory_digest(const Topology& topology);

enum class Likeness {
  kSame,
  kSameInPart,  // one of the two does not see SMBIOS, and all else is the same
  kNotKnown,    // the two have nothing that could be compared
  kOther,
};
Likeness compare(const MachineDigest& one, const MachineDigest& other);

}  // namespace poisonctl
