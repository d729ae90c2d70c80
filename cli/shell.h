// Assignments for a POSIX shell: what eval may be given, whatever is in the values.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace poisonctl {

// NAME='VALUE'. In single quotes nothing but a single quote means anything (POSIX.1-2017,
// Shell Command Language, 2.2.2). Line ends stay; other control characters and bytes that are not
// UTF-8 become \xNN, as in messages: a shell cannot hold a NUL, and what prints a value does not
// move the cursor. `name` is of letters, digits and _.
std::string shell_assignment(std::string_view name, std::string_view value);
std::string shell_assignment(std::string_view name, std::uint64_t value);

// `word` as a part of such a name: in capitals, and _ for what no name may have.
std::string shell_name(std::string_view word);

}  // namespace poisonctl
