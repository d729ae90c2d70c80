// The report model as metrics for Prometheus: OpenMetrics 1.0 text, of which node_exporter's
// textfile collector, which reads the older text format, understands every line the same. For that
// all are gauges: the two forms name counters differently, and a log can be recovered to fewer
// entries.
#pragma once

#include <string>
#include <string_view>

#include "cli/report/model.h"

namespace poisonctl {

// Labels have few values whatever the registry holds: conditions, nodes, modules; never a frame.
std::string metrics_text(const ReportModel& model);

// What printable() makes of it, with \ and " escaped (OpenMetrics 1.0, "escaped-string").
std::string label_value(std::string_view text);

// Modules past this many are counted together, with the slot "other".
inline constexpr std::size_t kMostModuleLabels = 256;

}  // namespace poisonctl
