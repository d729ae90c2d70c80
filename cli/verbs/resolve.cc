// poisonctl resolve: ends records, with a reason.
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
      "as", po::value<std::string>()->value_name("repaired|replaced|cleared|acquitted"),
      "repaired: the cell works again; replaced: other hardware is there; cleared: the poison was "
      "overwritten and the place tested good; acquitted: it was never bad")(
      "reason", po::value<std::string>()->value_name("TEXT"), "why, for whoever reads this later");
}

// The records that lie in `wanted`. One that reaches out of it is an error: half a record cannot be
// resolved.
Result<std::vector<ByteRange>> records_within(Store& store, const ByteRange& wanted) {
  std::vector<ByteRange> inside;
  std::optional<ByteRange> crossing;
  auto read = store.for_each_record_about(wanted, [&](const Record& record) {
    if (record.condition == Condition::kResolved) return true;
    if (wanted.contains(record.range)) {
      inside.push_back(record.range);
    } else {
      crossing = record.range;
    }
    return true;
  });
  if (!read) return read.error();
  if (crossing) {
    return Error{
        ErrorCode::kUsage,
        fmt::format("{}: the record {} reaches out of it; name a range that holds all of the "
                    "record. Nothing was resolved",
                    to_text(wanted), to_text(*crossing))};
  }
  if (inside.empty()) {
    return Error{ErrorCode::kNoInput,
                 fmt::format("{}: has no suspect or faulty record", to_text(wanted))};
  }
  return inside;
}

Result<ExitStatus> run(Invocation& invocation) {
  if (!invocation.has("as") || !invocation.has("reason")) {
    return Error{
        ErrorCode::kUsage,
        "resolve: --as repaired|replaced|cleared|acquitted and --reason TEXT are both needed"};
  }
  const auto& word = invocation.option<std::string>("as");
  const auto resolution = resolution_from(word);
  if (!resolution) {
    return Error{ErrorCode::kUsage,
                 fmt::format("--as '{}': expected repaired, replaced, cleared or acquitted",
                             printable(word))};
  }
  const auto& reason = invocation.option<std::string>("reason");
  if (trim(reason).empty() || reason.size() > Event::kEvidenceLimit) {
    return Error{ErrorCode::kUsage,
                 fmt::format("--reason: expected 1 to {} bytes of text", Event::kEvidenceLimit)};
  }
  const auto wanted = invocation.ranges(invocation.arguments());
  if (!wanted) return wanted.error();
  const auto provenance = invocation.provenance("operator");
  if (!provenance) return provenance.error();

  std::vector<Event> events;
  std::int64_t read_up_to = 0;
  {
    auto store = invocation.open_store(Store::Mode::kRead);
    if (!store) return store.error();
    const auto head = store->head();
    if (!head) return head.error();
    read_up_to = head->id;
    for (const ByteRange& range : *wanted) {
      const auto records = records_within(*store, range);
      if (!records) return records.error();
      for (const ByteRange& record : *records) {
        Event event;
        event.kind = EventKind::kResolution;
        event.range = record;
        event.resolution = *resolution;
        event.evidence = reason;
        events.push_back(std::move(event));
      }
    }
  }
  const auto summary = store_resolutions(invocation, *provenance, events, read_up_to);
  if (!summary) return summary.error();
  invocation.output().note(fmt::format(
      "{} resolved as {}; the next kernel may use the memory again", summary->added, word));
  return kExitDone;
}

}  // namespace

const Verb kResolveVerb = {
    .name = "resolve",
    .arguments = "RANGE...",
    .summary = "End records: repaired, replaced, cleared or acquitted",
    .least_arguments = 1,
    .most_arguments = 1U << 20U,
    .has_json = false,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
