// The actions of vendors that retire or repair memory: the standard has none (DSP0268, Memory), so
// the administrator writes down what the vendor's documentation says.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "registry/address.h"
#include "registry/result.h"

namespace poisonctl {

// In the URI and in texts of the body stand ${address} (decimal), ${address_hex} (0x...), ${size}
// (bytes), ${dimm} (the locator in SMBIOS) and ${key} (the same for the same notice). A text that
// is nothing but ${address} or ${size} becomes a number.
struct ActionTemplate {
  std::string method;  // POST or PATCH
  std::string uri;
  std::string body;  // a JSON object
  [[nodiscard]] bool configured() const { return !method.empty(); }
};

// "POST /redfish/v1/...". Errors: kBadData.
Result<void> parse_action(std::string_view text, ActionTemplate& action);
// Errors: kBadData for what is no JSON object of at most 4 KiB, or names a value that there is not.
Result<void> parse_action_body(std::string_view text, ActionTemplate& action);

struct ActionValues {
  ByteRange block;
  std::string dimm;  // empty: not known
  std::string key;
};

struct FilledAction {
  std::string method;
  std::string path;
  std::string body;
};

// Nothing when it names the DIMM and that is not known: another one would be repaired.
std::optional<FilledAction> fill(const ActionTemplate& action, const ActionValues& values);

}  // namespace poisonctl
