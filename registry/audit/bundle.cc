#include "registry/audit/bundle.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "registry/audit/json_text.h"
#include "registry/audit/log_lines.h"
#include "registry/audit/redaction.h"
#include "registry/audit/ustar.h"
#include "registry/checkpoint.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kInfoSchema = "poisonctl/bundle-v1";
constexpr std::string_view kPolicySchema = "poisonctl/policy-v1";

OrderedJson time_json(const std::optional<Time>& time) {
  return time ? OrderedJson(to_rfc3339(*time)) : OrderedJson(nullptr);
}

OrderedJson json_of(const LogFilter& filter) {
  OrderedJson ranges = OrderedJson::array();
  for (const ByteRange& range : filter.ranges) {
    ranges.push_back({{"address", range.begin().value()}, {"size", range.size()}});
  }
  return {{"since", time_json(filter.since)},
          {"until", time_json(filter.until)},
          {"dimm", filter.dimm.empty() ? OrderedJson(nullptr) : exact_text(filter.dimm)},
          {"ranges", std::move(ranges)}};
}

std::optional<Time> time_in(const OrderedJson& json) {
  return json.is_string() ? time_from_rfc3339(json.get_ref<const std::string&>()) : std::nullopt;
}

std::uint64_t number_in(const OrderedJson& json) {
  return json.is_number_unsigned() ? json.get<std::uint64_t>() : 0;
}

}  // namespace

// ---- the parts

Result<LogSelection> LogSelection::prepare(Store& store, const LogFilter& filter) {
  LogSelection selection;
  selection.filter_ = filter;
  if (filter.dimm.empty()) return selection;
  const auto read = store.for_each_record([&](const Record& record) {
    if (record.label == filter.dimm) selection.of_dimm_.push_back(record.range);
    return true;
  });
  if (!read) return read.error();
  return selection;  // records come in the order of their ranges
}

bool LogSelection::takes_range(const std::optional<ByteRange>& range) const {
  return filter_.ranges.empty() ||
         (range && std::any_of(filter_.ranges.begin(), filter_.ranges.end(),
                               [&](const ByteRange& wanted) { return wanted.overlaps(*range); }));
}

bool LogSelection::takes(const StoredEvent& stored) const {
  const Event& event = stored.event;
  const Time seen = time_seen(event, stored.provenance);
  if ((filter_.since && seen < *filter_.since) || (filter_.until && seen >= *filter_.until)) {
    return false;
  }
  if (!takes_range(event.range)) return false;
  return filter_.dimm.empty() || event.label == filter_.dimm ||
         (event.range && event.foreign_host.empty() &&
          std::binary_search(of_dimm_.begin(), of_dimm_.end(), record_range(*event.range)));
}

bool LogSelection::takes(const Record& record) const {
  if ((filter_.since && record.last_seen < *filter_.since) ||
      (filter_.until && record.first_seen >= *filter_.until)) {
    return false;
  }
  return takes_range(record.range) && (filter_.dimm.empty() || record.label == filter_.dimm);
}

std::string to_text(const BundleInfo& info) {
  const OrderedJson json = {
      {"schema", kInfoSchema},
      {"tool", exact_text(info.tool)},
      {"time", time_json(info.time)},
      {"head", {{"id", info.head.id}, {"hash", to_hex_text(as_bytes(info.head.hash))}}},
      {"public_key", to_hex_text(info.public_key)},
      {"filter", json_of(info.filter)},
      {"redacted", info.redacted}};
  return to_line(json) + "\n";
}

