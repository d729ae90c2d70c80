#include "registry/sources/mca.h"

#include <algorithm>
#include <array>

namespace poisonctl {

namespace {

using std::uint64_t;

// log2 of the largest piece of memory that an address can stand for: a 1 GiB page.
constexpr uint64_t kMostAddressBits = 30;

// Bits of MCi_STATUS that both makers share, and those of AMD alone.
constexpr unsigned kValid = 63;
constexpr unsigned kUncorrected = 61;
constexpr unsigned kMiscValid = 59;
constexpr unsigned kAddressValid = 58;
constexpr unsigned kDeferredAmd = 44;
constexpr unsigned kPoisonAmd = 43;

// The kernel's numbers for makers of x86 processors, which it traces.
constexpr std::array<uint64_t, 2> kAmdAlike = {2, 9};     // AMD, Hygon
constexpr std::array<uint64_t, 2> kIntelAlike = {0, 10};  // Intel, Zhaoxin

constexpr bool bit(uint64_t value, unsigned number) { return ((value >> number) & 1U) != 0; }
constexpr uint64_t bits(uint64_t value, unsigned first, unsigned count) {
  return (value >> first) & ((uint64_t{1} << count) - 1);
}

bool is_one_of(const std::array<uint64_t, 2>& list, std::optional<uint64_t> value) {
  return value && std::find(list.begin(), list.end(), *value) != list.end();
}

bool is_amd(const MachineCheckBank& bank) { return is_one_of(kAmdAlike, bank.vendor); }

// Intel SDM volume 3B, "Machine-Check Architecture": MCACOD is a memory controller error (000F 0000
// 1MMM CCCC), a cache hierarchy error (000F 0001 RRRR TTLL) or a generic one of that kind (000F
// 0000 0000 11LL). Zhaoxin is the same.
bool is_intel_memory_code(uint64_t status) {
  const uint64_t code = bits(status, 0, 16);
  return (code & 0xef80U) == 0x0080U || (code & 0xef00U) == 0x0100U || (code & 0xeffcU) == 0x000cU;
}

// MCi_MISC bits 8:6 are 2 for a physical address, and bits 5:0 its lowest valid bit (same chapter).
std::optional<uint64_t> intel_address_bits(const MachineCheckBank& bank) {
  constexpr uint64_t kPhysicalMode = 2;
  if (!is_intel_memory_code(bank.status) || !bit(bank.status, kMiscValid)) return std::nullopt;
  if (bits(bank.misc, 6, 3) != kPhysicalMode) return std::nullopt;
  const uint64_t lowest = bits(bank.misc, 0, 6);
  return lowest <= kMostAddressBits ? std::optional(lowest) : std::nullopt;
}

// A DRAM error of the northbridge, before scalable MCA (family 17h): bank 4, extended error code 8.
bool is_northbridge_ecc(const MachineCheckBank& bank) {
  constexpr uint64_t kScalableFamily = 0x17;
  constexpr uint64_t kNorthbridge = 4;
  constexpr uint64_t kDramEcc = 8;
  if (!bank.cpuid || bank.bank != kNorthbridge) return false;
  const uint64_t family = bits(*bank.cpuid, 8, 4) + bits(*bank.cpuid, 20, 8);
  return family < kScalableFamily && bits(bank.status, 16, 5) == kDramEcc;
}

// AMD APM volume 2, "Machine Check Architecture": MCA_ADDR is in general no system physical address
// (a memory controller of family 17h on gives one of its own). It is one when poison was consumed
// (MCA_STATUS bit 43), and for DRAM errors of the northbridge. The kernel uses the same
// (arch/x86/kernel/cpu/mce/amd.c, amd_mce_usable_address).
bool amd_address_is_physical(const MachineCheckBank& bank) {
  constexpr uint64_t kScalableFamily = 0x17;
  constexpr uint64_t kNorthbridge = 4;
  if (!bank.cpuid || !bank.bank) return false;
  const uint64_t family = bits(*bank.cpuid, 8, 4) + bits(*bank.cpuid, 20, 8);
  if (family < kScalableFamily && *bank.bank == kNorthbridge) return is_northbridge_ecc(bank);
  return bit(bank.status, kPoisonAmd);
}

}  // namespace

EventKind kind_of(const MachineCheckBank& bank) {
  if (bit(bank.status, kUncorrected)) return EventKind::kUncorrected;
  const bool deferred = is_amd(bank) && bit(bank.status, kDeferredAmd);
  return deferred ? EventKind::kDeferred : EventKind::kCorrected;
}

uint64_t count_of(const MachineCheckBank& bank) {
  // IA32_MCG_CAP bit 10 (MCG_CMCI_P): bits 52:38 of the status count corrected errors.
  constexpr unsigned kCounts = 10;
  const bool counts =
      !is_amd(bank) && bit(bank.mcgcap, kCounts) && kind_of(bank) == EventKind::kCorrected;
  return counts ? std::max<uint64_t>(1, bits(bank.status, 38, 15)) : 1;
}

bool is_memory_error(const MachineCheckBank& bank) {
  constexpr uint64_t kMemoryController = 0x96;  // hardware id, MCA_IPID bits 43:32
  if (!bit(bank.status, kValid)) return false;
  if (!is_amd(bank)) return is_intel_memory_code(bank.status);
  return bits(bank.ipid, 32, 12) == kMemoryController || amd_address_is_physical(bank);
}

std::optional<MachineCheckPlace> place_of(const MachineCheckBank& bank) {
  if (!bit(bank.status, kValid) || !bit(bank.status, kAddressValid)) return std::nullopt;
  if (is_amd(bank)) {
    if (!amd_address_is_physical(bank)) return std::nullopt;
    return MachineCheckPlace{.address = bank.address};
  }
  if (!is_one_of(kIntelAlike, bank.vendor)) return std::nullopt;
  const auto lowest = intel_address_bits(bank);
  if (!lowest) return std::nullopt;
  return MachineCheckPlace{.address = bank.address, .address_bits = *lowest};
}

}  // namespace poisonctl
