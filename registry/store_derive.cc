#include "registry/store_derive.h"

#include <fmt/format.h>

namespace poisonctl {

namespace {

using sqlite::Statement;

// So many records are held before they are written: bounds memory, and is large enough that a burst
// of events about the same frames is written once.
constexpr std::size_t kHeld = 1U << 14U;

std::int64_t to_ns(Time time) { return time.time_since_epoch().count(); }
Time from_ns(std::int64_t ns) { return Time(std::chrono::nanoseconds(ns)); }
std::int64_t to_signed(std::uint64_t value) { return static_cast<std::int64_t>(value); }
std::uint64_t to_unsigned(std::int64_t value) { return static_cast<std::uint64_t>(value); }

std::vector<std::string> split_words_at_commas(std::string_view text) {
  std::vector<std::string> words;
  while (!text.empty()) {
    const auto comma = text.find(',');
    words.emplace_back(text.substr(0, comma));
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  return words;
}

Result<void> prepare_into(const sqlite::Database& database, Statement& target,
                          const std::string& sql) {
  auto prepared = database.prepare(sql);
  if (!prepared) return prepared.error();
  target = *std::move(prepared);
  return {};
}

}  // namespace

const char* const kRecordColumns =
    "address, size, id, granularity, condition, severity, sources, first_seen_ns, last_seen_ns, "
    "events, ce_level, ce_filled_ns, label, dram, reopened, outcome, outcome_boot_id, outcome_how, "
    "resolution, resolution_reason, resolved_ns, topologies";

Result<Record> record_in(const Statement& row, const std::string& path) {
  const auto range =
      ByteRange::from_size(PhysAddr(to_unsigned(row.integer(0))), to_unsigned(row.integer(1)));
  const auto condition = condition_from(row.text(4));
  const auto severity = event_kind_from(row.text(5));
  const auto dram = dram_coordinates_from(row.text(13));
  const auto outcome = retirement_from(row.text(15));
  const auto resolution = resolution_from(row.text(18));
  if (!range || !condition || !severity || !dram || !outcome || !resolution) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: record {} is damaged: it has a value that this program does not "
                             "know; 'poisonctl rebuild' makes the records again",
                             path, row.integer(2))};
  }
  return Record{
      .id = row.integer(2),
      .range = *range,
      .granularity = to_unsigned(row.integer(3)),
      .condition = *condition,
      .severity = *severity,
      .sources = split_words_at_commas(row.text(6)),
      .first_seen = from_ns(row.integer(7)),
      .last_seen = from_ns(row.integer(8)),
      .events = to_unsigned(row.integer(9)),
      .corrected = {.level = to_unsigned(row.integer(10)), .filled = from_ns(row.integer(11))},
      .label = std::string(row.text(12)),
      .dram = *dram,
      .reopened = to_unsigned(row.integer(14)),
      .topologies = split_words_at_commas(row.text(21)),
      .last_outcome = *outcome,
      .outcome_boot_id = std::string(row.text(16)),
      .outcome_how = std::string(row.text(17)),
      .resolution = *resolution,
      .resolution_reason = std::string(row.text(19)),
      .resolved = from_ns(row.integer(20))};
}

Result<Deriver> Deriver::prepare(const sqlite::Database& database) {
  Deriver deriver(database);
  if (auto ok = prepare_into(
          database, deriver.find_,
          fmt::format("SELECT {} FROM record WHERE address = ? AND size = ?", kRecordColumns));
      !ok) {
    return ok.error();
  }
  if (auto ok = prepare_into(
          database, deriver.put_,
          fmt::format(
              "INSERT OR REPLACE INTO record ({}) VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,"
              "?13,?14,?15,?16,?17,?18,?19,?20,?21,?22)",
              kRecordColumns));
      !ok) {
    return ok.error();
  }
  if (auto ok = prepare_into(database, deriver.find_row_,
                             "SELECT level, filled_ns, faulty FROM dram_row WHERE key = ?");
      !ok) {
    return ok.error();
  }
  if (auto ok = prepare_into(
          database, deriver.put_row_,
          "INSERT OR REPLACE INTO dram_row (key, level, filled_ns, faulty) VALUES (?,?,?,?)");
      !ok) {
    return ok.error();
  }
  return deriver;
}

Result<Record*> Deriver::load(const ByteRange& range) {
  if (const auto held = records_.find(range); held != records_.end()) return &held->second;
  find_.reset();
  const auto row =
      find_.bind(1, to_signed(range.begin().value())).bind(2, to_signed(range.size())).step();
  if (!row) return row.error();
  if (!*row) return static_cast<Record*>(nullptr);
  auto record = record_in(find_, database_->path());
  find_.reset();
  if (!record) return record.error();
  return &records_.emplace(range, *std::move(record)).first->second;
}

Result<const Record*> Deriver::find(const ByteRange& range) {
  const auto record = load(range);
  if (!record) return record.error();
  return static_cast<const Record*>(*record);
}

const std::string& Deriver::snapshot_name(const Provenance& provenance) {
  if (snapshot_ != provenance.topology) {
    snapshot_ = provenance.topology;
    snapshot_name_ = hasher_.snapshot_name(snapshot_);
  }
  return snapshot_name_;
}

Result<Deriver::Row*> Deriver::load_row(const std::string& key) {
  if (const auto held = rows_.find(key); held != rows_.end()) return &held->second;
  find_row_.reset();
  const auto found = find_row_.bind(1, key).step();
  if (!found) return found.error();
  Row row;
  if (*found) {
    row.bucket = {.level = to_unsigned(find_row_.integer(0)),
                  .filled = from_ns(find_row_.integer(1))};
    row.faulty = find_row_.integer(2) != 0;
  }
  find_row_.reset();
  return &rows_.emplace(key, row).first->second;
}

