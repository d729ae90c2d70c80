// poisonctl record: an operator says that a range is bad.
#include <fmt/format.h>

#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

void add_options(po::options_description& options) {
  options.add_options()(
      "kind", po::value<std::string>()->default_value("ue")->value_name("ue|ce"),
      "ue: data was lost, the range must be retired; ce: corrected errors, watch it")(
      "source", po::value<std::string>()->default_value("operator")->value_name("NAME"),
      "who says so: a-z, 0-9, '.', '_', '-'")(
      "note", po::value<std::string>()->default_value("")->value_name("TEXT"),
      "kept with the event as its evidence");
}

Result<EventKind> kind_of(const std::string& word) {
  if (word == "ue") return EventKind::kUncorrected;
  if (word == "ce") return EventKind::kCorrected;
  return Error{ErrorCode::kUsage,
               fmt::format("--kind '{}': expected ue (data was lost) or ce (corrected errors)",
                           printable(word))};
}

Result<ExitStatus> run(Invocation& invocation) {
  const auto kind = kind_of(invocation.option<std::string>("kind"));
  if (!kind) return kind.error();
  const auto& source = invocation.option<std::string>("source");
  if (!is_source_name(source)) {
    return Error{ErrorCode::kUsage,
                 fmt::format("--source '{}': expected 1 to 32 of a-z, 0-9, '.', '_', '-'",
                             printable(source))};
  }
  const auto& note = invocation.option<std::string>("note");
  if (note.size() > Event::kEvidenceLimit) {
    return Error{ErrorCode::kUsage,
                 fmt::format("--note: {}; at most {} are kept", counted(note.size(), "byte"),
                             Event::kEvidenceLimit)};
  }
  const auto ranges = invocation.ranges(invocation.arguments());
  if (!ranges) return ranges.error();
  const auto provenance = invocation.provenance(source);
  if (!provenance) return provenance.error();

  std::vector<Event> events;
  for (const ByteRange& range : *ranges) {
    Event event;
    event.kind = *kind;
    event.range = range;
    event.evidence = note;
    events.push_back(std::move(event));
  }
  const auto summary = store_events(invocation, Store::Mode::kCreate, *provenance, events);
  if (!summary) return summary.error();
  invocation.output().note(fmt::format("{} recorded in {}, {} new", summary->added,
                                       invocation.registry_path(), summary->new_records));
  return kExitDone;
}

}  // namespace

const Verb kRecordVerb = {
    .name = "record",
    .arguments = "RANGE...",
    .summary = "Record that ranges of memory are bad",
    .least_arguments = 1,
    .most_arguments = 1U << 20U,
    .has_json = false,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
