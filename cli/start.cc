#include "cli/start.h"

#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>

#include "cli/exit_status.h"

namespace poisonctl {

namespace {

constexpr std::array<std::string_view, 9> kKeptVariables = {
    "NO_COLOR",   "LC_ALL",     "LC_CTYPE",       "LANG",          "NOTIFY_SOCKET",
    "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "JOURNAL_STREAM"};

// For a handler that takes no argument.
const char* program_name = "";

// In place: nothing is allocated.
void forget_environment() {
  if (environ == nullptr) return;
  char** kept = environ;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const std::string_view name = text.substr(0, text.find('='));
    if (std::find(kKeptVariables.begin(), kKeptVariables.end(), name) != kKeptVariables.end()) {
      *kept++ = *entry;
    }
  }
  *kept = nullptr;
}

// Of anything but want of memory a core is worth having.
[[noreturn]] void end_at_once() {
  try {
    if (const auto thrown = std::current_exception()) std::rethrow_exception(thrown);
  } catch (const std::bad_alloc&) {
    static_cast<void>(
        std::fprintf(stderr, "%s: out of memory; nothing more was done\n", program_name));
    std::_Exit(kExitIo);
  } catch (...) {  // NOLINT(bugprone-empty-catch): below
  }
  std::abort();
}

}  // namespace

void start_program(const char* program) {
  program_name = program;
  std::set_terminate(end_at_once);
  forget_environment();
  // Of others /proc/self would belong to root then, and they could not read it.
  if (::geteuid() == 0) static_cast<void>(::prctl(PR_SET_DUMPABLE, 0));
}

}  // namespace poisonctl
