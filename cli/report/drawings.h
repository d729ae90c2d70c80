// The drawings of a report, as SVG: the map of memory, where in a device errors lie, and when.
// Colours are classes of page.css; each mark has a shape of its own too, for those who see colours
// otherwise and for paper.
#pragma once

#include <string>

#include "cli/report/model.h"

namespace poisonctl {

// The marks that the map and its legend use; once a page, before both.
std::string mark_definitions();
// One mark, as it stands in a legend.
std::string mark_of(Standing standing);

std::string draw_map(const ReportModel& model);
// At most kMostDrawnBanks banks, those with most places. Empty when no place is known.
std::string draw_cells(const FaultCells& cells);
inline constexpr std::size_t kMostDrawnBanks = 12;
// Empty without anything to show.
std::string draw_time_line(const TimeLine& line);

}  // namespace poisonctl
