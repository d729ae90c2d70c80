#include "registry/audit/json_text.h"

#include <array>
#include <cstddef>

#include "registry/chain.h"
#include "registry/text.h"

namespace poisonctl {

std::string to_line(const OrderedJson& json) {
  return json.dump(-1, ' ', true, OrderedJson::error_handler_t::replace);
}

OrderedJson parse_line(std::string_view text) {
  // Of the lines of log_lines.cc none has half as many keys; bundle.cc has four levels.
  constexpr int kDeepest = 4;
  constexpr std::size_t kMostKeys = 64;
  std::array<std::size_t, kDeepest + 2> keys{};
  const auto keep = [&](int depth, OrderedJson::parse_event_t what, OrderedJson&) {
    using What = OrderedJson::parse_event_t;
    if (depth > kDeepest) return false;
    const auto at = static_cast<std::size_t>(depth);
    if (what == What::object_start) keys.at(at + 1) = 0;
    return what != What::key || ++keys.at(at) <= kMostKeys;
  };
  return OrderedJson::parse(text, keep, false);
}

OrderedJson exact_text(std::string_view text) {
  if (is_utf8(text)) return text;
  return {{"hex", to_hex_text(text)}};
}

std::string exact_text_in(const OrderedJson& json) {
  if (json.is_string()) return json.get_ref<const std::string&>();
  if (!json.is_object() || !json.contains("hex") || !json.at("hex").is_string()) return {};
  return bytes_from_hex(json.at("hex").get_ref<const std::string&>()).value_or("");
}

}  // namespace poisonctl
