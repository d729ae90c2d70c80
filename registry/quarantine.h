// Which records are still about the memory that they were made about: each was seen under one or
// more topology snapshots, and counts while one of them means the same as what is here now. Nothing
// is stored: when the old memory comes back, so do its records.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "registry/record.h"
#include "registry/result.h"
#include "registry/topology.h"
#include "registry/topology_compare.h"

namespace poisonctl {

class Quarantine {
 public:
  // `snapshots` as Store::snapshots gives them, oldest first. Errors: kBadData for one that cannot
  // be read.
  static Result<Quarantine> prepare(const std::vector<std::string>& snapshots, const Topology& now);

  Quarantine(Quarantine&&) noexcept;
  Quarantine& operator=(Quarantine&&) noexcept;
  Quarantine(const Quarantine&) = delete;
  Quarantine& operator=(const Quarantine&) = delete;
  ~Quarantine();

  // Makes a suspect or faulty record kQuarantined, with the reason, when all that it was seen under
  // has changed. A record of before there were snapshots stays as it is: nothing is known against
  // it. Says what became of it.
  Judgement apply(Record& record) const;

  // A snapshot that differs from what is here now, and how.
  struct Difference {
    std::string name;
    std::vector<std::string> lines;
  };
  // Oldest first.
  [[nodiscard]] std::vector<Difference> differences() const;

 private:
  struct State;
  explicit Quarantine(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace poisonctl
