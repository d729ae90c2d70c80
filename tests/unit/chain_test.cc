// The hash chain: every field counts, and the encoding is the one that registry/README.md writes
// down. It is written out here a second time: whoever changes one of them breaks every registry.
#include "registry/chain.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "tests/unit/sample_events.h"

namespace poisonctl {
namespace {

// ---- the encoding, on its own

std::string big_endian(std::uint64_t value) {
  std::string bytes(8, '\0');
  for (std::size_t i = 0; i < 8; ++i) {
    bytes[7 - i] = static_cast<char>(value % 256);
    value /= 256;
  }
  return bytes;
}

std::string text(std::string_view content) {
  return big_endian(content.size()) + std::string(content);
}

std::string nanoseconds(Time time) {
  return big_endian(static_cast<std::uint64_t>(time.time_since_epoch().count()));
}

std::string encoded_import(std::uint64_t id, const Provenance& by) {
  return big_endian(id) + nanoseconds(by.time) + big_endian(by.monotonic_ns) + text(by.source) +
         text(by.source_version) + text(by.origin) + text(by.tool) + big_endian(by.uid) +
         text(by.boot_id) + text(by.kernel_release) + text(by.host_id) + text(by.product_uuid) +
         text(by.product_serial) + big_endian(by.page_shift.page_size());
}

std::string encoded_event(std::uint64_t id, const Event& event, std::string_view kind,
                          std::string_view dram, std::string_view state) {
  std::string place(1, '\0');
  if (event.range) {
    place = '\1' + big_endian(event.range->begin().value()) + big_endian(event.range->size());
  }
  const std::string when =
      event.observed ? '\1' + nanoseconds(*event.observed) : std::string(1, '\0');
  return big_endian(id) + text(kind) + place + big_endian(event.granularity) +
         big_endian(event.count) + when + text(event.foreign_host) + text(event.label) +
         text(dram) + text(event.result) + text(state) + text(event.evidence);
}

// ---- one of each

Provenance full_provenance() {
  Provenance by = provenance_of("kernel", "boot-1", at_second(1) + std::chrono::nanoseconds(5));
  by.monotonic_ns = 42;
  by.source_version = "2";
  by.origin = "/var/log/x";
  by.product_uuid = "uuid";
  by.product_serial = "serial";
  by.page_shift = shift_of(65536);
  return by;
}

Event full_event() {
  Event event = outcome_of(Retirement::kFailed, range(0x123000, 0x123fff), "\xe2\x82\xac");
  event.granularity = 64;
  event.count = 3;
  event.observed = at_second(2);
  event.foreign_host = "other";
  event.label = "DIMM_A1";
  event.dram.socket = 0;
  event.dram.row = 4660;
  event.result = "Recovered";
  return event;
}

Digest counting_digest() {
  Digest digest{};
  for (std::size_t i = 0; i < digest.size(); ++i) digest.at(i) = static_cast<unsigned char>(i);
  return digest;
}

std::string hex(const Digest& digest) { return to_hex_text(as_bytes(digest)); }

// FIPS 180-4, the examples of SHA-256.
TEST(Chain, TheHashIsSha256) {
  Hasher hasher;
  EXPECT_EQ(hex(hasher.digest("abc")),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(hasher.digest("")),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(Chain, TheEncodingIsTheOneThatIsWrittenDown) {
  Hasher hasher;
  const Provenance by = full_provenance();
  const Digest import = hasher.of_import(7, by);
  EXPECT_EQ(import, hasher.digest(encoded_import(7, by)));

  const Digest before = counting_digest();
  const std::string head = std::string(as_bytes(before)) + std::string(as_bytes(import));
  const Event outcome = full_event();
  EXPECT_EQ(
      hasher.of_event(before, import, 9, outcome),
      hasher.digest(head + encoded_event(9, outcome, "outcome", "socket=0 row=4660", "failed")));
  Event resolution = outcome;
  resolution.kind = EventKind::kResolution;
  resolution.resolution = Resolution::kCleared;
  EXPECT_EQ(hasher.of_event(before, import, 9, resolution),
            hasher.digest(
                head + encoded_event(9, resolution, "resolution", "socket=0 row=4660", "cleared")));
  Event least;
  least.kind = EventKind::kCorrected;
  EXPECT_EQ(hasher.of_event(before, import, 9, least),
            hasher.digest(head + encoded_event(9, least, "ce", "", "")));
}

// Computed by another program (sha256 of the bytes above). They must never change.
TEST(Chain, TheseHashesNeverChange) {
  Hasher hasher;
  const Digest import = hasher.of_import(7, full_provenance());
  EXPECT_EQ(hex(import), "18f5f43fc63df21f7bd993f6b5d16b2fae727efe1521b9677f0131acb51f1aba");
  EXPECT_EQ(hex(hasher.of_event(counting_digest(), import, 9, full_event())),
            "bd4d7feaedcba3ffcf0b74c069dfdc9a6fd860f77a78a231199e70b248000a52");
  Event least;
  least.kind = EventKind::kCorrected;
  EXPECT_EQ(hex(hasher.of_event(Digest{}, import, 1, least)),
            "cd812a8ad65f7d42955ed0ffc87d5da80da60cd551c6df7635f5cacc3ac30158");
}

TEST(Chain, EveryFieldOfAnImportCounts) {
  using Change = std::function<void(Provenance&)>;
  const Change changes[] = {
      [](Provenance&) {},
      [](Provenance& by) { by.time += std::chrono::nanoseconds(1); },
      [](Provenance& by) { by.monotonic_ns += 1; },
      [](Provenance& by) { by.source += 'x'; },
      [](Provenance& by) { by.source_version += 'x'; },
      [](Provenance& by) { by.origin += 'x'; },
      [](Provenance& by) { by.tool += 'x'; },
      [](Provenance& by) { by.uid += 1; },
      [](Provenance& by) { by.boot_id += 'x'; },
      [](Provenance& by) { by.kernel_release += 'x'; },
      [](Provenance& by) { by.host_id += 'x'; },
      [](Provenance& by) { by.product_uuid += 'x'; },
      [](Provenance& by) { by.product_serial += 'x'; },
      [](Provenance& by) { by.page_shift = shift_of(4096); },
      // Nothing moves from one text into the next.
      [](Provenance& by) {
        by.product_uuid = "uuids";
        by.product_serial = "erial";
      },
  };
  Hasher hasher;
  std::set<Digest> digests = {hasher.of_import(8, full_provenance())};
  for (const Change& change : changes) {
    Provenance by = full_provenance();
    change(by);
    digests.insert(hasher.of_import(7, by));
  }
  EXPECT_EQ(digests.size(), 1 + std::size(changes));
}

TEST(Chain, EveryFieldOfAnEventCounts) {
  using Change = std::function<void(Event&)>;
  const Change changes[] = {
      [](Event&) {},
      [](Event& event) { event.kind = EventKind::kUncorrected; },
      [](Event& event) { event.range.reset(); },
      [](Event& event) { event.range = range(0x122000, 0x122fff); },
      [](Event& event) { event.range = range(0x123000, 0x124fff); },
      [](Event& event) { event.granularity = 65; },
      [](Event& event) { event.count = 4; },
      [](Event& event) { event.observed.reset(); },
      [](Event& event) { event.observed = Time(); },
      [](Event& event) { event.foreign_host = "othes"; },
      [](Event& event) { event.label = ""; },
      [](Event& event) { event.dram.socket.reset(); },
      [](Event& event) { event.dram.column = 0; },
      [](Event& event) { event.result = "Ignored"; },
      [](Event& event) { event.retirement = Retirement::kPending; },
      [](Event& event) { event.evidence += '\n'; },
      // Nothing moves from one text into the next.
      [](Event& event) {
        event.foreign_host = "othe";
        event.label = "rDIMM_A1";
      },
  };
  Hasher hasher;
  const Digest import = hasher.of_import(7, full_provenance());
  std::set<Digest> digests = {hasher.of_event(counting_digest(), import, 10, full_event()),
                              hasher.of_event(Digest{}, import, 9, full_event()),
                              hasher.of_event(counting_digest(), Digest{}, 9, full_event())};
  for (const Change& change : changes) {
    Event event = full_event();
    change(event);
    digests.insert(hasher.of_event(counting_digest(), import, 9, event));
  }
  EXPECT_EQ(digests.size(), 3 + std::size(changes));
}

TEST(Chain, ADigestIsExactly32Bytes) {
  const Digest digest = counting_digest();
  EXPECT_EQ(digest_from(as_bytes(digest)), digest);
  EXPECT_FALSE(digest_from(""));
  EXPECT_FALSE(digest_from(as_bytes(digest).substr(1)));
  EXPECT_FALSE(digest_from(std::string(33, 'x')));
  EXPECT_EQ(to_hex_text(std::string("\0\x7f\xff", 3)), "007fff");
}

}  // namespace
}  // namespace poisonctl