Result<bool> Deriver::add_to_row(const Event& event, const Provenance& provenance) {
  const std::string key = row_key(event.label, event.dram);
  if (event.kind != EventKind::kCorrected || key.empty()) return false;
  const auto row = load_row(key);
  if (!row) return row.error();
  const Time seen = time_seen(event, provenance);
  const bool over =
      (*row)->bucket.add(event.count, seen, provenance.time, policy_.row_limit, policy_.window);
  if ((*row)->faulty || !over) return (*row)->faulty;
  (*row)->faulty = true;
  condemned_.insert(key);
  return true;
}

// Other hardware, or mended hardware, starts without the errors of the old one.
Result<void> Deriver::renew_row(const Record& record, Resolution resolution) {
  const std::string key = row_key(record.label, record.dram);
  const bool renewed = resolution == Resolution::kReplaced || resolution == Resolution::kRepaired;
  if (!renewed || key.empty()) return {};
  // What it was condemned for counts for what was suspect until now, and for nothing after it.
  if (condemned_.contains(key)) {
    if (auto flushed = flush(); !flushed) return flushed;
  }
  const auto row = load_row(key);
  if (!row) return row.error();
  **row = Row{};
  return {};
}

bool Deriver::is_condemned(const Record& record) const {
  return !condemned_.empty() && record.condition == Condition::kSuspect &&
         condemned_.contains(row_key(record.label, record.dram));
}

Result<void> Deriver::condemn_rows() {
  if (condemned_.empty()) return {};
  auto suspects = database_->prepare(fmt::format(
      "SELECT {} FROM record WHERE condition = 'suspect' AND dram <> ''", kRecordColumns));
  if (!suspects) return suspects.error();
  // Not in the loop: a table is not written while it is read.
  std::vector<Record> faulty;
  for (;;) {
    const auto row = suspects->step();
    if (!row) return row.error();
    if (!*row) break;
    auto record = record_in(*suspects, database_->path());
    if (!record) return record.error();
    if (!is_condemned(*record)) continue;
    record->condition = Condition::kFaulty;
    faulty.push_back(*std::move(record));
  }
  condemned_.clear();
  for (const Record& record : faulty) {
    if (auto stored = store(record); !stored) return stored;
  }
  return {};
}

Result<Deriver::Change> Deriver::fold(std::int64_t id, const Event& event,
                                      const Provenance& provenance) {
  if (records_.size() >= kHeld || rows_.size() >= kHeld) {
    if (auto flushed = flush(); !flushed) return flushed.error();
  }
  const auto row_is_faulty = add_to_row(event, provenance);
  if (!row_is_faulty) return row_is_faulty.error();

  const ByteRange range = record_range(*event.range);
  auto record = load(range);
  if (!record) return record.error();
  Change change;
  if (*record == nullptr) {
    // What it was about was lost (recovery.h): it makes no record by itself.
    if (!is_observation(event.kind)) return Change{};
    record = &records_.emplace(range, empty_record(id, range, provenance.time)).first->second;
    change.new_record = true;
  }
  if (is_condemned(**record)) (*record)->condition = Condition::kFaulty;
  const std::uint64_t reopened = (*record)->reopened;
  if (event.kind == EventKind::kResolution) {
    if (auto renewed = renew_row(**record, event.resolution); !renewed) return renewed.error();
    record = load(range);  // that may have let go of it
    if (!record) return record.error();
  }
  fold_event(**record, event, provenance, policy_, *row_is_faulty, snapshot_name(provenance));
  change.reopened = (*record)->reopened != reopened;
  return change;
}

Result<void> Deriver::store(const Record& record) {
  const std::string sources = fmt::format("{}", fmt::join(record.sources, ","));
  const std::string dram = to_text(record.dram);
  const std::string topologies = fmt::format("{}", fmt::join(record.topologies, ","));
  return put_.bind(1, to_signed(record.range.begin().value()))
      .bind(2, to_signed(record.range.size()))
      .bind(3, record.id)
      .bind(4, to_signed(record.granularity))
      .bind(5, to_word(record.condition))
      .bind(6, to_word(record.severity))
      .bind(7, sources)
      .bind(8, to_ns(record.first_seen))
      .bind(9, to_ns(record.last_seen))
      .bind(10, to_signed(record.events))
      .bind(11, to_signed(record.corrected.level))
      .bind(12, to_ns(record.corrected.filled))
      .bind(13, record.label)
      .bind(14, dram)
      .bind(15, to_signed(record.reopened))
      .bind(16, to_word(record.last_outcome))
      .bind(17, record.outcome_boot_id)
      .bind(18, record.outcome_how)
      .bind(19, to_word(record.resolution))
      .bind(20, record.resolution_reason)
      .bind(21, to_ns(record.resolved))
      .bind(22, topologies)
      .run();
}

Result<void> Deriver::flush() {
  for (const auto& [range, record] : records_) {
    if (auto stored = store(record); !stored) return stored;
  }
  records_.clear();
  for (const auto& [key, row] : rows_) {
    auto stored = put_row_.bind(1, key)
                      .bind(2, to_signed(row.bucket.level))
                      .bind(3, to_ns(row.bucket.filled))
                      .bind(4, std::int64_t{row.faulty ? 1 : 0})
                      .run();
    if (!stored) return stored;
  }
  rows_.clear();
  return condemn_rows();
}

}  // namespace poisonctl
