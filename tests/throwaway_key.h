// A signing key for one run of a benchmark or a fuzzer: made in a folder that is gone again.
#pragma once

#include <stdlib.h>

#include <filesystem>
#include <stdexcept>
#include <string>

#include "registry/signing.h"

namespace poisonctl {

inline SigningKey throwaway_key() {
  std::string folder = std::filesystem::temp_directory_path() / "poisonctl-key-XXXXXX";
  if (::mkdtemp(folder.data()) == nullptr) throw std::runtime_error("cannot make " + folder);
  auto key = SigningKey::load_or_make(folder + "/key");
  std::filesystem::remove_all(folder);
  if (!key) throw std::runtime_error(key.error().message);
  return *std::move(key);
}

}  // namespace poisonctl
