#include "registry/sources/rasdaemon.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "registry/sources/collecting.h"
#include "registry/sources/mca.h"
#include "registry/sqlite.h"
#include "registry/sqlite_snapshot.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using std::uint64_t;

// Of one table. rasdaemon's widest has 35.
constexpr std::size_t kMostColumns = 64;
// Of one text or blob in the evidence: a whole row stays below Event::kEvidenceLimit.
constexpr std::size_t kShownText = 240;
constexpr std::size_t kShownBlob = 80;
// What the kernel traces for "no address" (trace events of drivers/cxl,
// drivers/acpi/acpi_extlog.c).
constexpr uint64_t kNoAddress = std::numeric_limits<uint64_t>::max();

// log2 of the largest piece of memory that an address can stand for: a 1 GiB page. What is said to
// be larger says nothing about the place.
constexpr uint64_t kMostAddressBits = 30;

constexpr bool bit(uint64_t value, unsigned number) { return ((value >> number) & 1U) != 0; }

// The row that a statement stands on. Names are those of the table's columns.
class Row {
 public:
  Row(std::string_view table, const sqlite::Statement& statement)
      : table_(table), statement_(statement) {}

  [[nodiscard]] std::string_view table() const { return table_; }
  // Nothing when there is no such column, or it holds no integer. Unsigned values of 64 bits are
  // stored as the signed ones of the same bits.
  [[nodiscard]] std::optional<uint64_t> number(std::string_view name) const {
    const auto column = find(name);
    if (!column || statement_.is_null(*column)) return std::nullopt;
    if (!statement_.is_integer(*column)) {
      odd_ = name;
      return std::nullopt;
    }
    return static_cast<uint64_t>(statement_.integer(*column));
  }
  // Empty when there is no such column. Blobs too: their bytes.
  [[nodiscard]] std::string_view text(std::string_view name) const {
    const auto column = find(name);
    return column ? statement_.text(*column) : std::string_view();
  }
  // The last column that number() was asked for and that holds something else; empty when none did.
  [[nodiscard]] std::string_view odd() const { return odd_; }
  // All of it, one line.
  [[nodiscard]] std::string evidence() const {
    std::string shown(table_);
    for (int column = 0; column < statement_.columns(); ++column) {
      if (statement_.is_null(column)) continue;
      if (shown.size() + 2 * kShownText > Event::kEvidenceLimit) return shown + " ...";
      shown += fmt::format(" {}={}", printable(statement_.column_name(column)), value(column));
    }
    return shown;
  }

 private:
  [[nodiscard]] std::optional<int> find(std::string_view name) const {
    for (int column = 0; column < statement_.columns(); ++column) {
      if (statement_.column_name(column) == name) return column;
    }
    return std::nullopt;
  }
  // An integer as it is, text in quotes, bytes that are no text in hexadecimal.
  [[nodiscard]] std::string value(int column) const {
    if (statement_.is_integer(column)) return fmt::format("{}", statement_.integer(column));
    const std::string_view bytes = statement_.text(column);
    const std::string text = printable(bytes, kShownText);
    if (text == bytes || text.find("\\x") == std::string::npos) return '"' + text + '"';
    std::string hex = "x'";
    for (const char c : bytes.substr(0, kShownBlob)) {
      hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
    }
    return hex + (bytes.size() > kShownBlob ? "...'" : "'");
  }

  std::string_view table_;
  const sqlite::Statement& statement_;
  mutable std::string_view odd_;
};

// One reading of a database.
struct Import {
  const std::string& path;
  const std::string& copy;
  const SourceSettings& settings;
  Collector collector;
  uint64_t cleared = 0;      // rows of poison that was cleared
  uint64_t interleaved = 0;  // rows whose bytes may lie apart

  void warn(const Row& row, std::string_view text) {
    const auto id = row.number("id");
    collector.warn(
        fmt::format("{}: {} row {}: {}", path, row.table(), id ? std::to_string(*id) : "?", text));
  }
  // An error of SQLite, about the file that the user knows. Nobody else uses the copy: what is not
  // an error of the system lies in what was read.
  [[nodiscard]] Error damaged(Error error) const {
    if (const auto at = error.message.find(copy); at != std::string::npos) {
      error.message.replace(at, copy.size(), path);
    }
    if (error.os_error == 0) error.code = ErrorCode::kBadData;
    return error;
  }
};

