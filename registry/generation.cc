#include "registry/generation.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <optional>

#include "registry/adoption.h"
#include "registry/file_lock.h"
#include "registry/posix_file.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// "NEWEST", or "NEWEST BASE ENTRY HASH": of the log that lists were handed out from, what its
// generations are counted on from, and one of its entries.
struct Note {
  std::uint64_t newest = 0;
  std::uint64_t base = 0;
  std::optional<ChainHead> entry = {};
};

std::optional<Note> parse_note(std::string_view text) {
  const auto words = split_words(text);
  if (words.size() != 1 && words.size() != 4) return std::nullopt;
  const auto newest = parse_unsigned(words[0], 10);
  if (!newest) return std::nullopt;
  if (words.size() == 1) return Note{.newest = *newest};
  const auto base = parse_unsigned(words[1], 10);
  const auto id = parse_unsigned(words[2], 10);
  const auto bytes = bytes_from_hex(words[3]);
  const auto hash = bytes ? digest_from(*bytes) : std::nullopt;
  if (!base || *base > kMostGeneration || !id || *id > kMostGeneration || !hash) {
    return std::nullopt;
  }
  return Note{*newest, *base, ChainHead{static_cast<std::int64_t>(*id), *hash}};
}

Result<Note> read_note(const std::string& registry) {
  const std::string path = generation_path(registry);
  const auto fd = open_own_file(path, "generation");
  if (!fd) {
    if (fd.error().code == ErrorCode::kNoInput) return Note{};
    return fd.error();
  }
  constexpr std::size_t kLongest = 256;
  const auto text = read_up_to(*fd, kLongest, path);
  if (!text) return text.error();
  const auto note = parse_note(trim(*text));
  if (note) return *note;
  return Error{ErrorCode::kBadData,
               fmt::format("{}:1: expected the newest generation as a number, alone or with the "
                           "entry of the log that it is of, found '{}'; remove it, and the next "
                           "handover makes it again",
                           path, printable(*text))};
}

Result<void> write_note(const std::string& registry, const Note& note) {
  const std::string path = generation_path(registry);
  std::string text = std::to_string(note.newest);
  if (note.entry) {
    text += fmt::format(" {} {} {}", note.base, note.entry->id,
                        to_hex_text(as_bytes(note.entry->hash)));
  }
  return replace_file_at(AT_FDCWD, path, text + "\n", S_IRUSR | S_IWUSR, path);
}

// Two that write at once: the older number could win.
Result<UniqueFd> turn_to_write(const std::string& registry) {
  return wait_for_file_lock(generation_path(registry) + ".lock");
}

// What the generations of this log are counted on from.
Result<std::uint64_t> base_of(Store& store, const Note& note, std::uint64_t own) {
  if (!note.entry) return own < note.newest ? note.newest : 0;
  const auto hash = store.hash_of(note.entry->id);
  if (!hash) return hash.error();
  return *hash == note.entry->hash ? note.base : note.newest;
}

}  // namespace

std::string generation_path(const std::string& registry) { return registry + ".generation"; }

Result<std::uint64_t> read_newest_generation(const std::string& registry) {
  const auto note = read_note(registry);
  if (!note) return note.error();
  return note->newest;
}

Result<void> note_generation(const std::string& registry, std::uint64_t generation) {
  const auto turn = turn_to_write(registry);
  if (!turn) return turn.error();
  auto note = read_note(registry);
  if (!note) return note.error();
  if (generation <= note->newest) return {};
  note->newest = generation;
  return write_note(registry, *note);
}

Result<std::uint64_t> list_generation(Store& store, const std::string& registry) {
  const auto own = store.generation();
  if (!own) return own.error();
  const auto note = read_note(registry);
  if (!note) {
    if (note.error().code == ErrorCode::kNoPrivilege) return *own;
    return note.error();
  }
  const auto base = base_of(store, *note, *own);
  if (!base) return base.error();
  return std::min(*base + *own, kMostGeneration);
}

Result<void> note_handed_out(Store& store, const std::string& registry, std::uint64_t generation) {
  const auto turn = turn_to_write(registry);
  if (!turn) return turn.error();
  auto note = read_note(registry);
  if (!note) return note.error();
  const auto own = store.generation();
  if (!own) return own.error();
  const auto base = base_of(store, *note, *own);
  if (!base) return base.error();
  const auto head = store.head();
  if (!head) return head.error();
  Note now{.newest = std::max(note->newest, generation), .base = *base, .entry = *head};
  if (head->id == 0) now.entry.reset();
  return write_note(registry, now);
}

}  // namespace poisonctl
