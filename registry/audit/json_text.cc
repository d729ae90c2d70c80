#include "registry/audit/json_text.h"

#include "registry/chain.h"
#include "registry/text.h"

namespace poisonctl {

std::string to_line(const OrderedJson& json) {
  return json.dump(-1, ' ', true, OrderedJson::error_handler_t::replace);
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
