#include "registry/signing.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/decoder.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "registry/posix_file.h"

namespace poisonctl {

namespace {

constexpr std::size_t kPublicKeyBytes = 32;
constexpr std::size_t kSignatureBytes = 64;

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
struct FreeDecoder {
  void operator()(OSSL_DECODER_CTX* context) const { OSSL_DECODER_CTX_free(context); }
};
struct FreeDigest {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using KeyHandle = std::unique_ptr<EVP_PKEY, FreeKey>;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// What OpenSSL does here fails for want of memory alone, so that it is no defect of this program.

Result<std::string> to_pem(EVP_PKEY* key) {
  const std::unique_ptr<BIO, FreeBio> bio(BIO_new(BIO_s_mem()));
  char* data = nullptr;
  if (!bio ||
      PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return Error{ErrorCode::kIo, "OpenSSL cannot write an Ed25519 key: out of memory"};
  }
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

// Only the one form that we write: with it OpenSSL need not try every decoder that it has, which
// took more than all else of a commit. Nor is a password ever asked for.
Result<KeyHandle> from_pem(const std::string& pem, const std::string& path) {
  EVP_PKEY* made = nullptr;
  const std::unique_ptr<OSSL_DECODER_CTX, FreeDecoder> decoder(OSSL_DECODER_CTX_new_for_pkey(
      &made, "PEM", "PrivateKeyInfo", "ED25519", EVP_PKEY_KEYPAIR, nullptr, nullptr));
  if (!decoder || OSSL_DECODER_CTX_get_num_decoders(decoder.get()) == 0) {
    return Error{ErrorCode::kIo, path + ": OpenSSL cannot read the key: out of memory"};
  }
  const unsigned char* data = bytes_of(pem);
  std::size_t size = pem.size();
  const bool decoded = OSSL_DECODER_from_data(decoder.get(), &data, &size) == 1;
  KeyHandle key(made);
  if (!decoded || EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_ED25519) {
    return Error{ErrorCode::kBadData,
                 path + ": expected an Ed25519 private key in PEM form without a password"};
  }
  return key;
}

}  // namespace

void leave_openssl_configuration_alone() {
  // Only without memory does it fail, and then nothing else of OpenSSL works either.
  static_cast<void>(OPENSSL_init_crypto(OPENSSL_INIT_NO_LOAD_CONFIG, nullptr));
}

void FreeKey::operator()(evp_pkey_st* key) const { EVP_PKEY_free(key); }

Result<std::string> read_private_key_file(const std::string& path) {
  const auto fd = open_own_file(path, "key");
  if (!fd) return fd.error();
  struct stat status {};
  if (::fstat(fd->get(), &status) != 0) return os_error("key " + path, errno, ErrorCode::kIo);
  if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return Error{
        ErrorCode::kRefused,
        fmt::format("key {}: others than its owner may use it (mode {:04o}); a key that may "
                    "have leaked proves nothing. Remove it, and a new one is made",
                    path, status.st_mode & 07777U)};
  }
  if (status.st_uid != ::geteuid() && status.st_uid != 0) {
    return Error{ErrorCode::kRefused,
                 fmt::format("key {}: belongs to user {}, not to this one ({})", path,
                             status.st_uid, ::geteuid())};
  }
  constexpr std::size_t kLargestKeyFile = 4096;
  return read_up_to(*fd, kLargestKeyFile, path);
}

Result<SigningKey> SigningKey::load(const std::string& path) {
  const auto pem = read_private_key_file(path);
  if (!pem) return pem.error();
  auto handle = from_pem(*pem, path);
  if (!handle) return handle.error();
  SigningKey key;
  key.key_ = *std::move(handle);
  std::size_t size = kPublicKeyBytes;
  key.public_key_.resize(size);
  auto* const target = reinterpret_cast<unsigned char*>(key.public_key_.data());
  if (EVP_PKEY_get_raw_public_key(key.key_.get(), target, &size) != 1 || size != kPublicKeyBytes) {
    return Error{ErrorCode::kIo, path + ": OpenSSL gives no public key for it: out of memory"};
  }
  return key;
}

Result<SigningKey> SigningKey::load_or_make(const std::string& path) {
  auto key = load(path);
  if (key || key.error().code != ErrorCode::kNoInput) return key;
  const KeyHandle made(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  if (!made) {
    return Error{ErrorCode::kIo, "OpenSSL cannot make an Ed25519 key: out of memory"};
  }
  const auto pem = to_pem(made.get());
  if (!pem) return pem.error();
  // Another process may make one at the same moment; then theirs is the key.
  auto written = make_file_at(AT_FDCWD, path, *pem, S_IRUSR | S_IWUSR, "the key " + path);
  if (!written && written.error().os_error != EEXIST) return written.error();
  return load(path);
}

Result<std::string> SigningKey::sign(std::string_view message) const {
  const std::unique_ptr<EVP_MD_CTX, FreeDigest> context(EVP_MD_CTX_new());
  std::string signature(kSignatureBytes, '\0');
  std::size_t size = signature.size();
  auto* const target = reinterpret_cast<unsigned char*>(signature.data());
  if (!context || EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key_.get()) != 1 ||
      EVP_DigestSign(context.get(), target, &size, bytes_of(message), message.size()) != 1 ||
      size != kSignatureBytes) {
    return Error{ErrorCode::kIo, "OpenSSL cannot sign with the key: out of memory"};
  }
  return signature;
}

std::string public_key_pem(std::string_view public_key) {
  const KeyHandle key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes_of(public_key),
                                                  public_key.size()));
  const std::unique_ptr<BIO, FreeBio> bio(BIO_new(BIO_s_mem()));
  if (!key || !bio || PEM_write_bio_PUBKEY(bio.get(), key.get()) != 1) return {};
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

std::optional<std::string> public_key_from_pem(const std::string& pem) {
  const std::unique_ptr<BIO, FreeBio> bio(
      BIO_new_mem_buf(pem.data(), static_cast<int>(std::min<std::size_t>(pem.size(), 1U << 16U))));
  const KeyHandle key(bio ? PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr) : nullptr);
  std::string raw(kPublicKeyBytes, '\0');
  std::size_t size = raw.size();
  if (!key || EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_ED25519 ||
      EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(raw.data()), &size) !=
          1 ||
      size != raw.size()) {
    return std::nullopt;
  }
  return raw;
}

bool is_signed_by(std::string_view public_key, std::string_view message,
                  std::string_view signature) {
  if (public_key.size() != kPublicKeyBytes || signature.size() != kSignatureBytes) return false;
  const KeyHandle key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes_of(public_key),
                                                  public_key.size()));
  // One-shot: Ed25519 takes a context for one message (EVP_DigestVerify(3)).
  const auto fits = [&] {
    const std::unique_ptr<EVP_MD_CTX, FreeDigest> context(EVP_MD_CTX_new());
    if (!key || !context ||
        EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) != 1) {
      throw std::bad_alloc();
    }
    return EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(), bytes_of(message),
                            message.size()) == 1;
  };
  // OpenSSL does not tell want of memory from a signature that does not fit: nobody is to be said
  // to have changed a file for that, so what does not fit is looked at twice.
  bool found = fits();
  if (!found) found = fits();
  return found;
}

}  // namespace poisonctl
