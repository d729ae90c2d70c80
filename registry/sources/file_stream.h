// A file, or standard input, as a stream for a source.
#pragma once

#include <memory>
#include <string>

#include "registry/sources/source.h"

namespace poisonctl {

// "-" is standard input. Errors: kNoInput, kNoPrivilege, kIo.
Result<std::unique_ptr<ByteStream>> open_file_stream(const std::string& path);

}  // namespace poisonctl
