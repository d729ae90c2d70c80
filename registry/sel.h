// The System Event Log of a BMC (IPMI 2.0, chapters 31 and 32): its records, what of it can be read
// and added, and the notice of a retired frame as we write it. Nothing here clears or deletes.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "registry/address.h"
#include "registry/ipmi.h"
#include "registry/result.h"

namespace poisonctl {

// As it lies in the log (table 32-1): record id, type, then what the type says. The BMC sets the
// id, and the time of types below E0h.
using SelBytes = std::array<std::uint8_t, 16>;

// Waits so long; given from outside, so that tests need not.
using Pause = std::function<void(std::chrono::milliseconds)>;

struct SelInfo {
  std::uint32_t entries = 0;
  std::uint32_t free_bytes = 0;  // kManyFreeBytes: that or more
  bool overflowed = false;       // the BMC has dropped entries for want of room
  static constexpr std::uint32_t kManyFreeBytes = 0xFFFF;
};

// A conversation about the log. A BMC that says it is busy is asked again, with growing pauses, for
// some 3 s. Errors of all: those of Ipmi; kLocked when it stays busy, or starts up or is updated;
// kNotAvailable when it has no log; kBadData when its answer is not what the specification says;
// kIo for other completion codes.
class Sel {
 public:
  Sel(Ipmi& ipmi, Pause pause) : ipmi_(ipmi), pause_(std::move(pause)) {}

  Result<SelInfo> info();
  // All records, from the first. Also kLocked when the log changes while it is read, again and
  // again.
  Result<std::vector<SelBytes>> read();
  // The record of that id.
  Result<SelBytes> entry(std::uint16_t id);
  // Adds a record and returns its id. Also kCannotWrite when the log is full. After kLocked and kIo
  // it may be in the log or not.
  Result<std::uint16_t> add(const SelBytes& record);
  void pause(std::chrono::milliseconds time) const { pause_(time); }

 private:
  Result<std::string> ask(std::uint8_t command, std::string_view data, std::size_t least);
  Result<std::optional<std::vector<SelBytes>>> read_once();
  struct Entry {
    SelBytes record;
    std::uint16_t next;
  };
  // Nothing when there is no such record.
  Result<std::optional<Entry>> entry_after(std::uint16_t id);
  Ipmi& ipmi_;
  Pause pause_;
};

// What a notice says: that the frames of a block have been taken out of use.
struct SelNotice {
  // A power of two in size, at least 4 KiB and at most kMostNoticeBytes, and aligned to it.
  ByteRange block;
  bool data_lost = false;                  // else it was retired before that happened
  std::uint16_t module = kNoModule;        // handle of the DIMM in SMBIOS
  std::uint8_t module_number = kNoNumber;  // which of SMBIOS's memory devices that is, from 0
  std::uint16_t episode = 0;  // how often it had been mended before; at most kMostEpisodes
  static constexpr std::uint16_t kNoModule = 0xFFFF;
  static constexpr std::uint8_t kNoNumber = 0xFF;
  static constexpr std::uint16_t kMostEpisodes = 0x7FFF;
  static constexpr std::uint64_t kMostBytes = std::uint64_t{4096} << 15U;
};

// The two records of a notice, with zeros where the BMC sets something: a memory sensor event that
// every tool understands, then an OEM record with the place. The second has the block and the
// episode, which together are its key: no two notices have the same.
struct SelNoticeRecords {
  SelBytes event;
  SelBytes place;
};
SelNoticeRecords records_of(const SelNotice& notice);
// Of an OEM record that is ours; `module_number` is not in it. Nothing for any other record.
std::optional<SelNotice> notice_in(const SelBytes& record);
// Whether both are the same but for what the BMC sets.
bool same_content(const SelBytes& left, const SelBytes& right);
// Whether `event` is the first record of the notice whose second is `place`.
bool belong_together(const SelBytes& event, const SelBytes& place);

// The blocks of a range of frames, as large as a notice can be.
std::vector<ByteRange> notice_blocks(const ByteRange& range);

// A record in hexadecimal, for people and for evidence.
std::string to_hex(const SelBytes& record);

}  // namespace poisonctl
