#include "registry/audit/restore.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

#include "registry/posix_file.h"
#include "registry/sources/file_stream.h"
#include "registry/store.h"

namespace poisonctl {

namespace {

// The registry in the making. Goes away with this.
class HalfMade {
 public:
  explicit HalfMade(const std::string& path)
      : paths_{path, path + ".head", path + ".key", path + "-journal"} {
    remove();
  }
  HalfMade(const HalfMade&) = delete;
  HalfMade& operator=(const HalfMade&) = delete;
  ~HalfMade() { remove(); }
  [[nodiscard]] const std::string& path() const { return paths_.front(); }

 private:
  void remove() const {
    for (const std::string& path : paths_) std::remove(path.c_str());
  }
  // All made beforehand: they are removed for want of memory too.
  std::array<std::string, 4> paths_;
};

// Each import of the bundle as one of the store, with the provenance that it had.
class Restorer {
 public:
  explicit Restorer(Store& store) : store_(store) {}

  Result<void> take(const LogLine& line) {
    if (const auto* const import = std::get_if<ImportLine>(&line); import != nullptr) {
      if (auto done = end_import(); !done) return done;
      auto begun = store_.begin_import(import->provenance, Store::Repeats::kKeep);
      if (!begun) return begun.error();
      import_.emplace(*std::move(begun));
      return {};
    }
    const auto* const event = std::get_if<EventLine>(&line);
    if (event == nullptr || !import_) {
      return Error{ErrorCode::kBadData, "the bundle was changed while it was read"};
    }
    return import_->add(event->event);
  }
  Result<void> end_import() {
    if (!import_) return {};
    const auto done = import_->commit();
    import_.reset();
    return done ? Result<void>() : done.error();
  }

 private:
  Store& store_;
  std::optional<Store::Import> import_;
};

Result<void> check_whole(const std::string& file, const BundleReport& report) {
  if (!report.findings.empty()) {
    return Error{ErrorCode::kRefused,
                 fmt::format("{}: not imported: {}", file, report.findings.front())};
  }
  if (report.info.redacted || report.omitted != 0) {
    return Error{
        ErrorCode::kRefused,
        fmt::format("{}: has only a part of its log ({} entries left out, {} redacted), of "
                    "which no registry can be made; ask for one that was exported without "
                    "a filter and without --redact",
                    file, report.omitted, report.withheld)};
  }
  return {};
}

}  // namespace

Result<std::uint64_t> restore_bundle(const std::string& file, const BundleReport& report,
                                     const std::string& path) {
  if (auto whole = check_whole(file, report); !whole) return whole.error();
  if (::access(path.c_str(), F_OK) == 0) {
    return Error{ErrorCode::kCannotWrite,
                 path + ": is there already; name a registry that is not with --registry"};
  }
  const HalfMade made(path + ".importing");
  {
    auto store = Store::open(made.path(), Store::Mode::kCreate);
    if (!store) return store.error();
    const auto stream = open_file_stream(file);
    if (!stream) return stream.error();
    Restorer restorer(*store);
    auto done = read_bundle_log(**stream, [&](const LogLine& line) { return restorer.take(line); });
    if (done) done = restorer.end_import();
    if (!done) return done.error();
    const auto head = store->head();
    if (!head) return head.error();
    if (head->id != report.info.head.id || head->hash != report.info.head.hash) {
      return Error{ErrorCode::kBadData,
                   fmt::format("{}: its log has other hashes once it is a registry; nothing was "
                               "made of it",
                               file)};
    }
  }
  // Not over one that somebody has made meanwhile.
  if (::renameat2(AT_FDCWD, made.path().c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) != 0) {
    return os_error(fmt::format("cannot rename {} to {}", made.path(), path), errno,
                    ErrorCode::kCannotWrite);
  }
  return static_cast<std::uint64_t>(report.info.head.id);
}

}  // namespace poisonctl
