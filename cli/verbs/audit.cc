// poisonctl audit: whether the log is what was written; the log in one signed file for others, and
// whether such a file is what was signed.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "cli/json.h"
#include "cli/steps.h"
#include "cli/trusting.h"
#include "cli/verb.h"
#include "cli/version.h"
#include "registry/audit/bundle.h"
#include "registry/audit/bundle_check.h"
#include "registry/audit/restore.h"
#include "registry/checkpoint.h"
#include "registry/exports/exports.h"
#include "registry/posix_file.h"
#include "registry/sources/file_stream.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

using Words = std::vector<std::string>;

void add_options(po::options_description& options) {
  options.add_options()("output,o", po::value<std::string>()->value_name("FILE"),
                        "export: write to FILE, all of it or nothing")(
      "since", po::value<std::string>()->value_name("TIME"),
      "export: what was seen at that time or later (2026-03-01T12:00:00Z)")(
      "until", po::value<std::string>()->value_name("TIME"), "export: what was seen before")(
      "dimm", po::value<std::string>()->value_name("LABEL"), "export: about that DIMM or device")(
      "range", po::value<Words>()->value_name("RANGE"),
      "export: what touches RANGE; may be given more than once")(
      "format", po::value<std::string>()->value_name("FORM"),
      "export: csv, ndjson, redfish, cper or rasdaemon, for other systems, instead of a bundle")(
      "redact", "export: do not name the host")(
      "cert", po::value<std::string>()->value_name("FILE"),
      "export: sign with this X.509 certificate (PEM) too")(
      "cert-key", po::value<std::string>()->value_name("FILE"), "export: its private key (PEM)")(
      "key", po::value<Words>()->value_name("FILE"),
      "verify, import: believe bundles that are signed with this public key; may be given more "
      "than once")("ca", po::value<std::string>()->value_name("FILE"),
                   "verify, import: believe bundles that are signed with a certificate of this CA");
  add_list_options(options);
}

// ---- the log itself

Json audit_json(const AuditResult& result) {
  Json json = {{"schema", "poisonctl/audit-v1"},
               {"events", result.head.id},
               {"head", to_hex_text(as_bytes(result.head.hash))},
               {"first_bad", result.defect ? Json(result.defect->id) : Json(nullptr)},
               {"findings", result.findings}};
  if (result.checkpoint) {
    json["checkpoint"] = {{"events", result.checkpoint->head.id},
                          {"time", to_rfc3339(result.checkpoint->time)},
                          {"public_key", to_hex_text(result.checkpoint->public_key)}};
  } else {
    json["checkpoint"] = nullptr;
  }
  return json;
}

Result<ExitStatus> verify_log(Invocation& invocation) {
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  const auto result = audit(*store, invocation.registry_path());
  if (!result) return result.error();

  Output& output = invocation.output();
  if (output.json()) {
    output.object(audit_json(*result));
  } else {
    for (const std::string& finding : result->findings) output.line("error: " + finding);
    if (result->findings.empty() && result->head.id == 0) {
      output.line("0 entries: nothing was ever recorded");
    } else if (result->findings.empty()) {
      output.line(fmt::format(
          "{}, each as it was written; head {}, pinned by a signed "
          "checkpoint at entry {}",
          counted(static_cast<std::uint64_t>(result->head.id), "entry"),
          to_hex_text(as_bytes(result->head.hash)).substr(0, 16), result->checkpoint->head.id));
    }
  }
  return result->findings.empty() ? kExitDone : kExitFindings;
}

// ---- bundles: made

Result<std::optional<Time>> time_option(const Invocation& invocation, const char* name) {
  if (!invocation.has(name)) return std::optional<Time>();
  const auto& text = invocation.option<std::string>(name);
  const auto time = time_from_rfc3339(text);
  if (time) return std::optional(*time);
  return Error{ErrorCode::kUsage, fmt::format("--{} '{}': expected a time as in "
                                              "2026-03-01T12:00:00Z",
                                              name, printable(text))};
}

Result<LogFilter> log_filter(Invocation& invocation) {
  LogFilter filter;
  const auto since = time_option(invocation, "since");
  if (!since) return since.error();
  const auto until = time_option(invocation, "until");
  if (!until) return until.error();
  filter.since = *since;
  filter.until = *until;
  if (invocation.has("dimm")) filter.dimm = invocation.option<std::string>("dimm");
  if (invocation.has("range")) {
    auto ranges = invocation.ranges(invocation.option<Words>("range"));
    if (!ranges) return ranges.error();
    filter.ranges = *std::move(ranges);
  }
  return filter;
}

Result<ExportRequest> export_request(Invocation& invocation) {
  ExportRequest request;
  auto filter = log_filter(invocation);
  if (!filter) return filter.error();
  request.filter = *std::move(filter);
  request.redact = invocation.has("redact");
  const auto policy = list_policy(invocation);
  if (!policy) return policy.error();
  request.policy.bounds = policy->bounds;
  request.policy.include_injected = policy->checks.include_injected;
  request.tool = fmt::format("poisonctl {}", kVersion);
  if (invocation.has("cert") != invocation.has("cert-key")) {
    return Error{ErrorCode::kUsage, "audit export: --cert and --cert-key are both needed"};
  }
  if (invocation.has("cert")) {
    request.cms = CmsSigner{.certificate_file = invocation.option<std::string>("cert"),
                            .key_file = invocation.option<std::string>("cert-key")};
  }
  return request;
}

