// The table of all backends, in the order in which they are shown and tried.
#pragma once

#include <span>
#include <string_view>

#include "backends/backend.h"

namespace poisonctl {

// The backends live as long as the program.
std::span<const Backend* const> all_backends();

// The backend of that name, or null.
const Backend* find_backend(std::string_view name);

}  // namespace poisonctl
