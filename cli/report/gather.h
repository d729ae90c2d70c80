// The report model of one run: from its machine, its registry and the last replay.
#pragma once

#include "cli/invocation.h"
#include "cli/report/model.h"

namespace poisonctl {

// What is to be done without a registry.
enum class WithoutRegistry { kIsAnError, kIsEmpty };

Result<ReportModel> gather_report(Invocation& invocation, ReportDepth depth,
                                  WithoutRegistry without_registry);

}  // namespace poisonctl
