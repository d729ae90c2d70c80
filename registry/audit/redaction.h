// What a bundle does not say of the host when it is told not to. A name is replaced by one that
// only the holder of the key can make, the same for the same name, so that a reader still sees what
// belongs together. packaging/doc/decisions/0016 says what this hides, and what it cannot.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "registry/event.h"
#include "registry/record.h"
#include "registry/result.h"
#include "registry/signing.h"
#include "registry/store.h"

namespace poisonctl {

class Redaction {
 public:
  // Looks through the log up to entry `last` for texts that name the host. Errors: of reading it,
  // of signing.
  static Result<Redaction> prepare(Store& store, std::int64_t last, const SigningKey& key);

  // Whether an import has an event that cannot be told as it is: then none of its events can be
  // checked by content, and its digest is withheld, without which nobody can try out texts.
  [[nodiscard]] bool withholds(std::int64_t import) const;

  [[nodiscard]] Provenance of(Provenance provenance) const;
  // An event of an import that is withheld.
  [[nodiscard]] Event of(Event event, const Provenance& provenance) const;
  [[nodiscard]] Record of(Record record) const;
  // Errors: kBadData for a text that is no snapshot.
  [[nodiscard]] Result<std::string> of_topology(const std::string& snapshot) const;

 private:
  // "redacted:" and 16 hexadecimal digits; empty stays empty.
  [[nodiscard]] std::string instead_of(std::string_view name) const;
  [[nodiscard]] bool names_host(std::string_view text) const;
  [[nodiscard]] bool names_host(const Event& event) const;
  void replace_if_named(std::string& text) const;

  std::string secret_;
  std::vector<std::string> names_;      // lower-case
  std::vector<std::int64_t> withheld_;  // sorted
};

}  // namespace poisonctl
