#include "cli/report/drawings.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "cli/report/markup.h"
#include "registry/range_text.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

template <typename... Args>
void append(std::string& text, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(text), format, std::forward<Args>(args)...);
}

// ---- the map

constexpr int kTile = 13;  // with the gap to the next one
constexpr int kMark = 12;
constexpr int kLabels = 128;
constexpr int kMapWidth = kLabels + static_cast<int>(kTilesInRow) * kTile;

// What is drawn over the colour of each standing.
constexpr std::array<std::string_view, kStandings> kShapes = {
    "<path class=\"over\" d=\"M3 3l6 6M9 3l-6 6\"/>",                        // a cross
    "<path class=\"over\" d=\"M6 2.6v4.2M6 8.8v.8\"/>",                      // an exclamation mark
    "<path class=\"over\" d=\"M1 11L11 1M1 6L6 1M6 11L11 6\"/>",             // hatching
    "<circle class=\"dot\" cx=\"6\" cy=\"6\" r=\"2\"/>",                     // a dot
    "<path class=\"over\" d=\"M2.8 6.2l2.2 2.4 4.2-5\"/>",                   // a tick
    "<rect class=\"inner\" x=\"2.5\" y=\"2.5\" width=\"7\" height=\"7\"/>",  // a frame
};

std::string contents(const MapTile& tile) {
  std::string text;
  for (std::size_t i = 0; i < kStandings; ++i) {
    if (tile.records.at(i) == 0) continue;
    append(text, "{}{} {}", text.empty() ? "" : ", ", grouped(tile.records.at(i)),
           to_word(static_cast<Standing>(i)));
  }
  return text;
}

std::string_view class_of(MapTile::Ground ground) {
  return ground == MapTile::Ground::kOffline ? "offline" : "memory";
}

// Neighbours that have nothing in them are one rectangle.
void draw_row(std::string& svg, const AddressMap& map, const MapRow& row, int y) {
  append(svg, "<text class=\"address\" x=\"{}\" y=\"{}\">{}</text>\n", kLabels - 8, y + kMark - 2,
         to_hex(row.begin.value()));
  for (std::size_t i = 0; i < kTilesInRow;) {
    const MapTile& tile = row.tiles.at(i);
    const int x = kLabels + static_cast<int>(i) * kTile;
    if (const auto worst = tile.worst()) {
      append(svg, "<use href=\"#mark{}\" x=\"{}\" y=\"{}\"><title>{}: {}</title></use>\n",
             static_cast<int>(*worst), x, y, to_text(map.range_of(row, i)), contents(tile));
      ++i;
      continue;
    }
    std::size_t end = i;
    while (end < kTilesInRow && row.tiles.at(end).ground == tile.ground &&
           !row.tiles.at(end).worst()) {
      ++end;
    }
    if (tile.ground != MapTile::Ground::kHole) {
      append(svg, "<rect class=\"{}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>\n",
             class_of(tile.ground), x, y, static_cast<int>(end - i) * kTile - 1, kMark);
    }
    i = end;
  }
}

// ---- places in a device

struct Axis {
  std::uint32_t least = 0;
  std::uint32_t most = 0;
  double from = 0;
  double to = 0;
  // The middle of the axis when all is at one place.
  [[nodiscard]] double at(std::uint32_t value) const {
    if (most == least) return (from + to) / 2;
    return from + (to - from) * (value - least) / (most - least);
  }
};

void widen(Axis& axis, std::uint32_t value) {
  axis.least = std::min(axis.least, value);
  axis.most = std::max(axis.most, value);
}

// The banks that are drawn, from left to right.
std::vector<std::size_t> drawn_banks(const FaultCells& cells) {
  std::vector<std::size_t> places(cells.banks().size());
  for (const auto& [place, count] : cells.places()) ++places[place.bank];
  std::vector<std::size_t> banks;
  for (std::size_t i = 0; i < places.size(); ++i) banks.push_back(i);
  std::stable_sort(banks.begin(), banks.end(),
                   [&](std::size_t a, std::size_t b) { return places[a] > places[b]; });
  banks.resize(std::min(banks.size(), kMostDrawnBanks));
  std::sort(banks.begin(), banks.end(),
            [&](std::size_t a, std::size_t b) { return cells.banks()[a] < cells.banks()[b]; });
  return banks;
}

// "r1 g0 b3": for a caption with no room.
std::string short_name(const BankName& bank) {
  std::string text;
  if (bank.rank) append(text, "r{} ", *bank.rank);
  if (bank.bank_group) append(text, "g{} ", *bank.bank_group);
  append(text, "b{}", bank.bank.value_or(0));
  return text;
}

