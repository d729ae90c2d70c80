// 'poisonctl apply cxl': has CXL devices repair what is bad in them.
#pragma once

#include <boost/program_options/options_description.hpp>

#include "cli/exit_status.h"
#include "cli/invocation.h"
#include "registry/result.h"

namespace poisonctl {

void add_cxl_options(boost::program_options::options_description& options);
// Whether any of those was given.
bool has_cxl_options(const Invocation& invocation);

// Plans, says so, and unless --dry-run was given does it: frames of online memory are retired
// first, then each line is repaired, and records are resolved that the poison lists, read twice
// again, do not speak against. kExitFindings where something was refused or failed. Errors: kUsage,
// kNotAvailable (no CXL devices; without --dry-run a captured machine), those of the registry.
Result<ExitStatus> apply_cxl(Invocation& invocation);

}  // namespace poisonctl
