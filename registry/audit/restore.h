// A registry made from a bundle: for whoever gets one and wants to look at it with list, show and
// check, or to go on from it.
#pragma once

#include <cstdint>
#include <string>

#include "registry/audit/bundle_check.h"
#include "registry/result.h"

namespace poisonctl {

// Makes the registry `path`, where there is none, with each entry of the bundle `file` as it is:
// the ids and the hashes are the same. `report` is what check_bundle said of the same file. All of
// it or nothing. Returns how many entries it has. Errors: kRefused when the bundle has not all of
// the log, or something is wrong with it; kCannotWrite, also when there is a registry already;
// kBadData when the file was changed meanwhile.
Result<std::uint64_t> restore_bundle(const std::string& file, const BundleReport& report,
                                     const std::string& path);

}  // namespace poisonctl
