// The operating system as a folder: the only place that opens files of the machine (/proc, /sys,
// /dev, /etc, /boot). Rooted at "/" it is the running machine; rooted at a folder it is a captured
// one. Tests wrap it to record reads and to inject faults.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "registry/posix_file.h"
#include "registry/result.h"

namespace poisonctl {

// A file open for reading at any offset. Safe to use from several threads at once.
class PositionedFile {
 public:
  PositionedFile() = default;
  PositionedFile(const PositionedFile&) = delete;
  PositionedFile& operator=(const PositionedFile&) = delete;
  virtual ~PositionedFile() = default;

  // Reads up to buffer.size() bytes at `offset` (bytes). Returns how many were read: fewer than
  // asked only where the file ends. Errors: kIo, kNoPrivilege.
  [[nodiscard]] virtual Result<std::size_t> read_at(std::uint64_t offset,
                                                    std::span<std::byte> buffer) const = 0;
};

// A file of /proc or /sys that takes orders: every write is one order, and its answer counts.
class Attribute {
 public:
  Attribute() = default;
  Attribute(const Attribute&) = delete;
  Attribute& operator=(const Attribute&) = delete;
  virtual ~Attribute() = default;

  // Writes `text` in one write(2). 0, or the errno that the kernel answers with.
  [[nodiscard]] virtual int write(std::string_view text) const = 0;
};

// Paths are relative to the root, without a leading slash: "proc/iomem". Links inside the tree are
// followed as if the root were "/": nothing outside is ever opened.
class SysRoot {
 public:
  SysRoot() = default;
  SysRoot(const SysRoot&) = delete;
  SysRoot& operator=(const SysRoot&) = delete;
  virtual ~SysRoot() = default;

  // Where the root is, for messages: "/" or the folder.
  [[nodiscard]] virtual const std::string& root() const = 0;
  // `path` as a person would type it to see the same file.
  [[nodiscard]] std::string shown(std::string_view path) const;

  // The whole file. More than `limit` bytes is kBadData: nothing the kernel shows in /proc or /sys
  // that is read this way is larger. Errors: kNoInput (does not exist), kNoPrivilege, kIo,
  // kBadData.
  [[nodiscard]] virtual Result<std::string> read(std::string_view path,
                                                 std::size_t limit = kReadLimit) const = 0;
  // The same for a secret. kRefused when anybody but root or this user could have written or read
  // it: the owner, or permissions beyond 0600; kNotAvailable where there are no owners.
  [[nodiscard]] virtual Result<std::string> read_private(std::string_view path,
                                                         std::size_t limit) const;
  // Names in a folder, sorted, without "." and "..". Errors as for read.
  [[nodiscard]] virtual Result<std::vector<std::string>> list(std::string_view path) const = 0;
  [[nodiscard]] virtual Result<std::unique_ptr<PositionedFile>> open(
      std::string_view path) const = 0;

  // Opens an attribute that exists, for writing. Errors as for read.
  [[nodiscard]] virtual Result<std::unique_ptr<Attribute>> open_attribute(
      std::string_view path) const = 0;
  // A character device of the running machine, for reading and writing. Errors: as for read;
  // kLocked when it is busy, with errno EBUSY; kNotAvailable for a captured machine, which has
  // none.
  [[nodiscard]] virtual Result<UniqueFd> open_device(std::string_view path) const;

  // Replaces or creates a file so that after a crash it has either the old content or the new one:
  // temporary file in the same folder, fsync, rename, fsync of the folder. Folders that are missing
  // are made (0755). Errors: kCannotWrite.
  [[nodiscard]] virtual Result<void> replace_file(std::string_view path, std::string_view content,
                                                  mode_t mode) const = 0;

  // Opens a file to lock, to read and to write, and makes it (0600) where it is not, with the
  // folders that are missing (0755). Errors: kCannotWrite.
  [[nodiscard]] virtual Result<UniqueFd> open_lock(std::string_view path) const = 0;

  static constexpr std::size_t kReadLimit = 16U << 20U;
};

// The tree under `folder`, which must exist. Errors: kNoInput, kNoPrivilege, kNotAvailable (a
// folder other than "/" needs openat2 with RESOLVE_IN_ROOT: Linux 5.6).
Result<std::unique_ptr<SysRoot>> open_sysroot(const std::string& folder);

}  // namespace poisonctl
