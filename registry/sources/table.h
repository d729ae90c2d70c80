// The table of the sources that read a stream. The others (the kernel, EDAC, rasdaemon's database)
// need more than that and are called by name.
#pragma once

#include <span>
#include <string_view>

#include "registry/sources/source.h"

namespace poisonctl {

struct StreamSource {
  std::string_view name;     // as on the command line and in the registry
  std::string_view summary;  // what it reads
  // Where the machine keeps it, below the root; empty when only the user knows.
  std::string_view default_path;
  Result<SourceReport> (*collect)(ByteStream& stream, const SourceSettings& settings,
                                  const EventSink& sink);
  // Why `default_path` may not be there, for people; may be empty.
  std::string_view when_missing = {};
};

std::span<const StreamSource> stream_sources();

// The source of that name, or null.
const StreamSource* find_stream_source(std::string_view name);

}  // namespace poisonctl
