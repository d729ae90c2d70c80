// The command line of a Linux kernel, taken apart as the kernel does it: which memmap= options are
// on it, which of them are ours, and how ours get in without touching anything else.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "registry/result.h"

namespace poisonctl {

// One argument: NAME or NAME=VALUE. `begin` and `end` are the bytes that it takes in the text, its
// quotes included.
struct Argument {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::string_view name;
  std::string_view value;  // empty without '='
};

struct CommandLine {
  std::vector<Argument> arguments;  // those that the kernel reads
  std::size_t options_end = 0;      // where "--" begins, after which all is for init; else the end
};

// Takes `text` apart as next_arg() and parse_args() do (lib/cmdline.c, kernel/params.c): blanks
// part arguments (the kernel's isspace(), line ends and byte 0xa0 among them), double quotes keep
// blanks together, nothing escapes a quote, "--" ends it. The views are into `text`. `shown` names
// it in errors. Errors: kBadData, with the offset, for a quote without an end before "--", which
// would swallow whatever is added, for a NUL, and for more than kCommandLineLimit bytes.
Result<CommandLine> parse_command_line(std::string_view text, std::string_view shown);

// No kernel takes more than 4096 bytes (s390; 2048 elsewhere).
inline constexpr std::size_t kCommandLineLimit = 65536;

// A command line to which a memmap= option is to be added.
struct MergeBase {
  std::string text;                  // without our own options, else byte for byte
  std::size_t insert_at = 0;         // where the option goes: before "--", or at the end
  std::size_t foreign_items = 0;     // of memmap=, that somebody else has put there
  std::size_t ram_items = 0;         // those of them that add RAM, also where RAM is already
  bool crash_kernel = false;         // has crashkernel=
  std::vector<std::string> remarks;  // what else on it changes memory, one sentence each
};

// Errors: those of parse_command_line.
Result<MergeBase> merge_base(std::string_view text, std::string_view shown);

// `base` with `option` in its place. merge_base() of the result gives `base` back, byte for byte.
std::string merged(const MergeBase& base, std::string_view option);

// Whether `value` of a memmap= is what poisonctl writes: every item is 0xSIZE%0xADDR-1+5.
bool is_own_memmap(std::string_view value);

}  // namespace poisonctl
