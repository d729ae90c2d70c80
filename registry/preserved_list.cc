#include "registry/preserved_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "registry/bytes.h"
#include "registry/handover.h"

namespace poisonctl {

namespace {

constexpr std::uint64_t kToken = 0;
constexpr std::size_t kSlots = 2;
// A list that grows from nothing to some thousand ranges stays where it is; a power of two, so that
// slots are whole pages of every page size.
constexpr std::size_t kLeastSlot = 64U << 10U;
// FDT_MAGIC, big-endian: Devicetree Specification v0.4, 5.2.
constexpr std::string_view kMagic = "\xd0\x0d\xfe\xed";

}  // namespace

std::string preserved_session_name(std::size_t number) {
  return fmt::format("poisonctl-{}", number);
}

std::size_t preserved_slot_bytes(std::size_t handover_bytes) {
  return std::clamp(std::bit_ceil(2 * handover_bytes), kLeastSlot, kMostHandoverBytes);
}

Result<PreservedList> PreservedList::create(LiveUpdate& live_update, std::string_view handover) {
  PreservedList list;
  list.slot_ = preserved_slot_bytes(handover.size());
  if (!list.fits(handover)) {
    return Error{ErrorCode::kUsage, fmt::format("a handover of {} bytes", handover.size())};
  }
  auto memory = file_in_memory("poisonctl-list", list.bytes());
  if (!memory) return memory.error();
  list.memory_ = *std::move(memory);
  // Before anything is preserved: whoever starts a kernel from now on takes it along whole.
  if (auto written = write_at(list.memory_, 0, handover, "a file in memory"); !written) {
    return written.error();
  }
  for (std::size_t i = 0; i < kMostPreservedSessions; ++i) {
    list.name_ = preserved_session_name(i);
    auto session = live_update.create_session(list.name_);
    if (!session && session.error().os_error == EEXIST) continue;
    if (!session) return session.error();
    auto preserved = (*session)->preserve(list.memory_, kToken);
    if (!preserved) return preserved.error();
    list.session_ = *std::move(session);
    return list;
  }
  return Error{
      ErrorCode::kLocked,
      fmt::format("all sessions {} to {} are taken: another poisonctl holds them; end it",
                  preserved_session_name(0), preserved_session_name(kMostPreservedSessions - 1))};
}

Result<void> PreservedList::update(std::string_view handover) {
  if (!fits(handover)) {
    return Error{ErrorCode::kUsage,
                 fmt::format("a handover of {} bytes in a slot of {}", handover.size(), slot_)};
  }
  auto written = write_at(memory_, second_ ? 0 : slot_, handover, "a file in memory");
  if (written) second_ = !second_;
  return written;
}

void ReceivedLists::add(LiveSession& session, const std::string& name, const std::string& shown) {
  const auto file = session.retrieve(kToken);
  if (!file) {
    lists_.push_back({shown, name, file.error()});
    return;
  }
  const auto size = size_of(*file, shown);
  if (!size) {
    lists_.push_back({shown, name, size.error()});
    return;
  }
  if (*size == 0 || *size % kSlots != 0 || *size / kSlots > kMostHandoverBytes) {
    lists_.push_back({shown, name,
                      Error{ErrorCode::kBadData,
                            fmt::format("{}: has {} bytes; expected two slots of at most {}", shown,
                                        *size, kMostHandoverBytes)}});
    return;
  }
  auto bytes = read_up_to(*file, static_cast<std::size_t>(*size), shown);
  if (!bytes) {
    lists_.push_back({shown, name, bytes.error()});
    return;
  }
  const std::size_t slot = bytes->size() / kSlots;
  bool any = false;
  for (std::size_t i = 0; i < kSlots; ++i) {
    std::string blob = bytes->substr(i * slot, slot);
    if (!blob.starts_with(kMagic)) continue;
    any = true;
    // What is behind the list in its slot is nobody's, and need not be kept.
    const std::uint64_t total = big_endian(std::string_view(blob).substr(kMagic.size(), 4));
    if (total > kMagic.size() && total < blob.size()) blob.resize(total);
    lists_.push_back(
        {fmt::format("{}, slot {}", shown, i), fmt::format("{}.{}", name, i), std::move(blob)});
  }
  if (!any) {
    lists_.push_back(
        {shown, name,
         Error{ErrorCode::kBadData, shown + ": neither slot begins with a list (d0 0d fe ed)"}});
  }
}

Result<ReceivedLists> ReceivedLists::receive(LiveUpdate& live_update) {
  ReceivedLists received;
  for (std::size_t i = 0; i < kMostPreservedSessions; ++i) {
    const std::string name = preserved_session_name(i);
    const std::string shown = fmt::format("/{}, session {}", kLiveUpdateDevice, name);
    auto session = live_update.retrieve_session(name);
    if (session) {
      received.add(**session, name, shown);
      received.sessions_.push_back(*std::move(session));
    } else if (session.error().code != ErrorCode::kNoInput) {
      received.lists_.push_back({shown, name, session.error()});
    }
  }
  return received;
}

Result<void> ReceivedLists::finish() {
  Result<void> first;
  for (const auto& session : sessions_) {
    auto finished = session->finish();
    if (first && !finished) first = finished;
  }
  return first;
}

}  // namespace poisonctl
