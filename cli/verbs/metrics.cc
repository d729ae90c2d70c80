// poisonctl metrics: what to watch, for Prometheus through node_exporter's textfile collector.
#include "cli/report/metrics.h"

#include <fcntl.h>

#include "cli/report/gather.h"
#include "cli/verb.h"
#include "registry/posix_file.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

void add_options(po::options_description& options) {
  options.add_options()("output,o", po::value<std::string>()->value_name("FILE"),
                        "replace FILE at once, so that nobody reads half of it");
}

Result<ExitStatus> run(Invocation& invocation) {
  const auto model = gather_report(invocation, ReportDepth::kRecords, WithoutRegistry::kIsEmpty);
  if (!model) return model.error();
  const std::string text = metrics_text(*model);
  if (!invocation.has("output")) {
    invocation.output().text(text);
    return kExitDone;
  }
  constexpr mode_t kMode = 0644;  // node_exporter is another user, and no address is in it
  const auto& file = invocation.option<std::string>("output");
  if (auto written = replace_file_at(AT_FDCWD, file, text, kMode, file); !written) {
    return written.error();
  }
  return kExitDone;
}

}  // namespace

const Verb kMetricsVerb = {
    .name = "metrics",
    .arguments = "",
    .summary = "Write metrics for Prometheus (OpenMetrics text)",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = false,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