// "2026-11-21 09:47:18 +0000" (strftime "%Y-%m-%d %H:%M:%S %z"). rasdaemon writes the start of 1970
// when it does not know.
std::optional<Time> time_from(std::string_view text) {
  constexpr std::size_t kLength = 25;
  if (text.size() != kLength || text[10] != ' ' || text[19] != ' ') return std::nullopt;
  const std::string rfc3339 = fmt::format("{}T{}{}:{}", text.substr(0, 10), text.substr(11, 8),
                                          text.substr(20, 3), text.substr(23));
  const auto time = time_from_rfc3339(rfc3339);
  return time && time->time_since_epoch().count() == 0 ? std::nullopt : time;
}

// An event with what every table has.
Event event_from(const Row& row, EventKind kind) {
  Event event;
  event.kind = kind;
  event.observed = time_from(row.text("timestamp"));
  event.evidence = row.evidence();
  return event;
}

uint64_t count_of(const Row& row, std::string_view column) {
  const auto count = row.number(column);
  // Some firmware reports 0 errors; a negative number is none.
  constexpr auto kMost = static_cast<uint64_t>(std::numeric_limits<std::int32_t>::max());
  return count && *count >= 1 && *count <= kMost ? *count : 1;
}

// The piece of 2^`address_bits` bytes that holds `address`.
void set_place(Event& event, uint64_t address, uint64_t address_bits) {
  const uint64_t size = uint64_t{1} << address_bits;
  event.range = ByteRange::from_size(PhysAddr(address & ~(size - 1)), size);
  event.granularity = event.range && address_bits != 0 ? size : 0;
}

// memory_failure_event: pfn as hexadecimal text, page_type and action_result in the kernel's words.
// page_type is wrong on kernels newer than rasdaemon's list of them: it is evidence only.
Result<void> import_memory_failure(const Row& row, Import& import) {
  Event event = event_from(row, EventKind::kUncorrected);
  event.result = printable(row.text("action_result"), Event::kResultLimit / 2);
  if (const auto pfn = parse_prefixed_hex(row.text("pfn"))) {
    event.range = ByteRange::from_frames(Pfn(*pfn), 1, import.settings.page_shift);
    event.granularity = event.range ? import.settings.page_shift.page_size() : 0;
  }
  if (!event.range) {
    import.warn(row, fmt::format("pfn '{}' is no frame number (0x and hexadecimal digits); kept as "
                                 "evidence without a place",
                                 printable(row.text("pfn"))));
  }
  return import.collector.hand_over(std::move(event));
}

// mc_event: EDAC. address is 0 when the driver cannot tell, and `grain` is the kernel's grain_bits:
// log2 of bytes (include/ras/ras_event.h; rasdaemon stores it as it is).
Result<void> import_mc(const Row& row, Import& import) {
  constexpr std::array<std::pair<std::string_view, EventKind>, 4> kTypes = {{
      {"Corrected", EventKind::kCorrected},
      {"Uncorrected", EventKind::kUncorrected},
      {"Deferred", EventKind::kDeferred},
      {"Fatal", EventKind::kUncorrected},
  }};
  const std::string_view name = row.text("err_type");
  const auto* const type = std::find_if(kTypes.begin(), kTypes.end(),
                                        [&](const auto& entry) { return entry.first == name; });
  // "Info" is no error, and the weakest kind there is.
  const bool known = type != kTypes.end();
  Event event = event_from(row, known ? type->second : EventKind::kCorrected);
  event.count = count_of(row, "err_count");
  event.label = printable(row.text("label"), Event::kLabelLimit / 2);
  if (const auto mc = row.number("mc"); mc && *mc <= std::numeric_limits<std::int32_t>::max()) {
    event.dram.controller = static_cast<std::uint32_t>(*mc);
  }
  const auto address = row.number("address");
  if (!known && name != "Info") {
    import.warn(row,
                fmt::format("err_type '{}' is none that rasdaemon writes; kept as evidence without "
                            "a place",
                            printable(name)));
  } else if (known && address && *address != 0) {
    const uint64_t grain = row.number("grain").value_or(0);
    set_place(event, *address, grain <= kMostAddressBits ? grain : 0);
  }
  return import.collector.hand_over(std::move(event));
}

