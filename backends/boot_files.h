// The files of a machine that hold the command line of its next kernels, and what each is to hold
// with our option or without it. Reads files; changes none.
//   grub            /etc/default/grub.d/zz-poisonctl.cfg, a drop-in of our own (Debian, Ubuntu)
//   kernel-install  /etc/kernel/cmdline, for kernels that will be installed (kernel-install(8))
//   loader-entries  /boot/loader/entries/*.conf and those of the ESP: the line "options" of each
//                   (Boot Loader Specification; systemd-boot, and GRUB on distributions with dnf)
//   kexec           /etc/default/kexec.d/zz-poisonctl, a drop-in of our own (Debian's kexec-load)
// kdump has no file here: it takes the command line of this boot.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "registry/changeable_root.h"
#include "registry/result.h"

namespace poisonctl {

enum class BootTarget { kGrub, kKernelInstall, kLoaderEntries, kKexec };
std::string_view to_word(BootTarget target);
std::optional<BootTarget> boot_target_from(std::string_view word);

struct BootFile {
  BootTarget target;
  std::string path;                    // inside the root
  std::optional<std::string> content;  // nothing: not there
  mode_t mode = 0644;
};

struct BootFiles {
  std::vector<BootFile> files;
  // The command lines that GRUB's menu has for the kernels of this system, and where. update-grub
  // makes them, so that a change of the file of kGrub is in them only once that has run well. None
  // where there is no menu, or the targets have no kGrub.
  std::vector<std::string> grub_lines = {};
  std::string grub_menu = {};
  // What is to be run or looked at by hand, one sentence each; not about a file in particular.
  std::vector<std::string> notes;
};

// The files of the targets that this machine has. Errors: those of the files, and kRefused when a
// setting of GRUB would void the option.
Result<BootFiles> find_boot_files(const ChangeableRoot& root);

// The command lines in `file`, as they are: those that the option will share the room with.
// Errors: kBadData for one that would void the option.
Result<std::vector<std::string>> command_lines_in(const BootFile& file, std::string_view shown);

// Whether GRUB's menu has another option of ours than `option` for some kernel, or none of it, or
// one although it is empty: update-grub has to run.
bool grub_menu_is_behind(const BootFiles& files, std::string_view option);

// What `file` is to hold with `option` in it; without one when that is empty. An older option of
// ours goes, everything else stays byte for byte; with an empty option the result is what was there
// before the first one came. Nothing: the file is not to be there. Errors: kBadData as above;
// kRefused for a drop-in of ours that somebody has edited, unless `overwrite`.
Result<std::optional<std::string>> content_with(const BootFile& file, std::string_view option,
                                                bool overwrite, std::string_view shown);

}  // namespace poisonctl
