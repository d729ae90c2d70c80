#include "registry/audit/bundle_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>

#include "registry/audit/cms.h"
#include "registry/audit/ustar.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// Calls `take` for each line of a member that is made of lines, with its number from 1. Every line
// has an end.
template <typename Take>
void for_each_line(std::string_view content, const Take& take) {
  for (std::uint64_t number = 1; !content.empty(); ++number) {
    const auto end = content.find('\n');
    take(content.substr(0, end), number, end != std::string_view::npos);
    content.remove_prefix(end == std::string_view::npos ? content.size() : end + 1);
  }
}

// The chain, line by line.
class LogChecker {
 public:
  using Find = std::function<void(std::string)>;
  LogChecker(const BundleInfo& info, const std::vector<std::string>& topologies, Find find,
             Find note)
      : whole_(info.filter.takes_all()),
        redacted_(info.redacted),
        topologies_(topologies),
        find_(std::move(find)),
        note_(std::move(note)) {}

  void take(const LogLine& line, const std::string& place) {
    std::visit([&](const auto& one) { take_one(one, place); }, line);
  }
  // Compares the end of the chain with the head.
  void finish(const ChainHead& head) const {
    if (last_ == head.id && previous_ == head.hash) return;
    find_(fmt::format("the log ends at entry {} with the hash {}; {} says entry {}, {}", last_,
                      to_hex_text(as_bytes(previous_)).substr(0, 16), kInfoMember, head.id,
                      to_hex_text(as_bytes(head.hash)).substr(0, 16)));
  }
  [[nodiscard]] std::uint64_t imports() const { return imports_; }
  [[nodiscard]] std::uint64_t events() const { return events_; }
  [[nodiscard]] std::uint64_t withheld() const { return withheld_; }
  [[nodiscard]] std::uint64_t omitted() const { return omitted_; }

 private:
  void take_one(const ImportLine& line, const std::string& place);
  void take_one(const EventLine& line, const std::string& place);
  void take_one(const OmittedLine& line, const std::string& place);
  void check_clock(const ImportLine& line, const std::string& place);
  // Whether `id` is what comes next; goes on from there in any case.
  void expect_next(std::int64_t id, const std::string& place) {
    if (id != next_id()) {
      find_(fmt::format("{}: expected entry {}, found entry {}: lines are missing, added or moved",
                        place, next_id(), id));
    }
  }
  [[nodiscard]] std::int64_t next_id() const {
    return last_ == std::numeric_limits<std::int64_t>::max() ? last_ : last_ + 1;
  }

  bool whole_;
  bool redacted_;
  const std::vector<std::string>& topologies_;
  Find find_;
  Find note_;
  Hasher hasher_;
  std::int64_t last_ = 0;
  Digest previous_{};
  std::optional<ImportLine> import_;
  std::optional<Digest> import_digest_;
  std::uint64_t imports_ = 0;
  std::uint64_t events_ = 0;
  std::uint64_t withheld_ = 0;
  std::uint64_t omitted_ = 0;
};

void LogChecker::check_clock(const ImportLine& line, const std::string& place) {
  if (!import_) return;
  const Provenance& before = import_->provenance;
  const Provenance& now = line.provenance;
  if (now.time < before.time) {
    note_(fmt::format("{}: import {} says {}, and the one before it {}: a clock was set back",
                      place, line.id, to_rfc3339_seconds(now.time),
                      to_rfc3339_seconds(before.time)));
    return;
  }
  // Within a boot both clocks run alike, but for what time servers correct.
  constexpr auto kSlack = std::chrono::minutes(1);
  if (now.boot_id.empty() || now.boot_id != before.boot_id || now.monotonic_ns == 0 ||
      before.monotonic_ns == 0) {
    return;
  }
  const auto ran =
      std::chrono::nanoseconds(static_cast<std::int64_t>(now.monotonic_ns - before.monotonic_ns));
  const auto moved = (now.time - before.time) - ran;
  if (moved > kSlack || moved < -kSlack) {
    note_(fmt::format("{}: between import {} and {}, in one boot, the clock was set by {} seconds",
                      place, import_->id, line.id,
                      std::chrono::duration_cast<std::chrono::seconds>(moved).count()));
  }
}

