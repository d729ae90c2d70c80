// How the JSON of bundles and exports is written: on one line, in ASCII.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace poisonctl {

using OrderedJson = nlohmann::ordered_json;

// Everything past ASCII as \uXXXX: nothing in it can move a cursor or turn the order of what is
// shown around.
std::string to_line(const OrderedJson& json);

// One that was written so. What goes deeper, or has more keys in one object, than anything of ours
// is left out, so that it is not the same when it is written again: to copy what is deep takes a
// stack that is as deep, and an ordered object looks for each key among all before it. Discarded
// for what is no JSON.
OrderedJson parse_line(std::string_view text);

// A text as JSON has it; {"hex": "..."} for bytes that are no UTF-8 and yet part of a hash.
OrderedJson exact_text(std::string_view text);
// And back; empty for what is neither.
std::string exact_text_in(const OrderedJson& json);

}  // namespace poisonctl