constexpr std::string_view kRasdaemon = "rasdaemon";

Result<const ExportFormat*> chosen_format(const Invocation& invocation) {
  const auto& name = invocation.option<std::string>("format");
  const auto formats = export_formats();
  const auto found = std::find_if(formats.begin(), formats.end(),
                                  [&](const ExportFormat& one) { return one.name == name; });
  if (found != formats.end()) return &*found;
  if (name == kRasdaemon) return nullptr;
  std::vector<std::string_view> names;
  for (const ExportFormat& format : formats) names.push_back(format.name);
  return Error{ErrorCode::kUsage, fmt::format("--format '{}': expected {} or {}", printable(name),
                                              fmt::join(names, ", "), kRasdaemon)};
}

// Through a buffer into the file, or on standard output.
Result<FormatSummary> write_format(Output& output, Store& store, const LogSelection& selection,
                                   const ExportFormat& format,
                                   const std::optional<FileInTheMaking>& file) {
  if (!file) {
    return format.write(store, selection, [&](std::string_view text) -> Result<void> {
      output.text(text);
      return {};
    });
  }
  constexpr std::size_t kFull = 1U << 18U;
  std::string buffer;
  auto summary = format.write(store, selection, [&](std::string_view text) -> Result<void> {
    buffer += text;
    if (buffer.size() < kFull) return {};
    auto written = file->write(buffer);
    buffer.clear();
    return written;
  });
  if (!summary) return summary;
  if (auto written = file->write(buffer); !written) return written.error();
  return summary;
}

Result<ExitStatus> export_format(Invocation& invocation) {
  for (const char* option : {"redact", "cert", "cert-key"}) {
    if (!invocation.has(option)) continue;
    return Error{ErrorCode::kUsage, fmt::format("--{} is for a bundle, not for --format", option)};
  }
  const auto format = chosen_format(invocation);
  if (!format) return format.error();
  const bool is_text = *format != nullptr && !(*format)->is_binary;
  if (!is_text && !invocation.has("output")) {
    return Error{ErrorCode::kUsage, "audit export: -o FILE is needed: it is no text"};
  }
  const auto filter = log_filter(invocation);
  if (!filter) return filter.error();
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  const auto selection = LogSelection::prepare(*store, *filter);
  if (!selection) return selection.error();
  std::optional<FileInTheMaking> file;
  if (invocation.has("output")) {
    auto begun = FileInTheMaking::begin(invocation.option<std::string>("output"));
    if (!begun) return begun.error();
    file.emplace(*std::move(begun));
  }
  Output& output = invocation.output();
  const auto summary = *format == nullptr
                           ? export_rasdaemon(*store, *selection, file->temporary_path())
                           : write_format(output, *store, *selection, **format, file);
  if (!summary) return summary.error();
  constexpr mode_t kMode = 0640;
  if (file) {
    if (auto done = file->commit(kMode); !done) return done.error();
  }
  if (summary->left_out != 0) {
    output.note(fmt::format("{} entries are not in it: this form has no words for them",
                            summary->left_out));
  }
  return kExitDone;
}

Result<ExitStatus> export_log(Invocation& invocation) {
  if (invocation.has("format")) return export_format(invocation);
  if (!invocation.has("output")) {
    return Error{ErrorCode::kUsage, "audit export: -o FILE is needed: it is no text"};
  }
  const auto request = export_request(invocation);
  if (!request) return request.error();
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  const std::string& registry = invocation.registry_path();
  const auto key = SigningKey::load(key_path(registry));
  if (!key) return key.error();
  const auto& path = invocation.option<std::string>("output");
  auto file = FileInTheMaking::begin(path);
  if (!file) return file.error();
  const auto summary = export_bundle(*store, registry, *key, *request, *file);
  if (!summary) return summary.error();
  // What it says of a machine is for whom the file is given to.
  constexpr mode_t kMode = 0640;
  if (auto done = file->commit(kMode); !done) return done.error();
  std::string note = fmt::format("{}: {}, {}", path, counted(summary->events, "entry"),
                                 counted(summary->records, "record"));
  if (summary->omitted != 0)
    note += fmt::format("; {} left out", counted(summary->omitted, "entry"));
  if (summary->withheld != 0) note += fmt::format("; {} with texts replaced", summary->withheld);
  invocation.output().note(note);
  return kExitDone;
}

// ---- bundles: looked at

// A public key as openssl writes it, or lines as in trusted-keys.
Result<Words> keys_in(const std::string& file) {
  constexpr std::size_t kLargest = 64U << 10U;
  const auto text = read_named_file(file, kLargest);
  if (!text) return text.error();
  if (const auto key = public_key_from_pem(*text)) return Words{*key};
  return parse_trusted_keys(*text, file);
}

