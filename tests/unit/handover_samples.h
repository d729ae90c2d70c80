// A handover for tests, and ways to make others of it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "registry/fdt.h"
#include "registry/handover.h"
#include "registry/signing.h"
#include "tests/unit/sample_events.h"
#include "tests/unit/temp_tree.h"

namespace poisonctl {

inline Digest digest_of(unsigned char byte) {
  Digest digest;
  digest.fill(byte);
  return digest;
}

inline Handover sample_handover() {
  return {.generation = 42,
          .created = at_second(7),
          .host = {digest_of(1), digest_of(3)},
          .topology = {digest_of(2), digest_of(4)},
          .page_shift = shift_of(4096),
          .ranges = {{range(0x1000000, 0x1000fff), Condition::kFaulty, EventKind::kUncorrected},
                     {range(0x1002000, 0x1005fff), Condition::kFaulty, EventKind::kPoisoned},
                     {range(0x2000000, 0x2000fff), Condition::kSuspect, EventKind::kCorrected},
                     {range(0x3000000, 0x3000fff), Condition::kResolved, EventKind::kMedia}},
          .unknown = {}};
}

// A key that lives as long as the object.
struct TestKey {
  TempTree tree;
  SigningKey key = SigningKey::load_or_make(tree.path("key")).value();
};

// The properties of a handover, for tests that change one and sign the rest again.
inline std::vector<fdt::Property> properties_of(const fdt::Tree& tree) {
  return tree.root_properties(64, "test").value();
}

// The same tree with a good signature by `key` over whatever it says.
inline std::string signed_again(std::string blob, const SigningKey& key) {
  const auto tree = fdt::Tree::parse(blob, blob.size(), "test").value();
  for (const fdt::Property& property : properties_of(tree)) {
    const auto at = static_cast<std::size_t>(property.value.data() - tree.bytes().data());
    if (property.name == "public-key") blob.replace(at, 32, key.public_key());
    if (property.name == "signature") blob.replace(at, 64, 64, '\0');
  }
  const std::string signature = key.sign(blob).value();
  for (const fdt::Property& property : properties_of(tree)) {
    const auto at = static_cast<std::size_t>(property.value.data() - tree.bytes().data());
    if (property.name == "signature") blob.replace(at, 64, signature);
  }
  return blob;
}

// With another value of a property, or without the property when `value` is null; not signed again.
inline std::string with_property(const std::string& blob, std::string_view name,
                                 const std::string* value) {
  const auto tree = fdt::Tree::parse(blob, blob.size(), "test").value();
  std::vector<fdt::Property> changed;
  bool found = false;
  for (const fdt::Property& property : properties_of(tree)) {
    if (property.name != name) {
      changed.push_back(property);
    } else if (value != nullptr) {
      changed.push_back({property.name, *value});
      found = true;
    }
  }
  if (!found && value != nullptr) changed.insert(changed.begin(), {std::string(name), *value});
  return fdt::write(changed).value();
}

}  // namespace poisonctl
