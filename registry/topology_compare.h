// What became of the meaning of addresses between two topologies.
#pragma once

#include <string>
#include <vector>

#include "registry/address.h"
#include "registry/topology.h"

namespace poisonctl {

// What became of the meaning of an address.
enum class Meaning {
  kSame,      // as far as both snapshots can tell
  kChanged,   // the address may be another cell now, or none
  kReplaced,  // kChanged, and the reason is that another module is in the one socket behind it
};
struct Judgement {
  Meaning meaning = Meaning::kSame;
  std::string reason;  // of what has changed; empty when nothing has
};

// Compares two topologies, once for all addresses.
class Comparison {
 public:
  // The topologies must outlive it.
  Comparison(const Topology& before, const Topology& now);

  [[nodiscard]] bool is_same() const { return same_; }
  // What became of the address range between the two. Linear in modules and regions.
  [[nodiscard]] Judgement judge(const ByteRange& range) const;
  // Every difference, one line each.
  [[nodiscard]] std::vector<std::string> differences() const;

 private:
  const Topology& before_;
  const Topology& now_;
  bool same_;
};

}  // namespace poisonctl
