// A file, or standard input, as a stream for a source.
#pragma once

#include <memory>
#include <string>

#include "registry/sources/source.h"

namespace poisonctl {

// "-" is standard input. Errors: kNoInput, kNoPrivilege, kIo.
Result<std::unique_ptr<ByteStream>> open_file_stream(const std::string& path);

// The same. What another program still writes (a pipe, a socket, a terminal) is read to its end
// first, into a file of `folder` that has no name: whoever holds the registry while it reads waits
// for no other program. Where there is no such folder there is no registry either, and nothing is
// kept. Errors: also kCannotWrite, and kBadData for more than 1 GiB.
Result<std::unique_ptr<ByteStream>> open_whole_file_stream(const std::string& path,
                                                           const std::string& folder);

}  // namespace poisonctl
