#include "backends/boot_files.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "backends/command_line.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// After all others: one that sets GRUB_CMDLINE_LINUX anew would drop what is added before it.
constexpr std::string_view kGrubFile = "etc/default/grub.d/zz-poisonctl.cfg";
constexpr std::string_view kGrubHead =
    "# Keeps bad memory frames out of use. Made by 'poisonctl apply e820', which also writes it "
    "anew;\n"
    "# 'poisonctl apply e820 --undo' removes it. update-grub has to run after either.\n"
    "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX ";
constexpr std::string_view kGrubTail = "\"\n";

// A name that run-parts(8) takes: no dot. The list is asked for when the kernel is loaded, so it is
// never old. emit ends with 1 when not all fits, and prints what does.
constexpr std::string_view kKexecFile = "etc/default/kexec.d/zz-poisonctl";
constexpr std::string_view kKexecContent =
    "# Keeps bad memory frames out of use. Made by 'poisonctl apply e820', which also writes it "
    "anew;\n"
    "# 'poisonctl apply e820 --undo' removes it. Read by /etc/init.d/kexec-load.\n"
    "poisonctl_line=$(poisonctl -q emit e820 --merge \"${APPEND:-$(cat /proc/cmdline)}\") || :\n"
    "if [ -n \"$poisonctl_line\" ]; then APPEND=$poisonctl_line; fi\n";

constexpr std::string_view kKernelCommandLine = "etc/kernel/cmdline";
constexpr std::array<std::string_view, 3> kEntryFolders = {
    "boot/loader/entries", "boot/efi/loader/entries", "efi/loader/entries"};
constexpr std::string_view kOptions = "options";

constexpr std::array<std::pair<BootTarget, std::string_view>, 4> kTargets = {
    {{BootTarget::kGrub, "grub"},
     {BootTarget::kKernelInstall, "kernel-install"},
     {BootTarget::kLoaderEntries, "loader-entries"},
     {BootTarget::kKexec, "kexec"}}};

// The content of a file that may not be there.
Result<std::optional<std::string>> read_if_there(const SysRoot& root, std::string_view path) {
  auto text = root.read(path);
  if (text) return std::optional(*std::move(text));
  if (text.error().code == ErrorCode::kNoInput) return std::optional<std::string>();
  return text.error();
}

// Names in a folder; nothing when it is not there.
Result<std::optional<std::vector<std::string>>> list_if_there(const SysRoot& root,
                                                              std::string_view path) {
  auto names = root.list(path);
  if (names) return std::optional(*std::move(names));
  if (names.error().code == ErrorCode::kNoInput) return std::optional<std::vector<std::string>>();
  return names.error();
}

Result<void> add_file(const ChangeableRoot& root, BootTarget target, std::string path,
                      BootFiles& found) {
  const auto mode = root.file_mode(path);
  if (!mode) return mode.error();
  BootFile file{.target = target, .path = std::move(path), .content = {}};
  if (*mode) {
    auto content = root.read(file.path);
    if (!content) return content.error();
    file.content = *std::move(content);
    file.mode = **mode;
  }
  found.files.push_back(std::move(file));
  return {};
}

// grub-mkconfig puts GRUB_CMDLINE_LINUX_DEFAULT after GRUB_CMDLINE_LINUX (10_linux).
Result<void> check_grub_settings(const SysRoot& root, const std::vector<std::string>& drop_ins) {
  std::vector<std::string> paths = {"etc/default/grub"};
  for (const std::string& name : drop_ins) paths.push_back("etc/default/grub.d/" + name);
  for (const std::string& path : paths) {
    const auto text = read_if_there(root, path);
    if (!text) return text.error();
    if (!*text) continue;
    std::size_t number = 0;
    for (const std::string_view line : split_lines(**text)) {
      ++number;
      if (!trim(line).starts_with("GRUB_CMDLINE_LINUX_DEFAULT") ||
          line.find("exactmap") == std::string_view::npos) {
        continue;
      }
      return Error{ErrorCode::kRefused,
                   fmt::format("{}:{}: memmap=exactmap in GRUB_CMDLINE_LINUX_DEFAULT comes after "
                               "GRUB_CMDLINE_LINUX and throws away what is set there; move it to "
                               "GRUB_CMDLINE_LINUX",
                               root.shown(path), number)};
    }
  }
  return {};
}