// mce_record: the registers of one machine check bank.
Result<void> import_mce(const Row& row, Import& import) {
  const auto status = row.number("status");
  Event event = event_from(row, EventKind::kCorrected);
  if (!status) return import.collector.hand_over(std::move(event));
  const auto address = row.number("addr");
  const MachineCheckBank bank{.status = *status,
                              .misc = row.number("misc").value_or(0),
                              .address = address.value_or(0),
                              .mcgcap = row.number("mcgcap").value_or(0),
                              .vendor = row.number("cpuvendor"),
                              .cpuid = row.number("cpuid"),
                              .bank = row.number("bank")};
  event.kind = kind_of(bank);
  event.count = count_of(bank);
  event.label = printable(row.text("mc_location"), Event::kLabelLimit / 2);
  const auto socket = row.number("socketid");
  if (socket && *socket <= std::numeric_limits<std::int32_t>::max()) {
    event.dram.socket = static_cast<std::uint32_t>(*socket);
  }
  const auto place = place_of(bank);
  if (place && address) set_place(event, place->address, place->address_bits);
  return import.collector.hand_over(std::move(event));
}

// extlog_event: a memory section of the firmware (UEFI specification, appendix N). The column
// error_count has the sequence number of the event, and the mask of the address is not stored.
Result<void> import_extlog(const Row& row, Import& import) {
  constexpr uint64_t kRecoverable = 0;
  constexpr uint64_t kFatal = 1;
  constexpr uint64_t kCorrected = 2;
  constexpr uint64_t kInvalidAddress = 10;  // of the memory error types: the access was wrong
  const auto severity = row.number("severity");
  // NOLINTNEXTLINE(misc-redundant-expression): clang-tidy 14 takes the two constants for the same
  const bool lost = severity == kRecoverable || severity == kFatal;
  Event event = event_from(row, lost ? EventKind::kUncorrected : EventKind::kCorrected);
  event.label = printable(row.text("fru_text"), Event::kLabelLimit / 2);
  const auto address = row.number("address");
  const bool names_memory = address && *address != 0 && *address != kNoAddress &&
                            row.number("etype") != kInvalidAddress &&
                            (lost || severity == kCorrected);
  if (names_memory) set_place(event, *address, 0);
  return import.collector.hand_over(std::move(event));
}

// arm_event: a processor error section (UEFI specification, N.2.4.4). Only a cache error that was
// not corrected tells of lost memory: the line could not be written back.
Result<void> import_arm(const Row& row, Import& import) {
  constexpr unsigned kCorrectedValid = 4;
  constexpr unsigned kCorrected = 26;
  const uint64_t info = row.number("error_info").value_or(0);
  const bool lost = bit(info, kCorrectedValid) && !bit(info, kCorrected);
  Event event = event_from(row, lost ? EventKind::kUncorrected : EventKind::kCorrected);
  event.count = count_of(row, "error_count");
  const uint64_t address = row.number("phy_fault_addr").value_or(0);
  if (lost && address != 0 &&
      row.text("error_type").find("cache error") != std::string_view::npos) {
    set_place(event, address, 0);
  }
  return import.collector.hand_over(std::move(event));
}

// A CXL device by its serial number: memN is another device after a boot.
std::string cxl_label(const Row& row) {
  if (const auto serial = row.number("serial")) return fmt::format("cxl serial {:#x}", *serial);
  return printable(fmt::format("cxl {} {}", row.text("memdev"), row.text("host")),
                   Event::kLabelLimit / 2);
}

// The bytes at the column `hpa`: nothing when the device address belongs to no region.
std::optional<ByteRange> cxl_range(const Row& row, std::string_view column, uint64_t length) {
  const auto hpa = row.number(column);
  if (!hpa || *hpa == 0 || *hpa == kNoAddress) return std::nullopt;
  return ByteRange::from_size(PhysAddr(*hpa), length);
}

// Device addresses count in pieces of 64 bytes, and an interleave set changes devices after 256 at
// the least (CXL 3.1, 8.2.4.20).
constexpr uint64_t kCxlLine = 64;
constexpr uint64_t kCxlLeastGranule = 256;