void LogChecker::take_one(const ImportLine& line, const std::string& place) {
  const std::int64_t before = import_ ? import_->id : 0;
  if (line.id <= before || (whole_ && line.id != before + 1)) {
    find_(fmt::format("{}: import {} follows import {}: lines are missing, added or moved", place,
                      line.id, before));
  }
  check_clock(line, place);
  ++imports_;
  import_ = line;
  import_digest_ = line.digest;
  Provenance by = line.provenance;
  if (line.topology) {
    const auto number = static_cast<std::uint64_t>(*line.topology);
    if (number == 0 || number > topologies_.size()) {
      find_(fmt::format("{}: import {} names topology {}, which is not there", place, line.id,
                        *line.topology));
      return;
    }
    by.topology = topologies_[number - 1];
  }
  if (line.redacted != redacted_) {
    find_(fmt::format("{}: import {} is {}redacted, and {} says otherwise", place, line.id,
                      line.redacted ? "" : "not ", kInfoMember));
  }
  if (line.redacted) return;
  import_digest_ = hasher_.of_import(line.id, by);
  if (line.digest != import_digest_) {
    find_(fmt::format("{}: import {} does not fit its digest: it or its topology was changed",
                      place, line.id));
  }
}

void LogChecker::take_one(const EventLine& line, const std::string& place) {
  expect_next(line.id, place);
  ++events_;
  if (!import_ || line.import != import_->id) {
    find_(fmt::format("{}: entry {} is of import {}, whose line is not before it", place, line.id,
                      line.import));
  }
  if (line.redacted) {
    ++withheld_;
    if (!redacted_) {
      find_(fmt::format("{}: entry {} is redacted, and {} says that nothing is", place, line.id,
                        kInfoMember));
    }
  } else if (!import_digest_) {
    find_(fmt::format("{}: the digest of the import of entry {} is missing", place, line.id));
  } else if (const Digest expected =
                 hasher_.of_event(previous_, *import_digest_, line.id, line.event);
             expected != line.hash) {
    find_(
        fmt::format("{}: entry {} does not fit: its hash is {}, its content and what comes before "
                    "it give {}",
                    place, line.id, to_hex_text(as_bytes(line.hash)).substr(0, 16),
                    to_hex_text(as_bytes(expected)).substr(0, 16)));
  }
  last_ = line.id;
  previous_ = line.hash;
}

void LogChecker::take_one(const OmittedLine& line, const std::string& place) {
  expect_next(line.first, place);
  if (whole_) {
    find_(fmt::format("{}: entries {} to {} are left out, and {} says that none are", place,
                      line.first, line.last, kInfoMember));
  }
  if (line.last < line.first) {
    find_(fmt::format("{}: entries {} to {} are no range", place, line.first, line.last));
  } else {
    omitted_ += static_cast<std::uint64_t>(line.last - line.first) + 1;
  }
  last_ = std::max(line.first, line.last);
  previous_ = line.hash;
}

// "log/000001.ndjson:7"
std::string place_of(const std::string& member, std::uint64_t line) {
  return fmt::format("{}:{}", printable(member), line);
}

class BundleChecker {
 public:
  BundleChecker(BundleInfo info, const BundleTrust& trust) : trust_(trust) {
    report_.info = std::move(info);
    const auto find = [this](std::string text) { this->find(std::move(text)); };
    const auto note = [this](std::string text) {
      if (report_.notes.size() < kMostFindings) report_.notes.push_back(std::move(text));
    };
    log_.emplace(report_.info, topologies_, find, note);
  }
  ~BundleChecker() = default;
  BundleChecker(const BundleChecker&) = delete;
  BundleChecker& operator=(const BundleChecker&) = delete;

  void find(std::string text) {
    if (report_.findings.size() + 1 < kMostFindings) {
      report_.findings.push_back(std::move(text));
    } else if (report_.findings.size() < kMostFindings) {
      report_.findings.emplace_back("and more");
    }
  }
  void take(const TarMember& member);
  BundleReport finish();

 private:
  // Where in a bundle a member may be. Each is there once, but for those of folders.
  enum class Part {
    kInfo,
    kPolicy,
    kTopology,
    kRecords,
    kLog,
    kPublicKey,
    kManifest,
    kCms,
    kSignature,
    kEnd
  };
  [[nodiscard]] std::optional<Part> part_of(const std::string& name) const;
  void check_content(Part part, const TarMember& member);
  void check_manifest(std::string_view manifest);
  void check_signatures();
  void check_cms();

  const BundleTrust& trust_;
  BundleReport report_;
  std::optional<Part> last_part_;
  std::uint64_t number_ = 0;  // of the last member of its folder
  std::vector<std::string> topologies_;
  std::size_t topology_bytes_ = 0;
  std::optional<LogChecker> log_;
  Hasher hasher_;
  std::vector<std::pair<std::string, Digest>> listed_;  // what the manifest has to list
  std::optional<std::string> manifest_;
  std::optional<std::string> cms_;
  std::optional<std::string> signature_;
};

