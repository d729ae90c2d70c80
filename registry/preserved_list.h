// The signed list in memory that outlives the kernel: published in a session of the Live Update
// Orchestrator, kept current in place, and received in the next kernel. Needs neither the store nor
// SQLite: the program that acts on a list at boot links it.
//
// A session "poisonctl-N" (N from 0 to 7) preserves one file, token 0, of two slots of the same
// size. A slot begins with a handover (registry/README.md), or with zeros. A new list goes into the
// slot that has the older one: whenever the kernel ends, one slot is whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "registry/live_update.h"
#include "registry/posix_file.h"
#include "registry/result.h"

namespace poisonctl {

inline constexpr std::size_t kMostPreservedSessions = 8;
std::string preserved_session_name(std::size_t number);

// The size of a slot for a handover of so many bytes: room for as much again, a power of two.
std::size_t preserved_slot_bytes(std::size_t handover_bytes);

// A list that the next kernel gets. Gone with the object, and with the process.
class PreservedList {
 public:
  // In the first session that nobody has. Errors: kLocked when all are taken; those of LiveUpdate.
  static Result<PreservedList> create(LiveUpdate& live_update, std::string_view handover);

  // Whether a handover has room: the size of what is preserved cannot change.
  [[nodiscard]] bool fits(std::string_view handover) const { return handover.size() <= slot_; }
  // The next kernel gets this one. Errors: kUsage when it does not fit; kIo, and then the one
  // before is still whole.
  Result<void> update(std::string_view handover);

  [[nodiscard]] const std::string& session() const { return name_; }
  // Whoever has a copy of it keeps the list preserved when this process is gone.
  [[nodiscard]] const UniqueFd& session_file() const { return session_->file(); }
  [[nodiscard]] std::size_t bytes() const { return 2 * slot_; }

 private:
  PreservedList() = default;
  std::string name_;
  std::size_t slot_ = 0;
  bool second_ = false;  // where the newest one is
  UniqueFd memory_;
  std::unique_ptr<LiveSession> session_;
};

// What one slot held, or why it cannot be read.
struct ReceivedList {
  std::string from;  // "/dev/liveupdate, session poisonctl-0, slot 1"
  std::string name;  // of its session and its slot: "poisonctl-0.1"
  Result<std::string> blob;
};

// All that the kernel before has left for us. As long as it lives the kernel keeps the memory; it
// keeps it no longer, finish() or not (LiveSession). So: copy, record, finish().
class ReceivedLists {
 public:
  // Sessions of other names are not touched. No session of ours is no error: there are no lists
  // then. Errors: kIo, when the device answers none.
  static Result<ReceivedLists> receive(LiveUpdate& live_update);

  [[nodiscard]] const std::vector<ReceivedList>& lists() const { return lists_; }
  // Whether there was a session of ours.
  [[nodiscard]] bool any() const { return !sessions_.empty(); }
  // Errors: the first of them, after all were tried.
  Result<void> finish();

 private:
  ReceivedLists() = default;
  void add(LiveSession& session, const std::string& name, const std::string& shown);
  std::vector<std::unique_ptr<LiveSession>> sessions_;
  std::vector<ReceivedList> lists_;
};

}  // namespace poisonctl
