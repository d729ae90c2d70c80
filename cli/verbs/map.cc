// poisonctl map: where in the physical address space the records lie, on a terminal.
#include "cli/report/gather.h"
#include "cli/report/map_text.h"
#include "cli/verb.h"

namespace poisonctl {
namespace {

void add_options(boost::program_options::options_description& options) {
  options.add_options()("ascii", "draw with ASCII even on a terminal that shows UTF-8");
}

Result<ExitStatus> run(Invocation& invocation) {
  const auto model = gather_report(invocation, ReportDepth::kRecords, WithoutRegistry::kIsAnError);
  if (!model) return model.error();
  Output& output = invocation.output();
  const bool unicode = output.shows_unicode() && !invocation.has("ascii");
  for (const auto& line : map_lines(*model, unicode ? Glyphs::kUnicode : Glyphs::kAscii)) {
    output.line(line);
  }
  return kExitDone;
}

}  // namespace

const Verb kMapVerb = {
    .name = "map",
    .arguments = "",
    .summary = "Draw where in physical memory the records lie",
    .least_arguments = 0,
    .most_arguments = 0,
    .has_json = false,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
