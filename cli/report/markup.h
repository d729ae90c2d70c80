// Text from firmware, files and people, as it may stand in HTML and SVG.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace poisonctl {

// The one way that text gets into a page, between tags and in quoted attributes: what printable()
// makes of it (no control characters, nothing that reorders, cut past `limit` bytes with "..."),
// with
// &, <, >, " and ' as character references.
std::string html_text(std::string_view text, std::size_t limit = 200);

// "1,234,567".
std::string grouped(std::uint64_t number);

// "1 frame", "1,234 frames".
std::string grouped_count(std::uint64_t number, std::string_view what);

}  // namespace poisonctl
