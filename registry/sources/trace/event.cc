#include "registry/sources/trace/event.h"

#include <fmt/format.h>

#include <algorithm>

#include "registry/chain.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// Of one text or array of bytes: a whole event stays below Event::kEvidenceLimit.
constexpr std::size_t kShownText = 240;
constexpr std::size_t kShownBytes = 128;

const TraceField* find(const std::vector<TraceField>& fields, std::string_view name) {
  const auto found = std::find_if(fields.begin(), fields.end(),
                                  [&](const TraceField& field) { return field.name == name; });
  return found == fields.end() ? nullptr : &*found;
}

std::string hex_of(std::string_view bytes) {
  const std::string hex = to_hex_text(bytes.substr(0, kShownBytes));
  return bytes.size() > kShownBytes ? hex + "..." : hex;
}

std::string shown(const TraceField& field) {
  if (field.is_bytes) return hex_of(field.text);
  std::string text =
      field.text.empty() && field.number ? "" : '"' + printable(field.text, kShownText) + '"';
  if (!field.number) return text;
  return text.empty() ? to_hex(*field.number) : fmt::format("{}({})", text, *field.number);
}

}  // namespace

std::optional<std::uint64_t> TraceEvent::number(std::string_view field) const {
  const TraceField* const found = find(fields, field);
  return found == nullptr ? std::nullopt : found->number;
}

std::string_view TraceEvent::text(std::string_view field) const {
  const TraceField* const found = find(fields, field);
  return found == nullptr ? std::string_view() : std::string_view(found->text);
}

std::string TraceEvent::evidence() const {
  std::string line = fmt::format("{} on CPU {}:", name, cpu);
  for (const TraceField& field : fields) {
    if (line.size() + 2 * kShownText + kShownBytes > Event::kEvidenceLimit) return line + " ...";
    line += fmt::format(" {}={}", field.name, shown(field));
  }
  return line;
}

}  // namespace poisonctl