Result<BundleInfo> parse_bundle_info(std::string_view text, const std::string& shown) {
  const OrderedJson json = parse_line(text);
  // Lenient here, and made again below: what does not come out the same is not ours.
  const auto at = [](const OrderedJson& object, const char* name) {
    return object.is_object() && object.contains(name) ? object.at(name) : OrderedJson();
  };
  BundleInfo info;
  info.tool = exact_text_in(at(json, "tool"));
  info.time = time_in(at(json, "time"));
  const OrderedJson head = at(json, "head");
  info.head.id = static_cast<std::int64_t>(number_in(at(head, "id")));
  const auto hash = bytes_from_hex(exact_text_in(at(head, "hash")));
  info.head.hash = (hash ? digest_from(*hash) : std::nullopt).value_or(Digest{});
  info.public_key = bytes_from_hex(exact_text_in(at(json, "public_key"))).value_or("");
  const OrderedJson filter = at(json, "filter");
  info.filter.since = time_in(at(filter, "since"));
  info.filter.until = time_in(at(filter, "until"));
  info.filter.dimm = exact_text_in(at(filter, "dimm"));
  for (const OrderedJson& entry : at(filter, "ranges")) {
    const auto range = ByteRange::from_size(PhysAddr(number_in(at(entry, "address"))),
                                            number_in(at(entry, "size")));
    if (range) info.filter.ranges.push_back(*range);
  }
  info.redacted = at(json, "redacted") == true;
  if (to_text(info) == text) return info;
  return Error{
      ErrorCode::kBadData,
      fmt::format("{}: expected {} as 'poisonctl audit export' writes it", shown, kInfoSchema)};
}

std::string to_text(const Policy& policy) {
  const CorrectedErrorPolicy& corrected = policy.corrected;
  const OrderedJson json = {{"schema", kPolicySchema},
                            {"corrected_errors",
                             {{"frame_limit", corrected.frame_limit},
                              {"row_limit", corrected.row_limit},
                              {"window_seconds", corrected.window.count()}}},
                            {"bounds",
                             {{"frames", policy.bounds.frames},
                              {"per_mille", policy.bounds.per_mille},
                              {"node_per_mille", policy.bounds.node_per_mille},
                              {"floor", policy.bounds.floor},
                              {"hard_per_mille", policy.bounds.hard_per_mille}}},
                            {"include_injected", policy.include_injected}};
  return to_line(json) + "\n";
}

std::string numbered_member(std::string_view folder, std::uint64_t number) {
  return fmt::format("{}{:06}.{}", folder, number, folder == kTopologyFolder ? "txt" : "ndjson");
}

// ---- writing

namespace {

// Members into the file, each with a line of the manifest.
class MemberWriter {
 public:
  explicit MemberWriter(FileInTheMaking& file) : file_(file) {}

  Result<void> add(std::string_view name, std::string_view content) {
    const std::string digest = to_hex_text(as_bytes(hasher_.digest(content)));
    manifest_ += fmt::format("{}  {}\n", digest, name);  // as sha256sum --check reads it
    return add_unlisted(name, content);
  }
  Result<void> add_unlisted(std::string_view name, std::string_view content) {
    if (auto done = file_.write(tar_header(name, content.size())); !done) return done;
    if (auto done = file_.write(content); !done) return done;
    return file_.write(tar_padding(content.size()));
  }
  [[nodiscard]] const std::string& manifest() const { return manifest_; }

 private:
  FileInTheMaking& file_;
  Hasher hasher_;
  std::string manifest_;
};

// Lines into members of about a MiB each: the header of a member says its size, so one is held in
// memory until it is full.
class LineWriter {
 public:
  LineWriter(MemberWriter& members, std::string_view folder) : members_(members), folder_(folder) {}

  Result<void> add(std::string_view line) {
    constexpr std::size_t kFull = 1U << 20U;
    buffer_ += line;
    return buffer_.size() < kFull ? Result<void>() : finish();
  }
  Result<void> finish() {
    if (buffer_.empty()) return {};
    auto added = members_.add(numbered_member(folder_, ++number_), buffer_);
    buffer_.clear();
    return added;
  }

 private:
  MemberWriter& members_;
  std::string_view folder_;
  std::uint64_t number_ = 0;
  std::string buffer_;
};

class Exporter {
 public:
  Exporter(Store& store, const SigningKey& key, const ExportRequest& request, FileInTheMaking& file)
      : store_(store), key_(key), request_(request), file_(file), members_(file) {}

  // Everything but the log and the signatures.
  Result<void> write_state(const ChainHead& head);
  Result<void> write_log();
  Result<void> write_signatures();
  [[nodiscard]] const ExportSummary& summary() const { return summary_; }

 private:
  Result<void> write_topologies();
  Result<void> write_records();
  Result<void> write_event(const ChainedEvent& entry, LineWriter& lines);
  Result<void> write_import(const ChainedEvent& entry, LineWriter& lines);
  Result<void> end_omission(LineWriter& lines);

