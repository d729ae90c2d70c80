// A report as one HTML page that needs nothing else: no network, no script, no font.
#pragma once

#include <string>

#include "cli/report/model.h"

namespace poisonctl {

// From the first byte to where the signature comes (seal.h), which closes the page. Of bounded
// size: what is shown one by one has a limit, and the page says what was left out and how to see
// it.
std::string render_page(const ReportModel& model);

// So many of the shown records with all that is known of them; the others are lines of a table.
inline constexpr std::size_t kMostTold = 40;
inline constexpr std::size_t kMostDrawnDevices = 16;

}  // namespace poisonctl