// ---- the time line

constexpr int kLaneHeight = 56;
constexpr int kLaneGap = 16;
constexpr int kLineLeft = 128;
constexpr int kLineWidth = 960;

constexpr std::array<std::string_view, kLanes> kLaneNames = {"data lost", "corrected",
                                                             "retired, resolved"};

struct Window {
  std::int64_t first = 0;
  std::int64_t steps = 0;
  [[nodiscard]] double x(std::int64_t number) const {
    return kLineLeft + static_cast<double>(kLineWidth - kLineLeft) *
                           static_cast<double>(number - first) / static_cast<double>(steps);
  }
};

void draw_lane(std::string& svg, const TimeLine& line, const Window& window, std::size_t lane) {
  std::uint64_t most = 0;
  for (const auto& [number, counts] : line.steps()) most = std::max(most, counts.at(lane));
  const int base = static_cast<int>(lane) * (kLaneHeight + kLaneGap) + kLaneHeight + 4;
  append(svg,
         "<text class=\"lane\" x=\"0\" y=\"{}\">{}</text><text class=\"most\" x=\"0\" "
         "y=\"{}\">{}</text>\n<path class=\"axis\" d=\"M{} {}H{}\"/>\n",
         base - 22, kLaneNames.at(lane), base - 6,
         most == 0 ? "nothing" : "at most " + grouped(most), kLineLeft, base, kLineWidth);
  for (const auto& [number, counts] : line.steps()) {
    if (counts.at(lane) == 0) continue;
    // Something is never drawn as nothing.
    const double height = std::max(
        2.0, kLaneHeight * static_cast<double>(counts.at(lane)) / static_cast<double>(most));
    const double width = std::max(1.5, window.x(number + 1) - window.x(number) - 1);
    append(svg,
           "<rect class=\"lane{}\" x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\">"
           "<title>{}: {}</title></rect>\n",
           lane, window.x(number), base - height, width, height,
           to_rfc3339_seconds(line.begin_of(number)), grouped(counts.at(lane)));
  }
}

}  // namespace

std::string mark_definitions() {
  std::string svg = "<svg class=\"hidden\" width=\"0\" height=\"0\" aria-hidden=\"true\"><defs>\n";
  for (std::size_t i = 0; i < kStandings; ++i) {
    append(svg, "<g id=\"mark{}\"><rect class=\"standing{}\" width=\"{}\" height=\"{}\"/>{}</g>\n",
           i, i, kMark, kMark, kShapes.at(i));
  }
  return svg + "</defs></svg>\n";
}

std::string mark_of(Standing standing) {
  return fmt::format(
      "<svg class=\"mark\" viewBox=\"0 0 {} {}\" aria-hidden=\"true\"><use "
      "href=\"#mark{}\"/></svg>",
      kMark, kMark, static_cast<int>(standing));
}

std::string draw_map(const ReportModel& model) {
  constexpr int kHeading = 26;
  constexpr int kGap = 8;  // where addresses are left out
  const AddressMap& map = model.map;
  const std::uint64_t row_bytes = map.tile_bytes() * kTilesInRow;
  std::string rows;
  int y = 0;
  const MapRow* before = nullptr;
  for (const MapRow& row : map.rows()) {
    const bool new_node = row.node && (before == nullptr || row.node != before->node);
    if (new_node) {
      y += kHeading;
      append(rows, "<text class=\"node\" x=\"{}\" y=\"{}\">node {}</text>\n", kLabels, y - 8,
             *row.node);
    } else if (before != nullptr && before->begin.value() + row_bytes != row.begin.value()) {
      y += kGap;
      append(rows, "<path class=\"axis gap\" d=\"M{} {}H{}\"/>\n", kLabels, y - kGap / 2 - 1,
             kMapWidth);
    }
    draw_row(rows, map, row, y);
    y += kTile + 1;
    before = &row;
  }
  // Every eighth tile, so that they can be counted.
  constexpr int kComb = 8;
  for (int tile = kComb; tile < static_cast<int>(kTilesInRow); tile += kComb) {
    append(rows, "<path class=\"comb\" d=\"M{}.5 0V{}\"/>\n", kLabels + tile * kTile - 1, y);
  }
  return fmt::format(
      "<svg class=\"map\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Map of physical memory: "
      "{} "
      "a tile\">\n{}</svg>\n",
      kMapWidth, y + 2, to_human_size(map.tile_bytes()), rows);
}

