// The registers of one machine check bank on x86, as the kernel traces them: what kind of error,
// whether it is one of memory, and what physical place they name.
#pragma once

#include <cstdint>
#include <optional>

#include "registry/event.h"

namespace poisonctl {

struct MachineCheckBank {
  std::uint64_t status = 0;
  std::uint64_t misc = 0;
  std::uint64_t address = 0;
  std::uint64_t mcgcap = 0;
  std::uint64_t ipid = 0;
  std::optional<std::uint64_t> vendor;  // X86_VENDOR_*, arch/x86/include/asm/processor.h
  std::optional<std::uint64_t> cpuid;   // CPUID leaf 1, EAX
  std::optional<std::uint64_t> bank;
};

// kUncorrected with STATUS.UC, else kDeferred with AMD's Deferred, else kCorrected.
EventKind kind_of(const MachineCheckBank& bank);

// How many corrected errors the bank stands for: at least 1.
std::uint64_t count_of(const MachineCheckBank& bank);

// Whether the error code is one of memory, or of a cache that memory is read through. Of AMD's
// banks: a memory controller's, or one that met poisoned data.
bool is_memory_error(const MachineCheckBank& bank);

// The bytes of physical memory that the registers name; nothing where they name none, or so many
// that it says nothing about the place.
struct MachineCheckPlace {
  std::uint64_t address = 0;
  std::uint64_t address_bits = 0;  // log2 of the smallest piece that is told apart; 0: not said
};
std::optional<MachineCheckPlace> place_of(const MachineCheckBank& bank);

}  // namespace poisonctl