// One event for the address, and one for the other address of the same bytes in a region with an
// extended linear cache (hpa_alias0).
Result<void> give_cxl(const Event& event, const Row& row, uint64_t length, Import& import) {
  bool placed = false;
  for (const std::string_view column : {"hpa", "hpa_alias0"}) {
    Event one = event;
    one.range = cxl_range(row, column, length);
    if (!one.range) continue;
    one.granularity = kCxlLine;
    placed = true;
    if (auto given = import.collector.hand_over(std::move(one)); !given) return given;
  }
  return placed ? Result<void>() : import.collector.hand_over(event);
}

// cxl_poison_event: an entry of the device's poison list (CXL 3.1, table 8-140), or what somebody
// did to the list. Of poison over several granules of an interleave set only the first address is
// traced, and the set is not known here: then the first granule is all that is certain.
Result<void> import_cxl_poison(const Row& row, Import& import) {
  constexpr unsigned kOverflow = 1;
  const std::string_view trace = row.text("trace_type");
  if (trace == "Clear") {
    ++import.cleared;
    return {};
  }
  const bool injected = trace == "Inject" || row.text("source") == "Injected";
  Event event = event_from(row, injected ? EventKind::kInjected : EventKind::kMedia);
  event.label = cxl_label(row);
  const auto dpa = row.number("dpa");
  const auto length = row.number("dpa_length");
  if (bit(row.number("flags").value_or(0), kOverflow)) {
    import.warn(row, "the poison list of the device has overflowed: it knows of more bad places");
  }
  const bool plausible =
      dpa && length && *length != 0 && *length <= std::numeric_limits<std::uint32_t>::max();
  if (!plausible || (trace != "List" && trace != "Inject")) {
    import.warn(row, fmt::format("trace_type '{}', dpa or dpa_length is not what rasdaemon writes; "
                                 "kept as evidence without a place",
                                 printable(trace)));
    return import.collector.hand_over(std::move(event));
  }
  const uint64_t certain = std::min(*length, kCxlLeastGranule - *dpa % kCxlLeastGranule);
  if (!cxl_range(row, "hpa", certain)) {
    event.label += fmt::format(" dpa {:#x}+{:#x}", *dpa, *length);
  } else if (certain < *length) {
    ++import.interleaved;
  }
  return give_cxl(event, row, certain, import);
}

// A coordinate. rasdaemon stores 0 for one that the device did not give, so 0 says nothing.
std::optional<std::uint32_t> coordinate(const Row& row, std::string_view column) {
  const auto value = row.number(column);
  if (!value || *value == 0 || *value > std::numeric_limits<std::uint32_t>::max()) {
    return std::nullopt;
  }
  return static_cast<std::uint32_t>(*value);
}

// What general media and DRAM event records have in common (CXL 3.1, tables 8-45 and 8-46).
// `not_cells`: the types that tell of a wrong access and not of bad memory.
Result<void> import_cxl_record(const Row& row, std::array<uint64_t, 3> not_cells,
                               const DramCoordinates& dram, Import& import) {
  constexpr unsigned kUncorrectable = 0;  // of the descriptor
  constexpr uint64_t kHostInject = 4;     // of the transaction types
  const auto descriptor = row.number("descriptor");
  const auto type = row.number("type");
  Event event =
      event_from(row, descriptor && bit(*descriptor, kUncorrectable) ? EventKind::kUncorrected
                                                                     : EventKind::kCorrected);
  if (row.number("transaction_type") == kHostInject) event.kind = EventKind::kInjected;
  event.label = cxl_label(row);
  event.dram = dram;
  const bool cells =
      descriptor && type && std::find(not_cells.begin(), not_cells.end(), *type) == not_cells.end();
  if (!cells) return import.collector.hand_over(std::move(event));
  return give_cxl(event, row, kCxlLine, import);
}

Result<void> import_cxl_media(const Row& row, Import& import) {
  DramCoordinates dram;
  dram.channel = coordinate(row, "channel");
  dram.rank = coordinate(row, "rank");
  dram.device = coordinate(row, "device");
  // Invalid address, trusted execution violation, key violation.
  return import_cxl_record(row, {1, 3, 6}, dram, import);
}

Result<void> import_cxl_dram(const Row& row, Import& import) {
  DramCoordinates dram;
  dram.channel = coordinate(row, "channel");
  dram.sub_channel = coordinate(row, "sub_channel");
  dram.rank = coordinate(row, "rank");
  dram.bank_group = coordinate(row, "bank_group");
  dram.bank = coordinate(row, "bank");
  dram.row = coordinate(row, "row");
  dram.column = coordinate(row, "column");
  return import_cxl_record(row, {2, 4, 6}, dram, import);
}