std::string draw_cells(const FaultCells& cells) {
  if (cells.places().empty()) return {};
  constexpr int kWidth = 460;
  constexpr int kHeight = 240;
  constexpr int kLeft = 74;
  constexpr int kTop = 22;
  constexpr int kBottom = 212;
  constexpr double kInset = 10;
  const auto banks = drawn_banks(cells);
  const auto& first = cells.places().begin()->first;
  Axis rows{first.row, first.row, kTop + kInset, kBottom - kInset};
  std::optional<Axis> columns;
  for (const auto& [place, count] : cells.places()) {
    widen(rows, place.row);
    if (!place.column) continue;
    if (!columns) columns = Axis{*place.column, *place.column, 0, 0};
    widen(*columns, *place.column);
  }
  std::string svg = fmt::format(
      "<svg class=\"cells\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Errors by bank, row "
      "and "
      "column\">\n",
      kWidth, kHeight);
  append(svg, "<text class=\"tick end\" x=\"{}\" y=\"{}\">row {:#x}</text>\n", kLeft - 6,
         rows.at(rows.least) + 4, rows.least);
  if (rows.most != rows.least) {
    append(svg, "<text class=\"tick end\" x=\"{}\" y=\"{}\">row {:#x}</text>\n", kLeft - 6,
           rows.at(rows.most) + 4, rows.most);
  }
  const double strip = static_cast<double>(kWidth - kLeft) / static_cast<double>(banks.size());
  for (std::size_t i = 0; i < banks.size(); ++i) {
    const double left = kLeft + strip * static_cast<double>(i);
    append(svg,
           "<rect class=\"bank\" x=\"{:.1f}\" y=\"{}\" width=\"{:.1f}\" height=\"{}\"/>"
           "<text class=\"tick middle\" x=\"{:.1f}\" y=\"{}\">{}</text>\n",
           left, kTop, strip - 4, kBottom - kTop, left + strip / 2 - 2, kTop - 7,
           short_name(cells.banks()[banks[i]]));
    Axis across = columns.value_or(Axis{});
    across.from = left + kInset;
    across.to = left + strip - 4 - kInset;
    for (const auto& [place, count] : cells.places()) {
      if (place.bank != banks[i]) continue;
      const double radius = std::min(4.0 + std::log10(static_cast<double>(count)), 8.0);
      append(
          svg,
          "<circle class=\"cell\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\"><title>row {:#x}, {}: "
          "{}</title></circle>\n",
          place.column ? across.at(*place.column) : (across.from + across.to) / 2,
          rows.at(place.row), radius, place.row,
          place.column ? fmt::format("column {:#x}", *place.column) : "column not known",
          grouped_count(count, "error"));
    }
  }
  if (columns) {
    append(svg, "<text class=\"tick\" x=\"{}\" y=\"{}\">across each bank: column {:#x}{}</text>\n",
           kLeft, kHeight - 8, columns->least,
           columns->most == columns->least ? "" : fmt::format(" to {:#x}", columns->most));
  } else {
    append(svg, "<text class=\"tick\" x=\"{}\" y=\"{}\">columns are not known</text>\n", kLeft,
           kHeight - 8);
  }
  return svg + "</svg>\n";
}

std::string draw_time_line(const TimeLine& line) {
  if (line.steps().empty()) return {};
  constexpr std::int64_t kLeastSteps = 12;
  constexpr int kTicks = 4;
  constexpr std::size_t kDate = 10;
  constexpr std::size_t kDateAndMinute = 16;
  const std::size_t shown = line.step() >= std::chrono::days(1) ? kDate : kDateAndMinute;
  Window window{.first = line.steps().begin()->first, .steps = 0};
  window.steps = std::max(line.steps().rbegin()->first - window.first + 1, kLeastSteps);
  constexpr int kBase = static_cast<int>(kLanes) * (kLaneHeight + kLaneGap);
  std::string svg = fmt::format(
      "<svg class=\"line\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Errors and what was "
      "done, "
      "by time\">\n",
      kLineWidth, kBase + 20);
  for (std::size_t lane = 0; lane < kLanes; ++lane) draw_lane(svg, line, window, lane);
  for (int tick = 0; tick < kTicks; ++tick) {
    const std::int64_t number = window.first + window.steps * tick / kTicks;
    append(svg,
           "<path class=\"axis\" d=\"M{0:.1f} {1}v5\"/><text class=\"tick\" x=\"{0:.1f}\" "
           "y=\"{2}\">{3}</text>\n",
           window.x(number), kBase - kLaneGap + 4, kBase + 8,
           to_rfc3339_seconds(line.begin_of(number)).substr(0, shown));
  }
  return svg + "</svg>\n";
}

}  // namespace poisonctl
