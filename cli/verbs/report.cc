// poisonctl report: all that is known, as one signed page for people.
#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>

#include "cli/report/gather.h"
#include "cli/report/page.h"
#include "cli/report/seal.h"
#include "cli/steps.h"
#include "cli/trusting.h"
#include "cli/verb.h"
#include "registry/checkpoint.h"
#include "registry/posix_file.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

void add_options(po::options_description& options) {
  options.add_options()("output,o", po::value<std::string>()->value_name("FILE"),
                        "write to FILE, all of it or nothing")(
      "check", po::value<std::string>()->value_name("FILE"),
      "read a report, and say whether it is as it was signed, and by whom");
}

Result<std::string> complete(Invocation& invocation, const ReportModel& model) {
  std::string page = render_page(model);
  const auto key = SigningKey::load(key_path(invocation.registry_path()));
  if (key) return sealed_page(std::move(page), model.head, model.made, *key);
  invocation.output().warning("the report is not signed: " + key.error().message);
  return unsealed_page(std::move(page), key.error().message);
}

Result<ExitStatus> make(Invocation& invocation) {
  const auto model = gather_report(invocation, ReportDepth::kAll, WithoutRegistry::kIsAnError);
  if (!model) return model.error();
  const auto page = complete(invocation, *model);
  if (!page) return page.error();
  if (!invocation.has("output")) {
    invocation.output().text(*page);
    return kExitDone;
  }
  constexpr mode_t kMode = 0640;  // addresses of memory are for administrators
  const auto& file = invocation.option<std::string>("output");
  if (auto written = replace_file_at(AT_FDCWD, file, *page, kMode, file); !written) {
    return written.error();
  }
  return kExitDone;
}

// What the log of this host says about the entry that the report names.
Result<std::string> compare_log(Invocation& invocation, const Seal& seal) {
  auto store = invocation.open_store(Store::Mode::kRead);
  if (!store) return store.error();
  if (seal.head.id == 0) return std::string();
  const auto hash = store->hash_of(seal.head.id);
  if (!hash) return hash.error();
  if (!*hash) return fmt::format("the log of this registry has no entry {}", seal.head.id);
  if (**hash != seal.head.hash) {
    return fmt::format("entry {} of this registry is not the one that the report is about",
                       seal.head.id);
  }
  return std::string();
}

Result<ExitStatus> check(Invocation& invocation) {
  constexpr std::size_t kMostBytes = 64U << 20U;
  const auto& file = invocation.option<std::string>("check");
  const auto page = read_named_file(file, kMostBytes);
  if (!page) return page.error();
  const auto seal = check_seal(*page, printable(file));
  if (!seal) return seal.error();
  Output& output = invocation.output();
  output.line(fmt::format("as it was signed {}, about {} entries of the log, by key {}",
                          to_rfc3339(seal->time), seal->head.id, to_hex_text(seal->public_key)));
  const auto own = SigningKey::load(key_path(invocation.registry_path()));
  if (own && own->public_key() == seal->public_key) {
    const auto differs = compare_log(invocation, *seal);
    if (!differs) return differs.error();
    output.line(differs->empty() ? "the key and the log are those of this registry"
                                 : "error: " + *differs);
    return differs->empty() ? kExitDone : kExitFindings;
  }
  const auto keys = trusted_keys(invocation);
  if (!keys) return keys.error();
  if (std::find(keys->begin(), keys->end(), seal->public_key) != keys->end()) {
    output.line("this host trusts the key");
    return kExitDone;
  }
  output.line(
      "this host does not know the key: compare it with 'poisonctl handover key' on the host "
      "that made the report");
  return kExitFindings;
}

Result<ExitStatus> run(Invocation& invocation) {
  if (!invocation.has("check")) return make(invocation);
  if (invocation.has("output")) {
    return Error{ErrorCode::kUsage, "--check reads a report and writes none: leave out --output"};
  }
  return check(invocation);
}

}  // namespace

const Verb kReportVerb = {
    .name = "report",
    .arguments = "",
    .summary = "Write all that is known as one signed page (HTML) for people",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = false,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