  Store& store_;
  const SigningKey& key_;
  const ExportRequest& request_;
  FileInTheMaking& file_;
  MemberWriter members_;
  ChainHead head_;
  LogSelection selection_;
  std::optional<Redaction> redaction_;
  // The number of a topology's member, by its digest and by the name that records have for it.
  std::map<Digest, std::int64_t> by_digest_;
  std::map<std::string, std::int64_t> by_name_;
  Hasher hasher_;
  std::int64_t import_ = 0;  // the last that was written
  std::optional<OmittedLine> omission_;
  ExportSummary summary_;
};

Result<void> Exporter::write_state(const ChainHead& head) {
  head_ = head;
  BundleInfo info{.tool = request_.tool,
                  .time = {},
                  .head = head,
                  .public_key = key_.public_key(),
                  .filter = request_.filter,
                  .redacted = request_.redact};
  if (head.id != 0) {
    const auto newest = store_.event(head.id);
    if (!newest) return newest.error();
    if (*newest) info.time = (*newest)->provenance.time;
  }
  if (auto done = members_.add(kInfoMember, to_text(info)); !done) return done;
  if (auto done = members_.add(kPolicyMember, to_text(request_.policy)); !done) return done;
  auto selection = LogSelection::prepare(store_, request_.filter);
  if (!selection) return selection.error();
  selection_ = *std::move(selection);
  if (request_.redact) {
    auto redaction = Redaction::prepare(store_, head.id, key_);
    if (!redaction) return redaction.error();
    redaction_ = *std::move(redaction);
  }
  if (auto done = write_topologies(); !done) return done;
  return write_records();
}

Result<void> Exporter::write_topologies() {
  const auto snapshots = store_.snapshots();
  if (!snapshots) return snapshots.error();
  std::size_t bytes = 0;
  std::int64_t number = 0;
  for (const std::string& snapshot : *snapshots) {
    auto text = redaction_ ? redaction_->of_topology(snapshot) : Result<std::string>(snapshot);
    if (!text) return text.error();
    bytes += text->size();
    if (bytes > kMostTopologyBytes || text->size() > kMostMemberBytes) {
      return Error{ErrorCode::kBadData,
                   fmt::format("its topology snapshots have more than {} bytes together, which is "
                               "the most that a bundle has room for",
                               kMostTopologyBytes)};
    }
    ++number;
    by_digest_[hasher_.digest(snapshot)] = number;
    by_name_[hasher_.snapshot_name(snapshot)] = number;
    const std::string name = numbered_member(kTopologyFolder, static_cast<std::uint64_t>(number));
    if (auto done = members_.add(name, *text); !done) return done;
  }
  return {};
}

Result<void> Exporter::write_records() {
  LineWriter lines(members_, kRecordsFolder);
  Result<void> status;
  const auto read = store_.for_each_record([&](const Record& record) {
    if (!selection_.takes(record)) return true;
    std::vector<std::int64_t> topologies;
    for (const std::string& name : record.topologies) {
      if (const auto found = by_name_.find(name); found != by_name_.end()) {
        topologies.push_back(found->second);
      }
    }
    std::sort(topologies.begin(), topologies.end());
    status = lines.add(record_line(redaction_ ? redaction_->of(record) : record, topologies));
    ++summary_.records;
    return status.ok();
  });
  if (!read) return read.error();
  return status ? lines.finish() : status;
}

Result<void> Exporter::end_omission(LineWriter& lines) {
  if (!omission_) return {};
  const std::string line = to_text(LogLine(*omission_));
  omission_.reset();
  return lines.add(line);
}

Result<void> Exporter::write_import(const ChainedEvent& entry, LineWriter& lines) {
  const Provenance& by = entry.stored.provenance;
  ImportLine line{.id = entry.import,
                  .provenance = redaction_ ? redaction_->of(by) : by,
                  .topology = {},
                  .digest = entry.import_digest,
                  .redacted = redaction_.has_value()};
  if (!by.topology.empty()) line.topology = by_digest_[hasher_.digest(by.topology)];
  if (redaction_ && redaction_->withholds(entry.import)) line.digest.reset();
  line.provenance.topology.clear();
  import_ = entry.import;
  return lines.add(to_text(LogLine(std::move(line))));
}

Result<void> Exporter::write_event(const ChainedEvent& entry, LineWriter& lines) {
  const StoredEvent& stored = entry.stored;
  if (!selection_.takes(stored)) {
    if (!omission_) omission_ = OmittedLine{.first = stored.id};
    omission_->last = stored.id;
    omission_->hash = entry.hash;
    ++summary_.omitted;
    return {};
  }
  if (!has_text(stored.provenance.time) ||
      (stored.event.observed && !has_text(*stored.event.observed))) {
    return Error{ErrorCode::kBadData,
                 fmt::format("entry {} has a time before 1970 or after 2261, which cannot be "
                             "written down; leave it out with --range",
                             stored.id)};
  }
  if (auto done = end_omission(lines); !done) return done;
  if (entry.import != import_) {
    if (auto done = write_import(entry, lines); !done) return done;
  }
  const bool withheld = redaction_ && redaction_->withholds(entry.import);
  const EventLine line{
      .id = stored.id,
      .import = entry.import,
      .event = withheld ? redaction_->of(stored.event, stored.provenance) : stored.event,
      .hash = entry.hash,
      .redacted = withheld};
  ++summary_.events;
  if (withheld) ++summary_.withheld;
  return lines.add(to_text(LogLine(line)));
}

Result<void> Exporter::write_log() {
  LineWriter lines(members_, kLogFolder);
  Result<void> status;
  const auto read = store_.for_each_chained(head_.id, [&](const ChainedEvent& entry) {
    status = write_event(entry, lines);
    return status.ok();
  });
  if (!read) return read.error();
  if (status) status = end_omission(lines);
  return status ? lines.finish() : status;
}

Result<void> Exporter::write_signatures() {
  if (auto done = members_.add(kPublicKeyMember, public_key_pem(key_.public_key())); !done) {
    return done;
  }
  const std::string& manifest = members_.manifest();
  if (manifest.size() > kMostMemberBytes) {
    return Error{ErrorCode::kBadData,
                 "the log is longer than a bundle can be; leave a part of it "
                 "out with --since and --until"};
  }
  if (auto done = members_.add_unlisted(kManifestMember, manifest); !done) return done;
  std::string signed_bytes = manifest;
  if (request_.cms) {
    const auto cms = sign_cms(manifest, *request_.cms);
    if (!cms) return cms.error();
    if (auto done = members_.add_unlisted(kCmsMember, *cms); !done) return done;
    signed_bytes += *cms;
  }
  const auto signature = key_.sign(signed_bytes);
  if (!signature) return signature.error();
  if (auto done = members_.add_unlisted(kSignatureMember, *signature); !done) return done;
  return file_.write(tar_end());
}

// The head, if the checkpoint beside the registry knows it.
Result<ChainHead> pinned_head(Store& store, const std::string& registry) {
  const auto head = store.head();
  if (!head) return head.error();
  const auto checkpoint = read_checkpoint(registry);
  if (!checkpoint) return checkpoint.error();
  if (!*checkpoint || (*checkpoint)->head.id == 0) return *head;
  const auto hash = store.hash_of((*checkpoint)->head.id);
  if (!hash) return hash.error();
  if (*hash == (*checkpoint)->head.hash) return *head;
  return Error{ErrorCode::kBadData,
               fmt::format("{}: the log is not the one that its checkpoint knew: 'poisonctl audit "
                           "verify' says what is wrong, 'poisonctl recover' saves what can be read",
                           registry)};
}

}  // namespace

Result<ExportSummary> export_bundle(Store& store, const std::string& registry,
                                    const SigningKey& key, const ExportRequest& request,
                                    FileInTheMaking& file) {
  // Records are not appended but changed: they are those of a moment only if nobody has added an
  // entry while they were read.
  constexpr int kAttempts = 5;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    if (auto done = file.start_again(); !done) return done.error();
    const auto head = pinned_head(store, registry);
    if (!head) return head.error();
    Exporter exporter(store, key, request, file);
    if (auto done = exporter.write_state(*head); !done) return done.error();
    const auto now = store.head();
    if (!now) return now.error();
    if (now->id != head->id) continue;
    if (auto done = exporter.write_log(); !done) return done.error();
    if (auto done = exporter.write_signatures(); !done) return done.error();
    return exporter.summary();
  }
  return Error{ErrorCode::kLocked,
               registry + ": entries are added faster than the records can be read; try again"};
}

}  // namespace poisonctl
