// The map of memory for a terminal: one character a tile, one line a row.
#pragma once

#include <vector>

#include "cli/output.h"
#include "cli/report/model.h"

namespace poisonctl {

enum class Glyphs { kAscii, kUnicode };

// Lines of pieces, which stand side by side. No line is wider than 80 columns.
std::vector<std::vector<Cell>> map_lines(const ReportModel& model, Glyphs glyphs);

}  // namespace poisonctl
