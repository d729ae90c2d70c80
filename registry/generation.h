// The generation of a registry's list, which never shrinks: what has been seen and handed out
// stands in a file beside the registry, so that neither can a list be rolled back together with the
// registry, nor does a registry that lost entries, or came back from a backup, make lists that
// count as older than those it made before.
#pragma once

#include <cstdint>
#include <string>

#include "registry/result.h"
#include "registry/store.h"

namespace poisonctl {

std::string generation_path(const std::string& registry);

// The newest generation that was seen. 0 when there is no such file. Errors: kBadData, kIo,
// kNoPrivilege.
Result<std::uint64_t> read_newest_generation(const std::string& registry);
// A handover of this generation was seen. Never writes a smaller number than is there; waits for
// whoever writes it. Errors: as above, kCannotWrite.
Result<void> note_generation(const std::string& registry, std::uint64_t generation);

// That of the list of `store`, which is the registry at `registry`: Store::generation(), counted on
// from the newest that was seen when the log is not the one that lists were handed out from. Where
// the file may not be read, as if there were none: whoever may not, hands out nothing. Errors:
// those of Store; kBadData, kIo.
Result<std::uint64_t> list_generation(Store& store, const std::string& registry);
// A list of this generation was handed out from `store`. Errors: as above, kCannotWrite.
Result<void> note_handed_out(Store& store, const std::string& registry, std::uint64_t generation);

}  // namespace poisonctl