// With neither --key nor --ca, the keys that this host believes.
Result<BundleTrust> bundle_trust(Invocation& invocation) {
  BundleTrust trust;
  if (invocation.has("ca")) {
    constexpr std::size_t kLargest = 1U << 20U;
    auto pem = read_named_file(invocation.option<std::string>("ca"), kLargest);
    if (!pem) return pem.error();
    trust.ca_pem = *std::move(pem);
  }
  if (invocation.has("key")) {
    for (const std::string& file : invocation.option<Words>("key")) {
      const auto keys = keys_in(file);
      if (!keys) return keys.error();
      trust.keys.insert(trust.keys.end(), keys->begin(), keys->end());
    }
  }
  if (invocation.has("ca") || invocation.has("key")) return trust;
  const auto trusted = trusted_keys(invocation);
  if (!trusted) return trusted.error();
  trust.keys = *trusted;
  return trust;
}

Result<BundleReport> look_at_bundle(Invocation& invocation, const std::string& file) {
  const auto trust = bundle_trust(invocation);
  if (!trust) return trust.error();
  const auto stream = open_file_stream(file);
  if (!stream) return stream.error();
  return check_bundle(**stream, *trust);
}

Json bundle_json(const BundleReport& report) {
  const BundleInfo& info = report.info;
  return {{"schema", "poisonctl/bundle-check-v1"},
          {"tool", info.tool},
          {"time", info.time ? Json(to_rfc3339(*info.time)) : Json(nullptr)},
          {"head", {{"id", info.head.id}, {"hash", to_hex_text(as_bytes(info.head.hash))}}},
          {"public_key", to_hex_text(info.public_key)},
          {"certificate", report.cms_subject.empty() ? Json(nullptr) : Json(report.cms_subject)},
          {"redacted", info.redacted},
          {"filtered", !info.filter.takes_all()},
          {"imports", report.imports},
          {"events", report.events},
          {"withheld", report.withheld},
          {"omitted", report.omitted},
          {"records", report.records},
          {"findings", report.findings},
          {"notes", report.notes}};
}

Result<ExitStatus> verify_bundle(Invocation& invocation, const std::string& file) {
  const auto report = look_at_bundle(invocation, file);
  if (!report) return report.error();
  Output& output = invocation.output();
  if (output.json()) {
    output.object(bundle_json(*report));
    return report->findings.empty() ? kExitDone : kExitFindings;
  }
  for (const std::string& finding : report->findings) output.line("error: " + finding);
  for (const std::string& note : report->notes) output.line("note: " + note);
  if (!report->findings.empty()) return kExitFindings;
  const BundleInfo& info = report->info;
  output.line(fmt::format("{} of {}, {}, as they were signed with {}",
                          counted(report->events, "entry"), info.head.id,
                          counted(report->records, "record"),
                          report->cms_subject.empty() ? "the key " + to_hex_text(info.public_key)
                                                      : report->cms_subject));
  if (report->omitted != 0) {
    output.line(fmt::format("left out by a filter: {}", counted(report->omitted, "entry")));
  }
  if (report->withheld != 0) {
    output.line(fmt::format(
        "{} entries have texts replaced: their content is as signed, not checked by its hash",
        report->withheld));
  }
  output.line(fmt::format("head of the log: entry {}, {}", info.head.id,
                          to_hex_text(as_bytes(info.head.hash))));
  return kExitDone;
}

Result<ExitStatus> import_bundle(Invocation& invocation, const std::string& file) {
  const auto report = look_at_bundle(invocation, file);
  if (!report) return report.error();
  const std::string& path = invocation.registry_path();
  const auto entries = restore_bundle(file, *report, path);
  if (!entries) return entries.error();
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  if (auto pinned = pin_head(*store, path, report->info.time.value_or(Time())); !pinned) {
    return pinned.error();
  }
  invocation.output().note(
      fmt::format("{}: {} entries, each with the hash that it had", path, *entries));
  return kExitDone;
}

Result<ExitStatus> print_key(Invocation& invocation) {
  const auto key = SigningKey::load(key_path(invocation.registry_path()));
  if (!key) return key.error();
  invocation.output().text(public_key_pem(key->public_key()));
  return kExitDone;
}

Result<ExitStatus> run(Invocation& invocation) {
  const auto words = invocation.arguments();
  const bool alone = words.size() == 1;
  if (words[0] == "verify") {
    return alone ? verify_log(invocation) : verify_bundle(invocation, words[1]);
  }
  if (words[0] == "export" && alone) return export_log(invocation);
  if (words[0] == "import" && !alone) return import_bundle(invocation, words[1]);
  if (words[0] == "key" && alone) return print_key(invocation);
  return Error{ErrorCode::kUsage,
               fmt::format("audit '{}': expected verify, verify FILE, export -o FILE, import FILE, "
                           "or key",
                           printable(words[0]))};
}

}  // namespace

const Verb kAuditVerb = {
    .name = "audit",
    .arguments = "verify [FILE]|export|import FILE|key",
    .summary =
        "Prove that nobody changed the log; hand it out signed, and check what was handed out",
    .least_arguments = 1,
    .most_arguments = 2,
    .has_json = true,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
