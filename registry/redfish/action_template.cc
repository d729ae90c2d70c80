#include "registry/redfish/action_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "registry/redfish/address.h"
#include "registry/sources/json_stream.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using nlohmann::json;

constexpr std::array<std::string_view, 5> kNames = {"address", "address_hex", "size", "dimm",
                                                    "key"};
constexpr std::size_t kMostBody = 4096;

// Calls `value_of` for each ${NAME} and puts what it gives in its place. Nothing when that gives
// nothing, or the } is missing.
template <typename ValueOf>
std::optional<std::string> replaced(std::string_view text, const ValueOf& value_of) {
  std::string result;
  while (true) {
    const std::size_t begin = text.find("${");
    result += text.substr(0, begin);
    if (begin == std::string_view::npos) return result;
    const std::size_t end = text.find('}', begin);
    if (end == std::string_view::npos) return std::nullopt;
    const std::optional<std::string> value = value_of(text.substr(begin + 2, end - begin - 2));
    if (!value) return std::nullopt;
    result += *value;
    text.remove_prefix(end + 1);
  }
}

std::optional<std::string> value_named(std::string_view name, const ActionValues& values) {
  if (name == "address") return std::to_string(values.block.begin().value());
  if (name == "address_hex") return to_hex(values.block.begin().value());
  if (name == "size") return std::to_string(values.block.size());
  if (name == "key") return values.key;
  if (name == "dimm" && !values.dimm.empty()) return values.dimm;
  return std::nullopt;
}

bool names_are_known(std::string_view text) {
  return replaced(text,
                  [](std::string_view name) {
                    const bool known =
                        std::find(kNames.begin(), kNames.end(), name) != kNames.end();
                    return known ? std::optional<std::string>("1") : std::nullopt;
                  })
      .has_value();
}

// RFC 3986, 2.1: all but the unreserved characters.
std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kPlain =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  std::string result;
  for (const char letter : text) {
    if (kPlain.find(letter) != std::string_view::npos) {
      result += letter;
    } else {
      result += fmt::format("%{:02X}", static_cast<unsigned char>(letter));
    }
  }
  return result;
}

// Texts as a JSON tree has them, so that no value can end a text and begin something else.
bool fill_texts(json& node, const ActionValues& values) {
  if (node.is_structured()) {
    return std::all_of(node.begin(), node.end(),
                       [&](json& element) { return fill_texts(element, values); });
  }
  if (!node.is_string()) return true;
  const auto& text = node.get_ref<const std::string&>();
  if (text == "${address}") {
    node = values.block.begin().value();
  } else if (text == "${size}") {
    node = values.block.size();
  } else {
    auto filled = replaced(text, [&](std::string_view name) { return value_named(name, values); });
    if (!filled) return false;
    node = *std::move(filled);
  }
  return true;
}

bool all_texts(const json& node, bool (*holds)(std::string_view)) {
  if (node.is_structured()) {
    return std::all_of(node.begin(), node.end(),
                       [&](const json& element) { return all_texts(element, holds); });
  }
  return !node.is_string() || holds(node.get_ref<const std::string&>());
}

Error unknown_name() {
  return {ErrorCode::kBadData, fmt::format("expected no ${{}} but of {}", fmt::join(kNames, ", "))};
}

}  // namespace

Result<void> parse_action(std::string_view text, ActionTemplate& action) {
  const auto words = split_words(text);
  if (words.size() != 2 || (words[0] != "POST" && words[0] != "PATCH")) {
    return Error{ErrorCode::kBadData,
                 fmt::format("expected POST or PATCH and a path, found '{}'", printable(text))};
  }
  if (!names_are_known(words[1])) return unknown_name();
  const std::string sample = *replaced(
      words[1], [](std::string_view) -> std::optional<std::string> { return std::string("1"); });
  if (sample.front() != '/') {
    return Error{ErrorCode::kBadData, fmt::format("expected a path that begins with /, found '{}'",
                                                  printable(words[1]))};
  }
  if (auto path = path_of_link(ServiceAddress{"bmc"}, sample); !path) {
    return Error{ErrorCode::kBadData,
                 fmt::format("expected a path of the service, found '{}'", printable(words[1]))};
  }
  action.method = words[0];
  action.uri = words[1];
  return {};
}

Result<void> parse_action_body(std::string_view text, ActionTemplate& action) {
  TextStream stream(text, "the body");
  const auto document = read_json(stream, kMostBody);
  if (!document || !document->is_object()) {
    return Error{ErrorCode::kBadData,
                 fmt::format("expected a JSON object of at most {} bytes, on one line; a # is "
                             "written \\u0023{}",
                             kMostBody, document ? "" : ": " + document.error().message)};
  }
  if (!all_texts(*document, names_are_known)) return unknown_name();
  action.body = text;
  return {};
}

std::optional<FilledAction> fill(const ActionTemplate& action, const ActionValues& values) {
  const auto path = replaced(action.uri, [&](std::string_view name) {
    auto value = value_named(name, values);
    return value ? std::optional(percent_encoded(*value)) : value;
  });
  if (!path) return std::nullopt;
  json body = json::parse(action.body.empty() ? "{}" : action.body, nullptr, false);
  if (body.is_discarded() || !fill_texts(body, values)) return std::nullopt;
  return FilledAction{action.method, *path,
                      body.dump(-1, ' ', true, json::error_handler_t::replace)};
}

}  // namespace poisonctl
