#include "registry/chain.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <new>

#include "registry/text.h"

namespace poisonctl {

namespace {

// Integers are 8 bytes, big-endian; texts a length and their bytes; an optional value a byte 0, or
// a byte 1 and the value. Nothing is left out, so two different events never have the same
// encoding.
void put(std::string& out, std::uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) {
    out += static_cast<char>((value >> static_cast<unsigned>(shift)) & 0xFFU);
  }
}

void put(std::string& out, std::string_view text) {
  put(out, std::uint64_t{text.size()});
  out += text;
}

void put_time(std::string& out, Time time) {
  put(out, static_cast<std::uint64_t>(time.time_since_epoch().count()));
}

}  // namespace

std::string_view as_bytes(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

std::optional<Digest> digest_from(std::string_view bytes) {
  Digest digest{};
  if (bytes.size() != digest.size()) return std::nullopt;
  std::transform(bytes.begin(), bytes.end(), digest.begin(),
                 [](char c) { return static_cast<unsigned char>(c); });
  return digest;
}

std::string to_hex_text(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

std::optional<std::string> bytes_from_hex(std::string_view digits) {
  if (digits.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  for (std::size_t i = 0; i < digits.size(); i += 2) {
    const auto byte = parse_unsigned(digits.substr(i, 2), 16);
    if (!byte) return std::nullopt;
    bytes += static_cast<char>(*byte);
  }
  return bytes;
}

void Hasher::FreeContext::operator()(evp_md_ctx_st* context) const { EVP_MD_CTX_free(context); }
void Hasher::FreeAlgorithm::operator()(evp_md_st* algorithm) const { EVP_MD_free(algorithm); }

Hasher::Hasher() : sha256_(EVP_MD_fetch(nullptr, "SHA256", nullptr)), context_(EVP_MD_CTX_new()) {
  // Every build of OpenSSL has SHA-256: only memory can be missing.
  if (!sha256_ || !context_) throw std::bad_alloc();
}
Hasher::Hasher(Hasher&&) noexcept = default;
Hasher& Hasher::operator=(Hasher&&) noexcept = default;
Hasher::~Hasher() = default;

Digest Hasher::digest(std::string_view message) {
  Digest digest{};
  unsigned size = 0;
  if (EVP_DigestInit_ex2(context_.get(), sha256_.get(), nullptr) != 1 ||
      EVP_DigestUpdate(context_.get(), message.data(), message.size()) != 1 ||
      EVP_DigestFinal_ex(context_.get(), digest.data(), &size) != 1 || size != digest.size()) {
    throw std::bad_alloc();  // nothing else can fail
  }
  return digest;
}

std::string Hasher::snapshot_name(std::string_view snapshot) {
  constexpr std::size_t kBytes = 8;
  return snapshot.empty() ? std::string()
                          : to_hex_text(as_bytes(digest(snapshot)).substr(0, kBytes));
}

Digest Hasher::of_import(std::int64_t id, const Provenance& provenance) {
  buffer_.clear();
  put(buffer_, static_cast<std::uint64_t>(id));
  put_time(buffer_, provenance.time);
  put(buffer_, provenance.monotonic_ns);
  for (const std::string* text :
       {&provenance.source, &provenance.source_version, &provenance.origin, &provenance.tool}) {
    put(buffer_, *text);
  }
  put(buffer_, std::uint64_t{provenance.uid});
  for (const std::string* text :
       {&provenance.boot_id, &provenance.kernel_release, &provenance.host_id,
        &provenance.product_uuid, &provenance.product_serial}) {
    put(buffer_, *text);
  }
  put(buffer_, provenance.page_shift.page_size());
  // An import of before there were snapshots keeps the digest that it had.
  if (!provenance.topology.empty()) put(buffer_, provenance.topology);
  return digest(buffer_);
}

Digest Hasher::of_event(const Digest& previous, const Digest& import, std::int64_t id,
                        const Event& event) {
  buffer_.assign(as_bytes(previous));
  buffer_ += as_bytes(import);
  put(buffer_, static_cast<std::uint64_t>(id));
  put(buffer_, to_word(event.kind));
  buffer_ += event.range ? '\1' : '\0';
  if (event.range) {
    put(buffer_, event.range->begin().value());
    put(buffer_, event.range->size());
  }
  put(buffer_, event.granularity);
  put(buffer_, event.count);
  buffer_ += event.observed ? '\1' : '\0';
  if (event.observed) put_time(buffer_, *event.observed);
  put(buffer_, event.foreign_host);
  put(buffer_, event.label);
  put(buffer_, to_text(event.dram));
  put(buffer_, event.result);
  put(buffer_, state_word(event));
  put(buffer_, event.evidence);
  return digest(buffer_);
}

}  // namespace poisonctl
