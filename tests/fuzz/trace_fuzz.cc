// events_of and Correlator: trace events with any fields, one a block of lines.
//   NAME              the name of the trace event
//   FIELD=DIGITS      a number in hexadecimal
//   FIELD:TEXT        text; after a number of the same field, the kernel's word for it
//   FIELD#TEXT        bytes
// and an empty line.
#include "registry/sources/trace/correlate.h"
#include "registry/sources/trace/decode.h"
#include "registry/text.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

namespace {

void add_field(TraceEvent& trace, std::string_view line) {
  const std::size_t at = line.find_first_of("=:#");
  if (at == std::string_view::npos) return;
  const std::string_view value = line.substr(at + 1);
  TraceField field{.name = printable(line.substr(0, at)), .number = {}, .text = {}};
  if (line.at(at) == '=') {
    field.number = parse_unsigned(value, 16);
  } else {
    field.text = value;
    field.is_bytes = line.at(at) == '#';
  }
  const bool is_word = line.at(at) == ':' && !trace.fields.empty() &&
                       trace.fields.back().name == field.name && trace.fields.back().number;
  if (is_word) {
    trace.fields.back().text = value;
  } else {
    trace.fields.push_back(std::move(field));
  }
}

void check(const TraceEvent& trace, Correlator& correlator, std::uint64_t page_size) {
  for (Event& event : events_of(trace, fuzz_settings(page_size))) {
    fuzz_check_event(event, FuzzTexts::kPrintable);
    correlator.tie(trace.name, event);
    fuzz_check_event(event, FuzzTexts::kPrintable);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Correlator correlator;
  TraceEvent trace;
  for (const std::string_view line : split_lines(as_text(data, size))) {
    if (!line.empty() && trace.name.empty()) {
      trace.name = printable(line);
      continue;
    }
    if (!line.empty()) {
      add_field(trace, line);
      continue;
    }
    check(trace, correlator, 4096);
    check(trace, correlator, 65536);
    trace = {};
  }
  return 0;
}