// The words after "linux" and the kernel on the lines of a menu that 10_linux has made, which takes
// GRUB_CMDLINE_LINUX; other scripts make entries of other systems.
Result<void> read_grub_menu(const SysRoot& root, BootFiles& found) {
  constexpr std::string_view kMenu = "boot/grub/grub.cfg";
  constexpr std::string_view kSection = " /etc/grub.d/10_linux ###";
  const auto text = read_if_there(root, kMenu);
  if (!text) return text.error();
  if (!*text) return {};
  found.grub_menu = root.shown(kMenu);
  bool ours = false;
  for (std::string_view line : split_lines(**text)) {
    line = trim(line);
    if (line.starts_with("### ") && line.ends_with(kSection)) ours = line.starts_with("### BEGIN");
    if (!ours || !(line.starts_with("linux ") || line.starts_with("linux\t"))) continue;
    line = trim(line.substr(std::string_view("linux").size()));
    const auto end_of_kernel = line.find_first_of(" \t");
    if (end_of_kernel == std::string_view::npos) continue;
    found.grub_lines.emplace_back(trim(line.substr(end_of_kernel)));
    if (const auto base = merge_base(found.grub_lines.back(), found.grub_menu); !base) {
      return base.error();
    }
  }
  return {};
}

// Only where grub-mkconfig reads drop-ins: that is a change of Debian's.
Result<void> find_grub(const ChangeableRoot& root, BootFiles& found) {
  const auto drop_ins = list_if_there(root, "etc/default/grub.d");
  if (!drop_ins) return drop_ins.error();
  if (!*drop_ins) {
    const auto program = read_if_there(root, "usr/sbin/grub-mkconfig");
    if (!program) return program.error();
    if (!*program || (*program)->find("default/grub.d") == std::string::npos) return {};
  }
  const auto settings = root.file_mode("etc/default/grub");
  if (!settings) return settings.error();
  if (!*settings) return {};
  if (auto sane = check_grub_settings(root, drop_ins->value_or(std::vector<std::string>()));
      !sane) {
    return sane;
  }
  if (auto menu = read_grub_menu(root, found); !menu) return menu;
  return add_file(root, BootTarget::kGrub, std::string(kGrubFile), found);
}

Result<void> find_kernel_install(const ChangeableRoot& root, BootFiles& found) {
  const auto mode = root.file_mode(kKernelCommandLine);
  if (!mode) return mode.error();
  // Without the file, kernel-install takes the command line of the boot that it runs in.
  if (!*mode) return {};
  return add_file(root, BootTarget::kKernelInstall, std::string(kKernelCommandLine), found);
}

// One line of a loader entry, and where its command line begins; nothing for other lines and for
// one without a command line.
std::optional<std::size_t> options_value(std::string_view line) {
  if (!line.starts_with(kOptions)) return std::nullopt;
  const auto value = line.find_first_not_of(" \t", kOptions.size());
  if (value == std::string_view::npos || value == kOptions.size()) return std::nullopt;
  return value;
}

// The lines of `text` with their ends.
std::vector<std::string> whole_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::size_t length = end == std::string_view::npos ? text.size() : end + 1;
    lines.emplace_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return lines;
}

// Whether what an entry boots takes a command line from it. A unified kernel image has one built
// in, in whose place systemd-stub takes `options`; other EFI programs understand none (Boot Loader
// Specification).
bool takes_options(std::string_view entry) {
  const auto lines = whole_lines(entry);
  return std::any_of(lines.begin(), lines.end(), [](const std::string& line) {
    return options_value(line) || line.starts_with("linux ") || line.starts_with("linux\t");
  });
}

