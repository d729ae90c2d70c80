#include "cli/environment.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace poisonctl {

namespace {

constexpr std::array<std::string_view, 9> kKept = {
    "NO_COLOR",   "LC_ALL",     "LC_CTYPE",       "LANG",          "NOTIFY_SOCKET",
    "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "JOURNAL_STREAM"};

}  // namespace

void forget_environment() {
  if (environ == nullptr) return;
  char** kept = environ;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('='));
    if (std::find(kKept.begin(), kKept.end(), name) != kKept.end()) *kept++ = *entry;
  }
  *kept = nullptr;
}

}  // namespace poisonctl