struct Table {
  std::string_view name;
  Result<void> (*import_row)(const Row&, Import&);
};
constexpr std::array<Table, 8> kTables = {{
    {"memory_failure_event", import_memory_failure},
    {"mc_event", import_mc},
    {"mce_record", import_mce},
    {"extlog_event", import_extlog},
    {"arm_event", import_arm},
    {"cxl_poison_event", import_cxl_poison},
    {"cxl_general_media_event", import_cxl_media},
    {"cxl_dram_event", import_cxl_dram},
}};

// "SELECT ..." of all columns that are stored (a generated one would be computed by what the file
// says); nothing when there is no such table. A view is none.
Result<std::optional<std::string>> query_for(const sqlite::Database& database, const Table& table) {
  auto found = database.prepare(
      "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1 AND rootpage > 0");
  if (!found) return found.error();
  const auto there = found->bind(1, table.name).step();
  if (!there) return there.error();
  if (!*there) return std::optional<std::string>();
  auto columns = database.prepare("SELECT name FROM pragma_table_info(?1)");
  if (!columns) return columns.error();
  columns->bind(1, table.name);
  std::string list;
  for (std::size_t count = 0; count < kMostColumns; ++count) {
    const auto more = columns->step();
    if (!more) return more.error();
    if (!*more) break;
    list += count == 0 ? "\"" : ", \"";
    for (const char c : columns->text(0)) list += c == '"' ? "\"\"" : std::string(1, c);
    list += '"';
  }
  if (list.empty()) return std::optional<std::string>();
  return std::optional(fmt::format("SELECT {} FROM \"{}\"", list, table.name));
}

Result<void> import_table(const sqlite::Database& database, const Table& table, Import& import) {
  const auto query = query_for(database, table);
  if (!query) return import.damaged(query.error());
  if (!*query) return {};
  auto rows = database.prepare(**query);
  if (!rows) return import.damaged(rows.error());
  for (uint64_t read = 0;; ++read) {
    const auto more = rows->step();
    if (!more) {
      Error error = import.damaged(more.error());
      error.message += fmt::format(" (table {}, after {} rows)", table.name, read);
      return error;
    }
    if (!*more) return {};
    const Row row(table.name, *rows);
    if (auto done = table.import_row(row, import); !done) return done;
    if (!row.odd().empty()) {
      import.warn(row, fmt::format("column {} holds no number; kept without what depends on it",
                                   row.odd()));
    }
  }
}

Result<void> import_all(const sqlite::Database& database, Import& import) {
  for (const Table& table : kTables) {
    if (auto done = import_table(database, table, import); !done) return done;
  }
  return {};
}

// What is said once about many rows.
void summarise(Import& import) {
  if (import.cleared != 0) {
    import.collector.warn(
        fmt::format("{}: cxl_poison_event: {} rows tell that poison was cleared, which "
                    "overwrites the data and repairs nothing; not imported ('poisonctl "
                    "resolve' ends a record)",
                    import.path, import.cleared));
  }
  if (import.interleaved != 0) {
    import.collector.warn(fmt::format(
        "{}: cxl_poison_event: {} rows tell of more bytes than the {} that lie together in "
        "any region; only those were taken ('cxl list -r all --media-errors' tells where "
        "the others are)",
        import.path, import.interleaved, kCxlLeastGranule));
  }
}

}  // namespace

Result<SourceReport> collect_rasdaemon(const std::string& path, const std::string& scratch,
                                       const SourceSettings& settings, const EventSink& sink) {
  const auto snapshot = sqlite::Snapshot::take(path, scratch);
  if (!snapshot) return snapshot.error();
  const std::string copy = snapshot->path();
  Import import{.path = path, .copy = copy, .settings = settings, .collector = Collector(sink)};
  // For writing: what a writer left unfinished is rolled back, in the copy.
  const auto database = sqlite::Database::open(copy, sqlite::OpenMode::kWrite, 0);
  if (!database) return import.damaged(database.error());
  if (auto done = import_all(*database, import); !done) return done.error();
  summarise(import);
  return import.collector.take_report();
}

}  // namespace poisonctl