Result<void> find_loader_entries(const ChangeableRoot& root, BootFiles& found) {
  for (const std::string_view folder : kEntryFolders) {
    const auto names = list_if_there(root, folder);
    if (!names) return names.error();
    if (!*names) continue;
    for (const std::string& name : **names) {
      if (!name.ends_with(".conf")) continue;
      auto added =
          add_file(root, BootTarget::kLoaderEntries, fmt::format("{}/{}", folder, name), found);
      if (!added) return added;
      const BootFile& entry = found.files.back();
      if (!entry.content || takes_options(*entry.content)) continue;
      found.notes.push_back(
          fmt::format("loader-entries: {} has neither 'linux' nor 'options', so that it was left "
                      "as it is: what "
                      "it boots does not get the option",
                      root.shown(entry.path)));
      found.files.pop_back();
    }
  }
  return {};
}

Result<void> find_kexec(const ChangeableRoot& root, BootFiles& found) {
  const auto drop_ins = list_if_there(root, "etc/default/kexec.d");
  if (!drop_ins) return drop_ins.error();
  return *drop_ins ? add_file(root, BootTarget::kKexec, std::string(kKexecFile), found)
                   : Result<void>();
}

// kdump-config and kdumpctl take /proc/cmdline, and with it the option of this boot, unless they
// are told another one.
Result<void> look_at_kdump(const SysRoot& root, BootFiles& found) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 2> kSettings = {
      {{"etc/default/kdump-tools", "KDUMP_CMDLINE="},
       {"etc/sysconfig/kdump", "KDUMP_COMMANDLINE="}}};
  for (const auto& [path, setting] : kSettings) {
    const auto text = read_if_there(root, path);
    if (!text) return text.error();
    if (!*text) continue;
    bool own_line = false;
    for (const std::string_view line : split_lines(**text)) {
      if (!line.starts_with(setting)) continue;
      const std::string_view value = trim(line.substr(setting.size()));
      own_line = !value.empty() && value != "\"\"";
    }
    found.notes.push_back(
        own_line
            ? fmt::format("kdump: {} sets {}..., so that the crash kernel does not get the "
                          "option; add it there",
                          root.shown(path), setting)
            : "kdump: the crash kernel gets the option with the command line of the next boot");
  }
  return {};
}

// ---- content ----

Error edited(std::string_view shown) {
  return {ErrorCode::kRefused,
          fmt::format("{}: somebody has edited it since poisonctl wrote it; --force writes or "
                      "removes it all the same",
                      shown)};
}

// Whether a drop-in is as we write it, whatever its list.
bool is_our_grub_file(std::string_view content) {
  constexpr std::string_view kMemmap = "memmap=";
  if (!content.starts_with(kGrubHead) || !content.ends_with(kGrubTail)) return false;
  content.remove_prefix(kGrubHead.size());
  if (content.size() < kGrubTail.size()) return false;
  content.remove_suffix(kGrubTail.size());
  return content.starts_with(kMemmap) && is_own_memmap(content.substr(kMemmap.size()));
}

Result<std::string> merged_text(std::string_view text, std::string_view option,
                                std::string_view shown) {
  const auto base = merge_base(text, shown);
  if (!base) return base.error();
  return merged(*base, option);
}

// All of the file is one command line, whose line ends kernel-install takes for blanks.
Result<std::string> with_option(std::string_view content, std::string_view option,
                                std::string_view shown) {
  const bool ended = content.ends_with('\n');
  if (ended) content.remove_suffix(1);
  auto text = merged_text(content, option, shown);
  if (text && ended) *text += '\n';
  return text;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line;
  return text;
}

// Without our option on any line, and without a line that had nothing else.
Result<std::string> entry_without(std::string_view content, std::string_view shown) {
  std::vector<std::string> kept;
  for (const std::string& line : whole_lines(content)) {
    const auto value = options_value(line);
    if (!value) {
      kept.push_back(line);
      continue;
    }
    const auto rest = with_option(std::string_view(line).substr(*value), "", shown);
    if (!rest) return rest.error();
    if (!trim(*rest).empty()) {
      kept.push_back(line.substr(0, *value) + *rest);
    } else if (!line.ends_with('\n') && !kept.empty() && kept.back().ends_with('\n')) {
      kept.back().pop_back();  // put there with the line
    }
  }
  return joined(kept);
}

