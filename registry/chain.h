// The hash chain over the event log: each event's hash covers the one before it, so nothing can be
// changed, removed, inserted or moved without a trace. The encoding is written down in README.md.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "registry/event.h"

struct evp_md_ctx_st;
struct evp_md_st;

namespace poisonctl {

using Digest = std::array<unsigned char, 32>;  // SHA-256

// The bytes of a digest as SQLite takes them.
std::string_view as_bytes(const Digest& digest);
// Nothing unless there are exactly 32 bytes.
std::optional<Digest> digest_from(std::string_view bytes);
std::string to_hex_text(std::string_view bytes);
// Nothing for what is not pairs of hexadecimal digits.
std::optional<std::string> bytes_from_hex(std::string_view digits);

// SHA-256 of one message after another, with one context. Not for use by two threads at once.
class Hasher {
 public:
  Hasher();
  Hasher(Hasher&&) noexcept;
  Hasher& operator=(Hasher&&) noexcept;
  Hasher(const Hasher&) = delete;
  Hasher& operator=(const Hasher&) = delete;
  ~Hasher();

  Digest digest(std::string_view message);

  // The digest of an import row.
  Digest of_import(std::int64_t id, const Provenance& provenance);
  // What a record calls a snapshot by: the first 16 hexadecimal digits of its SHA-256. Empty for no
  // snapshot.
  std::string snapshot_name(std::string_view snapshot);
  // The hash of the event with this id: over the hash before it, its import and itself.
  Digest of_event(const Digest& previous, const Digest& import, std::int64_t id,
                  const Event& event);

 private:
  struct FreeContext {
    void operator()(evp_md_ctx_st* context) const;
  };
  struct FreeAlgorithm {
    void operator()(evp_md_st* algorithm) const;
  };
  std::unique_ptr<evp_md_st, FreeAlgorithm> sha256_;
  std::unique_ptr<evp_md_ctx_st, FreeContext> context_;
  std::string buffer_;
};

}  // namespace poisonctl
