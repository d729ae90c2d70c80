// A SysRoot that lets another one do the work, writes down what was read, and fails or answers
// where a test says so: the faults that no folder can have (EIO in the middle, a file that goes
// away).
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "registry/sysroot.h"

namespace poisonctl {

// `inner` must outlive it. Faults are set before the code under test runs; the record of reads is
// safe to use from several threads.
class FakeSysRoot final : public SysRoot {
 public:
  explicit FakeSysRoot(const SysRoot& inner) : inner_(inner), root_(inner.root()) {}

  // Any use of `path` (read, list, open, replace_file) fails with `error`.
  void fail(std::string_view path, Error error) {
    faults_.insert_or_assign(std::string(path), std::move(error));
  }
  // Only opening `path` to write fails with `error`: an attribute that can be read and no more.
  void fail_attribute(std::string_view path, Error error) {
    attribute_faults_.insert_or_assign(std::string(path), std::move(error));
  }
  // A positioned read of `path` that covers byte `offset` fails with `error`.
  void fail_at(std::string_view path, std::uint64_t offset, Error error) {
    read_faults_.insert_or_assign(std::string(path), ReadFault{offset, std::move(error)});
  }
  // Stands for the kernel behind every attribute: what it answers to an order, 0 or an errno.
  void answer(std::function<int(std::string_view path, std::string_view text)> kernel) {
    kernel_ = std::move(kernel);
  }
  // What root() says: "/" makes a captured machine pass for the running one.
  void pretend_root(std::string root) { root_ = std::move(root); }

  // Every path that was read, listed or opened, in order.
  [[nodiscard]] std::vector<std::string> used() const {
    const std::lock_guard lock(mutex_);
    return used_;
  }
  // Bytes that positioned reads returned, of all files together.
  [[nodiscard]] std::uint64_t bytes_read_at() const {
    const std::lock_guard lock(mutex_);
    return bytes_read_at_;
  }

  [[nodiscard]] const std::string& root() const override { return root_; }

  [[nodiscard]] Result<std::string> read(std::string_view path, std::size_t limit) const override {
    if (const Error* fault = use(path)) return *fault;
    return inner_.read(path, limit);
  }
  [[nodiscard]] Result<std::vector<std::string>> list(std::string_view path) const override {
    if (const Error* fault = use(path)) return *fault;
    return inner_.list(path);
  }
  [[nodiscard]] Result<std::unique_ptr<PositionedFile>> open(std::string_view path) const override {
    if (const Error* fault = use(path)) return *fault;
    auto file = inner_.open(path);
    if (!file) return file.error();
    const auto fault = read_faults_.find(std::string(path));
    return std::unique_ptr<PositionedFile>(std::make_unique<FakeFile>(
        *this, *std::move(file), fault == read_faults_.end() ? nullptr : &fault->second));
  }
  [[nodiscard]] Result<std::unique_ptr<Attribute>> open_attribute(
      std::string_view path) const override {
    if (const Error* fault = use(path)) return *fault;
    const auto fault = attribute_faults_.find(std::string(path));
    if (fault != attribute_faults_.end()) return fault->second;
    if (!kernel_) return inner_.open_attribute(path);
    return std::unique_ptr<Attribute>(std::make_unique<FakeAttribute>(*this, std::string(path)));
  }
  [[nodiscard]] Result<void> replace_file(std::string_view path, std::string_view content,
                                          mode_t mode) const override {
    if (const auto fault = faults_.find(std::string(path)); fault != faults_.end()) {
      return fault->second;
    }
    return inner_.replace_file(path, content, mode);
  }
  [[nodiscard]] Result<UniqueFd> open_lock(std::string_view path) const override {
    if (const auto fault = faults_.find(std::string(path)); fault != faults_.end()) {
      return fault->second;
    }
    return inner_.open_lock(path);
  }

 private:
  struct ReadFault {
    std::uint64_t offset;
    Error error;
  };

  class FakeFile final : public PositionedFile {
   public:
    FakeFile(const FakeSysRoot& owner, std::unique_ptr<PositionedFile> inner,
             const ReadFault* fault)
        : owner_(owner), inner_(std::move(inner)), fault_(fault) {}
    [[nodiscard]] Result<std::size_t> read_at(std::uint64_t offset,
                                              std::span<std::byte> buffer) const override {
      if (fault_ != nullptr && fault_->offset >= offset &&
          fault_->offset - offset < buffer.size()) {
        return fault_->error;
      }
      auto got = inner_->read_at(offset, buffer);
      if (got) owner_.count(*got);
      return got;
    }

   private:
    const FakeSysRoot& owner_;
    std::unique_ptr<PositionedFile> inner_;
    const ReadFault* fault_;
  };

  class FakeAttribute final : public Attribute {
   public:
    FakeAttribute(const FakeSysRoot& owner, std::string path)
        : owner_(owner), path_(std::move(path)) {}
    [[nodiscard]] int write(std::string_view text) const override {
      return owner_.kernel_(path_, text);
    }

   private:
    const FakeSysRoot& owner_;
    std::string path_;
  };

  // Notes the use; the fault to answer with, or nullptr.
  const Error* use(std::string_view path) const {
    const std::lock_guard lock(mutex_);
    used_.emplace_back(path);
    const auto fault = faults_.find(used_.back());
    return fault == faults_.end() ? nullptr : &fault->second;
  }
  void count(std::size_t bytes) const {
    const std::lock_guard lock(mutex_);
    bytes_read_at_ += bytes;
  }

  const SysRoot& inner_;
  std::string root_;
  std::map<std::string, Error> faults_;
  std::map<std::string, Error> attribute_faults_;
  std::map<std::string, ReadFault> read_faults_;
  std::function<int(std::string_view, std::string_view)> kernel_;
  mutable std::mutex mutex_;  // guards the two below
  mutable std::vector<std::string> used_;
  mutable std::uint64_t bytes_read_at_ = 0;
};

}  // namespace poisonctl