Result<std::string> entry_with(std::string_view content, std::string_view option,
                               std::string_view shown) {
  auto bare = entry_without(content, shown);
  if (!bare || option.empty()) return bare;
  std::vector<std::string> lines = whole_lines(*bare);
  const auto last = std::find_if(lines.rbegin(), lines.rend(),
                                 [](const std::string& line) { return options_value(line); });
  if (last == lines.rend()) {
    const bool ended = bare->empty() || bare->ends_with('\n');
    return fmt::format("{}{}{} {}{}", *bare, ended ? "" : "\n", kOptions, option,
                       ended ? "\n" : "");
  }
  const std::size_t value = *options_value(*last);
  const auto text = with_option(std::string_view(*last).substr(value), option, shown);
  if (!text) return text.error();
  *last = last->substr(0, value) + *text;
  return joined(lines);
}

}  // namespace

std::string_view to_word(BootTarget target) {
  for (const auto& [known, word] : kTargets) {
    if (known == target) return word;
  }
  return {};
}

std::optional<BootTarget> boot_target_from(std::string_view word) {
  for (const auto& [target, known] : kTargets) {
    if (known == word) return target;
  }
  return std::nullopt;
}

Result<BootFiles> find_boot_files(const ChangeableRoot& root) {
  BootFiles found;
  for (const auto find : {find_grub, find_kernel_install, find_loader_entries, find_kexec}) {
    if (auto done = find(root, found); !done) return done.error();
  }
  if (auto done = look_at_kdump(root, found); !done) return done.error();
  return found;
}

bool grub_menu_is_behind(const BootFiles& files, std::string_view option) {
  return std::any_of(files.grub_lines.begin(), files.grub_lines.end(), [&](std::string_view line) {
    const auto parsed = parse_command_line(line, files.grub_menu);
    if (!parsed) return true;
    std::size_t found = 0;
    for (const Argument& argument : parsed->arguments) {
      if (argument.name != "memmap" || !is_own_memmap(argument.value)) continue;
      if (line.substr(argument.begin, argument.end - argument.begin) != option) return true;
      ++found;
    }
    return found != (option.empty() ? 0U : 1U);
  });
}

Result<std::vector<std::string>> command_lines_in(const BootFile& file, std::string_view shown) {
  std::vector<std::string> lines;
  if (!file.content) return lines;
  if (file.target == BootTarget::kKernelInstall) lines.push_back(*file.content);
  if (file.target == BootTarget::kLoaderEntries) {
    std::string all;  // several lines "options" make one command line
    for (const std::string& line : whole_lines(*file.content)) {
      if (const auto value = options_value(line)) all += line.substr(*value);
    }
    lines.push_back(std::move(all));
  }
  for (const std::string& line : lines) {
    if (const auto base = merge_base(line, shown); !base) return base.error();
  }
  return lines;
}

Result<std::optional<std::string>> content_with(const BootFile& file, std::string_view option,
                                                bool overwrite, std::string_view shown) {
  const bool undo = option.empty();
  switch (file.target) {
    case BootTarget::kGrub:
      if (file.content && !overwrite && !is_our_grub_file(*file.content)) return edited(shown);
      if (undo) return std::optional<std::string>();
      return std::optional(fmt::format("{}{}{}", kGrubHead, option, kGrubTail));
    case BootTarget::kKexec:
      if (file.content && !overwrite && *file.content != kKexecContent) return edited(shown);
      if (undo) return std::optional<std::string>();
      return std::optional(std::string(kKexecContent));
    case BootTarget::kKernelInstall:
    case BootTarget::kLoaderEntries:
      break;
  }
  if (!file.content) return std::optional<std::string>();
  auto text = file.target == BootTarget::kKernelInstall ? with_option(*file.content, option, shown)
                                                        : entry_with(*file.content, option, shown);
  if (!text) return text.error();
  return std::optional(*std::move(text));
}

}  // namespace poisonctl
