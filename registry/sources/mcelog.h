// What mcelog writes: its log (/var/log/mcelog), its decoding on the terminal, `mcelog --raw`, and
// the counts that `mcelog --client` prints (mcelog.c, page.c and memdb.c of mcelog).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "registry/event.h"
#include "registry/result.h"
#include "registry/sources/source.h"

namespace poisonctl {

// The registers of one machine check on x86, as far as a log has them.
struct MachineCheck {
  std::optional<std::uint64_t> status;
  std::optional<std::uint64_t> address;
  std::optional<std::uint64_t> misc;
  std::optional<std::uint64_t> ipid;  // only AMD processors with scalable MCA have one
  std::optional<std::uint64_t> time;  // seconds since 1970
  std::optional<std::uint32_t> socket;
  std::optional<std::uint32_t> channel;
  std::optional<std::uint32_t> slot;
  bool is_amd = false;
  bool northbridge_ecc = false;  // the text calls it an ECC error of an older AMD northbridge
  std::string evidence;          // the lines it was read from
};

// Adds a line to the evidence, up to Event::kEvidenceLimit.
void add_evidence(std::string& evidence, std::string_view line);

// The event that a machine check is, or nothing when it is not an error of memory (STATUS says so:
// Intel SDM volume 3, "Machine-Check Architecture"; AMD APM volume 2, same chapter). kUncorrected
// with STATUS.UC, else kDeferred with AMD's Deferred, else kCorrected. The range is as wide as
// MISC says (6 bits of LSB) when STATUS says that MISC and ADDR are valid and MISC that the address
// is physical; one byte without MISC; nothing where the address is none of memory: AMD's memory
// controllers give one of their own, and a place of more than 1/16 of memory says nothing.
std::optional<Event> event_of(const MachineCheck& check, const SourceSettings& settings);

// One event for each machine check about memory, for each page that mcelog counts or takes offline,
// and (without a place) for each DIMM that it counts for. Other lines are ignored; a line with
// NULs, as a crash leaves them in a log, too, with a warning. Errors: kBadData for a register that
// is no number of 64 bits, or when the input is UTF-16.
Result<SourceReport> collect_mcelog(ByteStream& stream, const SourceSettings& settings,
                                    const EventSink& sink);

}  // namespace poisonctl
