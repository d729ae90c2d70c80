// The log as the database that rasdaemon keeps, so that ras-mc-ctl shows it.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "registry/exports/exports.h"
#include "registry/sqlite.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr const char* kTables = R"sql(
PRAGMA synchronous = OFF;  -- nobody reads it before it is whole
BEGIN;
CREATE TABLE mc_event (id INTEGER PRIMARY KEY, timestamp TEXT, err_count INTEGER, err_type TEXT,
  err_msg TEXT, label TEXT, mc INTEGER, top_layer INTEGER, middle_layer INTEGER,
  lower_layer INTEGER, address INTEGER, grain INTEGER, syndrome INTEGER, driver_detail TEXT);
CREATE TABLE aer_event (id INTEGER PRIMARY KEY, timestamp TEXT, dev_name TEXT, err_type TEXT,
  err_msg TEXT);
CREATE TABLE extlog_event (id INTEGER PRIMARY KEY, timestamp TEXT, etype INTEGER,
  error_count INTEGER, severity INTEGER, address INTEGER, fru_id BLOB, fru_text TEXT,
  cper_data BLOB);
CREATE TABLE mce_record (id INTEGER PRIMARY KEY, timestamp TEXT, mcgcap INTEGER, mcgstatus INTEGER,
  status INTEGER, addr INTEGER, misc INTEGER, ip INTEGER, tsc INTEGER, walltime INTEGER,
  cpu INTEGER, cpuid INTEGER, apicid INTEGER, socketid INTEGER, cs INTEGER, bank INTEGER,
  cpuvendor INTEGER, bank_name TEXT, error_msg TEXT, mcgstatus_msg TEXT, mcistatus_msg TEXT,
  mcastatus_msg TEXT, user_action TEXT, mc_location TEXT);
CREATE TABLE memory_failure_event (id INTEGER PRIMARY KEY, timestamp TEXT, pfn TEXT,
  page_type TEXT, action_result TEXT);
)sql";

std::string timestamp_of(const StoredEvent& stored) {
  const auto seconds =
      std::chrono::floor<std::chrono::seconds>(time_seen(stored.event, stored.provenance));
  return fmt::format("{:%Y-%m-%d %H:%M:%S} +0000", fmt::gmtime(seconds.time_since_epoch().count()));
}

// -1 is what rasdaemon has for a layer that is not known.
std::int64_t layer(const std::optional<std::uint32_t>& number) {
  return number ? std::int64_t{*number} : -1;
}

class Writer {
 public:
  Writer(sqlite::Statement error, sqlite::Statement failure)
      : error_(std::move(error)), failure_(std::move(failure)) {}

  // False when the tables have no place for it.
  Result<bool> add(const StoredEvent& stored) {
    const Event& event = stored.event;
    if (!is_observation(event.kind) || !event.foreign_host.empty()) return false;
    const bool poisoned = event.kind == EventKind::kPoisoned && event.range;
    auto done = poisoned ? add_failure(stored) : add_error(stored);
    if (!done) return done.error();
    return true;
  }

 private:
  Result<void> add_failure(const StoredEvent& stored) {
    const std::string time = timestamp_of(stored);
    // rasdaemon counts frames in pages of 4 KiB.
    const std::string pfn =
        to_hex(PageShift::smallest().pfn_of(stored.event.range->begin()).value());
    const std::string result =
        stored.event.result.empty() ? "Unknown" : printable(stored.event.result, 256);
    return failure_.bind(1, stored.id).bind(2, time).bind(3, pfn).bind(4, result).run();
  }

  Result<void> add_error(const StoredEvent& stored) {
    const Event& event = stored.event;
    const std::string time = timestamp_of(stored);
    const std::string message =
        fmt::format("{} by {}", to_word(event.kind), printable(stored.provenance.source));
    const std::string label = printable(event.label, 1024);
    const std::string detail = printable(event.evidence, 8 * Event::kEvidenceLimit);
    const std::string_view type = event.kind == EventKind::kCorrected  ? "Corrected"
                                  : event.kind == EventKind::kDeferred ? "Deferred"
                                                                       : "Uncorrected";
    const std::uint64_t address = event.range ? event.range->begin().value() : 0;
    const std::uint64_t grain = event.range ? event.range->size() : 0;
    return error_.bind(1, stored.id)
        .bind(2, time)
        .bind(3, static_cast<std::int64_t>(event.count))
        .bind(4, type)
        .bind(5, message)
        .bind(6, label)
        .bind(7, layer(event.dram.controller))
        .bind(8, layer(event.dram.channel))
        .bind(9, layer(event.dram.slot))
        .bind(10, std::int64_t{-1})
        .bind(11, static_cast<std::int64_t>(address))
        .bind(12, static_cast<std::int64_t>(grain))
        .bind(13, detail)
        .run();
  }

  sqlite::Statement error_;
  sqlite::Statement failure_;
};

}  // namespace

Result<FormatSummary> export_rasdaemon(Store& store, const LogSelection& selection,
                                       const std::string& path) {
  const auto database = sqlite::Database::open(path, sqlite::OpenMode::kWrite, 0);
  if (!database) return database.error();
  if (auto made = database->execute(kTables); !made) return made.error();
  auto error = database->prepare(
      "INSERT INTO mc_event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, ?13)");
  if (!error) return error.error();
  auto failure =
      database->prepare("INSERT INTO memory_failure_event VALUES (?1, ?2, ?3, 'Unknown', ?4)");
  if (!failure) return failure.error();
  Writer writer(*std::move(error), *std::move(failure));
  FormatSummary summary;
  Result<void> status;
  const auto read = store.for_each_event([&](const StoredEvent& stored) {
    if (!selection.takes(stored)) return true;
    const auto added = writer.add(stored);
    if (!added) {
      status = added.error();
    } else {
      ++(*added ? summary.written : summary.left_out);
    }
    return status.ok();
  });
  if (!read) return read.error();
  if (status) status = database->execute("COMMIT");
  if (!status) return status.error();
  return summary;
}

}  // namespace poisonctl
