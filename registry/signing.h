// Ed25519 signatures (RFC 8032) by a key that this host made.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "registry/result.h"

struct evp_pkey_st;

namespace poisonctl {

// Keeps OpenSSL from reading its configuration, whose place the environment names (OPENSSL_CONF)
// and which may load code: a program of root would run whatever that is (sudo -E). To be called
// before anything else of OpenSSL; what we use is built into every libcrypto.
void leave_openssl_configuration_alone();

struct FreeKey {
  void operator()(evp_pkey_st* key) const;
};

class SigningKey {
 public:
  // Loads the private key at `path` (PEM, PKCS #8). When there is none, makes one, readable by its
  // owner only (0600). A key that others can read or write is refused. Errors: kNoPrivilege,
  // kCannotWrite, kBadData, kRefused.
  static Result<SigningKey> load_or_make(const std::string& path);
  // As above, without making one: kNoInput.
  static Result<SigningKey> load(const std::string& path);

  // 64 bytes.
  [[nodiscard]] Result<std::string> sign(std::string_view message) const;
  // 32 bytes.
  [[nodiscard]] const std::string& public_key() const { return public_key_; }

 private:
  std::unique_ptr<evp_pkey_st, FreeKey> key_;
  std::string public_key_;
};

// A private key in a file that nobody but its owner may use. Errors: kNoInput, kNoPrivilege, kIo;
// kRefused when others may.
Result<std::string> read_private_key_file(const std::string& path);

// A public key as openssl(1) takes it (PEM, RFC 8410), and back. Nothing for what is no such key.
std::string public_key_pem(std::string_view public_key);
std::optional<std::string> public_key_from_pem(const std::string& pem);

// Whether `signature` is of `message` by the holder of `public_key` (32 bytes). False for anything
// malformed. Without memory to tell: std::bad_alloc.
bool is_signed_by(std::string_view public_key, std::string_view message,
                  std::string_view signature);

}  // namespace poisonctl