std::optional<BundleChecker::Part> BundleChecker::part_of(const std::string& name) const {
  static constexpr std::pair<std::string_view, Part> kSingle[] = {
      {kInfoMember, Part::kInfo},
      {kPolicyMember, Part::kPolicy},
      {kPublicKeyMember, Part::kPublicKey},
      {kManifestMember, Part::kManifest},
      {kCmsMember, Part::kCms},
      {kSignatureMember, Part::kSignature}};
  for (const auto& [single, part] : kSingle) {
    if (name == single) return part;
  }
  static constexpr std::pair<std::string_view, Part> kFolders[] = {
      {kTopologyFolder, Part::kTopology},
      {kRecordsFolder, Part::kRecords},
      {kLogFolder, Part::kLog}};
  for (const auto& [folder, part] : kFolders) {
    const std::uint64_t number = last_part_ == part ? number_ + 1 : 1;
    if (name == numbered_member(folder, number)) return part;
  }
  return std::nullopt;
}

void BundleChecker::take(const TarMember& member) {
  const auto part = part_of(member.name);
  if (!part) {
    find(fmt::format("{}: a member that no bundle has here: members are missing, added or moved",
                     printable(member.name)));
    return;
  }
  const bool again = *part == last_part_ && *part != Part::kTopology && *part != Part::kRecords &&
                     *part != Part::kLog;
  if (again || (last_part_ && *part < *last_part_)) {
    find(fmt::format("{}: is not where a bundle has it: members were added or moved",
                     printable(member.name)));
  }
  number_ = *part == last_part_ ? number_ + 1 : 1;
  last_part_ = *part;
  if (*part < Part::kManifest) listed_.emplace_back(member.name, hasher_.digest(member.content));
  check_content(*part, member);
}

void BundleChecker::check_content(Part part, const TarMember& member) {
  switch (part) {
    case Part::kTopology:
      topology_bytes_ += member.content.size();
      if (topology_bytes_ > kMostTopologyBytes) {
        find(fmt::format("{}: more than {} bytes of topologies, the most that a bundle has",
                         member.name, kMostTopologyBytes));
        return;
      }
      topologies_.push_back(member.content);
      return;
    case Part::kRecords:
      report_.records += static_cast<std::uint64_t>(
          std::count(member.content.begin(), member.content.end(), '\n'));
      return;
    case Part::kLog:
      for_each_line(member.content, [&](std::string_view text, std::uint64_t number, bool ended) {
        const auto line = ended && text.size() <= kLongestLogLine
                              ? parse_log_line(text, place_of(member.name, number))
                              : Error{ErrorCode::kBadData,
                                      fmt::format("{}: a line without an end, or longer than any",
                                                  place_of(member.name, number))};
        if (line) {
          log_->take(*line, place_of(member.name, number));
        } else {
          find(line.error().message);
        }
      });
      return;
    case Part::kPublicKey:
      if (member.content != public_key_pem(report_.info.public_key)) {
        find(fmt::format("{}: is not the key that {} names", member.name, kInfoMember));
      }
      return;
    case Part::kManifest:
      manifest_ = member.content;
      check_manifest(member.content);
      return;
    case Part::kCms:
      cms_ = member.content;
      return;
    case Part::kSignature:
      signature_ = member.content;
      return;
    case Part::kInfo:
    case Part::kPolicy:
    case Part::kEnd:
      return;  // their digests say enough
  }
}

void BundleChecker::check_manifest(std::string_view manifest) {
  std::size_t next = 0;
  for_each_line(manifest, [&](std::string_view line, std::uint64_t number, bool ended) {
    if (next == listed_.size()) {
      find(fmt::format("{}: lists '{}', which is not there",
                       place_of(std::string(kManifestMember), number), printable(line)));
      return;
    }
    const auto& [name, digest] = listed_[next++];
    const std::string expected = fmt::format("{}  {}", to_hex_text(as_bytes(digest)), name);
    if (!ended || line != expected) {
      find(fmt::format(
          "{}: expected '{}', found '{}': {} was changed, or what was signed is another",
          place_of(std::string(kManifestMember), number), expected, printable(line, 200), name));
    }
  });
  for (; next < listed_.size(); ++next) {
    find(fmt::format("{}: does not list {}", kManifestMember, listed_[next].first));
  }
}

