// A SysRoot in which files may be removed as well: only what changes the machine's configuration
// has one. Opened like any other, and as strict about what leaves the tree.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "registry/sysroot.h"

namespace poisonctl {

class ChangeableRoot : public SysRoot {
 public:
  // The permission bits of a plain file; nothing when there is none. A symbolic link at the end of
  // `path` is not followed. Errors: kBadData when something else than a file is there,
  // kNoPrivilege, kIo.
  [[nodiscard]] virtual Result<std::optional<mode_t>> file_mode(std::string_view path) const = 0;
  // Removes a file so that it does not come back after a crash. Errors: kCannotWrite.
  [[nodiscard]] virtual Result<void> remove_file(std::string_view path) const = 0;
};

// Errors: as open_sysroot.
Result<std::unique_ptr<ChangeableRoot>> open_changeable_root(const std::string& folder);

}  // namespace poisonctl
