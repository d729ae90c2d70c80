// A machine in a temporary folder: a test writes the few files it is about and opens them as a
// SysRoot. The folder goes away with the object.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "registry/sysroot.h"

namespace poisonctl {

class TempTree {
 public:
  TempTree() {
    std::string folder = ::testing::TempDir() + "/poisonctl-XXXXXX";
    if (::mkdtemp(folder.data()) == nullptr) throw std::runtime_error("mkdtemp " + folder);
    // Canonical, so that tests can compare it with what links resolve to.
    path_ = std::filesystem::canonical(folder);
    // Tests that give up root still have to enter it.
    if (::chmod(path_.c_str(), 0755) != 0) throw std::runtime_error("chmod " + folder);
  }
  TempTree(const TempTree&) = delete;
  TempTree& operator=(const TempTree&) = delete;
  ~TempTree() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }

  [[nodiscard]] std::string path() const { return path_.string(); }
  // Where a file of the tree is on the machine that runs the test.
  [[nodiscard]] std::string path(std::string_view inside) const {
    return (path_ / inside).string();
  }

  // Makes the folders above `inside` too, as all below do.
  void write(std::string_view inside, std::string_view content) const {
    make_parent(inside);
    std::ofstream file(path_ / inside, std::ios::binary);
    file.write(content.data(), static_cast<std::streamsize>(content.size()));
    file.close();
    if (!file) throw std::runtime_error("cannot write " + path(inside));
  }

  // Native words, as in proc/kpageflags, from word `first`: what lies before is a hole of zeros.
  void write_words(std::string_view inside, const std::vector<std::uint64_t>& words,
                   std::uint64_t first = 0) const {
    make_parent(inside);
    std::ofstream file(path_ / inside, std::ios::binary);
    file.seekp(static_cast<std::streamoff>(first * sizeof(std::uint64_t)));
    file.write(reinterpret_cast<const char*>(words.data()),
               static_cast<std::streamsize>(words.size() * sizeof(std::uint64_t)));
    file.close();
    if (!file) throw std::runtime_error("cannot write " + path(inside));
  }

  void make_folder(std::string_view inside) const {
    std::filesystem::create_directories(path_ / inside);
  }

  void link(std::string_view inside, std::string_view target) const {
    make_parent(inside);
    std::filesystem::create_symlink(target, path_ / inside);
  }

  [[nodiscard]] std::string content(std::string_view inside) const {
    std::ifstream file(path_ / inside, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }

  [[nodiscard]] std::unique_ptr<SysRoot> open() const {
    auto root = open_sysroot(path());
    if (!root) throw std::runtime_error(root.error().message);
    return *std::move(root);
  }

 private:
  void make_parent(std::string_view inside) const {
    std::filesystem::create_directories((path_ / inside).parent_path());
  }

  std::filesystem::path path_;
};

}  // namespace poisonctl
