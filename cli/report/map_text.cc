#include "cli/report/map_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/report/markup.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

struct Look {
  std::string_view ascii;
  std::string_view unicode;  // one column wide in every font
  Tint tint;
};

// Told apart without colour.
constexpr std::array<Look, kStandings> kLooks = {{
    {"X", "\u2716", Tint::kBad},   // in use
    {"?", "?", Tint::kWarn},       // not looked at
    {"q", "\u25c7", Tint::kWarn},  // quarantined
    {"s", "\u25b3", Tint::kWarn},  // suspect
    {"#", "\u25a0", Tint::kGood},  // out of use
    {"o", "\u25a1", Tint::kNone},  // resolved
}};

Cell glyph_of(const Look& look, Glyphs glyphs) {
  return {.text = std::string(glyphs == Glyphs::kAscii ? look.ascii : look.unicode),
          .tint = look.tint};
}

Cell glyph_of(MapTile::Ground ground, Glyphs glyphs) {
  switch (ground) {
    case MapTile::Ground::kHole:
      return {.text = " "};
    case MapTile::Ground::kMemory:
      return {.text = glyphs == Glyphs::kAscii ? "." : "\u00b7"};
    case MapTile::Ground::kOffline:
      return {.text = glyphs == Glyphs::kAscii ? "-" : "\u2500"};
  }
  return {};
}

Cell glyph_of(const MapTile& tile, Glyphs glyphs) {
  const auto worst = tile.worst();
  return worst ? glyph_of(kLooks.at(static_cast<std::size_t>(*worst)), glyphs)
               : glyph_of(tile.ground, glyphs);
}

void add_rows(std::vector<std::vector<Cell>>& lines, const AddressMap& map, Glyphs glyphs) {
  std::size_t width = 0;
  for (const MapRow& row : map.rows()) {
    width = std::max(width, to_hex(row.begin.value()).size());
  }
  const MapRow* before = nullptr;
  for (const MapRow& row : map.rows()) {
    if (row.node && (before == nullptr || before->node != row.node)) {
      lines.push_back({{.text = fmt::format("node {}", *row.node)}});
    }
    std::vector<Cell> line = {{.text = fmt::format("{:>{}} ", to_hex(row.begin.value()), width)}};
    for (const MapTile& tile : row.tiles) line.push_back(glyph_of(tile, glyphs));
    lines.push_back(std::move(line));
    before = &row;
  }
}

}  // namespace

std::vector<std::vector<Cell>> map_lines(const ReportModel& model, Glyphs glyphs) {
  const AddressMap& map = model.map;
  std::vector<std::vector<Cell>> lines = {
      {{.text = fmt::format("{} a character, {} a line; the worst of what is there",
                            to_human_size(map.tile_bytes()),
                            to_human_size(map.tile_bytes() * kTilesInRow))}},
      {}};
  add_rows(lines, map, glyphs);
  lines.emplace_back();
  for (std::size_t i = 0; i < kStandings; ++i) {
    const Tally& tally = model.tallies.at(i);
    const std::uint64_t frames = tally.bytes / model.machine.page_shift.page_size();
    lines.push_back(
        {glyph_of(kLooks.at(i), glyphs),
         {.text = fmt::format("  {:22}{:>12} {:6} in {}", to_word(static_cast<Standing>(i)),
                              grouped(frames), frames == 1 ? "frame" : "frames",
                              grouped_count(tally.records, "record"))}});
  }
  lines.push_back(
      {glyph_of(MapTile::Ground::kMemory, glyphs),
       {.text = fmt::format("  {:22}{:>12} in use", "memory", to_human_size(model.ram))}});
  lines.push_back(
      {glyph_of(MapTile::Ground::kOffline, glyphs),
       {.text = fmt::format("  {:22}{:>12} of {}", "offline block", grouped(model.blocks_offline),
                            grouped_count(model.blocks, "block"))}});
  for (const HugePageFacts& huge : model.huge_pages) {
    lines.push_back({{.text = fmt::format("{} of {} with a faulty frame",
                                          grouped_count(huge.touched, "huge page"),
                                          to_human_size(huge.size))}});
  }
  if (map.outside() != 0) {
    lines.push_back({{.text = fmt::format("{} where this machine has no memory",
                                          grouped_count(map.outside(), "record"))}});
  }
  return lines;
}

}  // namespace poisonctl