void BundleChecker::check_cms() {
  if (trust_.ca_pem.empty()) {
    if (cms_) {
      report_.notes.push_back(fmt::format(
          "{} was not looked at: a CA to check it with was not named (--ca)", kCmsMember));
    }
    return;
  }
  if (!cms_) {
    find(
        fmt::format("{}: is not there: the bundle has no signature with an X.509 key", kCmsMember));
    return;
  }
  const auto subject = verify_cms(*manifest_, *cms_, trust_.ca_pem);
  if (subject) {
    report_.cms_subject = *subject;
  } else {
    find(fmt::format("{}: is no signature of {} by a certificate of that CA: {}", kCmsMember,
                     kManifestMember, subject.error().message));
  }
}

void BundleChecker::check_signatures() {
  if (!manifest_ || !signature_) {
    find(fmt::format("{} and {} are needed, and not there: members are missing", kManifestMember,
                     kSignatureMember));
    return;
  }
  check_cms();
  // The one with the CA covers the public key, and the one with the key covers that of the CA: no
  // byte of either can be changed.
  const std::string covered = *manifest_ + cms_.value_or("");
  const std::string& key = report_.info.public_key;
  if (!is_signed_by(key, covered, *signature_)) {
    find(fmt::format(
        "{}: does not fit {} and the key that {} names: one of them was changed after "
        "it was signed",
        kSignatureMember, cms_ ? "MANIFEST with MANIFEST.p7s" : "MANIFEST", kInfoMember));
  }
  if (report_.cms_subject.empty() &&
      std::find(trust_.keys.begin(), trust_.keys.end(), key) == trust_.keys.end()) {
    find(
        fmt::format("it is signed with the key {}, which is none that is trusted here: compare it "
                    "with what the owner of the host says, and name it with --key",
                    to_hex_text(key)));
  }
}

BundleReport BundleChecker::finish() {
  log_->finish(report_.info.head);
  check_signatures();
  report_.imports = log_->imports();
  report_.events = log_->events();
  report_.withheld = log_->withheld();
  report_.omitted = log_->omitted();
  return std::move(report_);
}

Result<BundleInfo> read_info(TarReader& reader, const std::string& shown, std::string& content) {
  const auto first = reader.next();
  if (!first && first.error().code == ErrorCode::kIo) return first.error();
  if (first && *first && (*first)->name == kInfoMember) {
    content = (*first)->content;
    return parse_bundle_info(content, fmt::format("{}: {}", shown, kInfoMember));
  }
  return Error{
      ErrorCode::kBadData,
      fmt::format("{}: expected a bundle of 'poisonctl audit export': a tar file that "
                  "begins with {}{}",
                  shown, kInfoMember, first ? std::string() : "; " + first.error().message)};
}

}  // namespace

Result<BundleReport> check_bundle(ByteStream& stream, const BundleTrust& trust) {
  TarReader reader(stream);
  TarMember info_member{.name = std::string(kInfoMember), .content = {}};
  auto info = read_info(reader, stream.shown(), info_member.content);
  if (!info) return info.error();
  BundleChecker checker(*std::move(info), trust);
  checker.take(info_member);
  for (;;) {
    const auto member = reader.next();
    if (!member && member.error().code != ErrorCode::kBadData) return member.error();
    if (!member) checker.find(member.error().message);
    if (!member || !*member) break;
    checker.take(**member);
  }
  return checker.finish();
}

Result<void> read_bundle_log(ByteStream& stream,
                             const std::function<Result<void>(const LogLine&)>& take) {
  TarReader reader(stream);
  std::vector<std::string> topologies;
  Result<void> status;
  for (;;) {
    auto member = reader.next();
    if (!member) return member.error();
    if (!*member) return {};
    if ((*member)->name.starts_with(kTopologyFolder)) {
      topologies.push_back(std::move((*member)->content));
    }
    if (!(*member)->name.starts_with(kLogFolder)) continue;
    for_each_line((*member)->content, [&](std::string_view text, std::uint64_t number, bool) {
      if (!status) return;
      auto line = parse_log_line(text, place_of((*member)->name, number));
      if (!line) {
        status = line.error();
        return;
      }
      if (auto* const import = std::get_if<ImportLine>(&*line); import != nullptr) {
        const auto index = static_cast<std::uint64_t>(import->topology.value_or(0)) - 1;
        if (index < topologies.size()) import->provenance.topology = topologies[index];
      }
      status = take(*line);
    });
    if (!status) return status;
  }
}

}  // namespace poisonctl
