#include "registry/audit/cms.h"

#include <fmt/format.h>
#include <openssl/cms.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <array>
#include <memory>

#include "registry/posix_file.h"
#include "registry/signing.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

template <auto kFree>
struct FreeWith {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};
struct FreeStack {
  void operator()(STACK_OF(X509) * stack) const { sk_X509_pop_free(stack, X509_free); }
};
// Of what another object owns.
struct FreeStackOnly {
  void operator()(STACK_OF(X509) * stack) const { sk_X509_free(stack); }
};
using BioHandle = std::unique_ptr<BIO, FreeWith<BIO_free>>;
using CmsHandle = std::unique_ptr<CMS_ContentInfo, FreeWith<CMS_ContentInfo_free>>;
using CertificateHandle = std::unique_ptr<X509, FreeWith<X509_free>>;
using StoreHandle = std::unique_ptr<X509_STORE, FreeWith<X509_STORE_free>>;
using StackHandle = std::unique_ptr<STACK_OF(X509), FreeStack>;

constexpr std::size_t kLargestFile = 1U << 20U;

BioHandle bio_over(std::string_view bytes) {
  return BioHandle(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

// What OpenSSL says of the last failure.
std::string reason() {
  std::array<char, 256> text{};
  const unsigned long code = ERR_peek_last_error();
  ERR_error_string_n(code, text.data(), text.size());
  ERR_clear_error();
  return code == 0 ? "no reason given" : printable(text.data(), 200);
}

// No password is ever asked for on a terminal.
int no_password(char* /*buffer*/, int /*size*/, int /*writing*/, void* /*data*/) { return -1; }

Result<StackHandle> certificates_in(const std::string& pem, const std::string& shown) {
  StackHandle stack(sk_X509_new_null());
  const BioHandle bio = bio_over(pem);
  while (X509* const certificate = PEM_read_bio_X509(bio.get(), nullptr, no_password, nullptr)) {
    sk_X509_push(stack.get(), certificate);
  }
  ERR_clear_error();  // the end of the file is one too
  if (sk_X509_num(stack.get()) > 0) return stack;
  return Error{ErrorCode::kBadData, shown + ": expected one or more certificates in PEM form"};
}

}  // namespace

Result<std::string> sign_cms(std::string_view content, const CmsSigner& signer) {
  const auto certificate_pem = read_named_file(signer.certificate_file, kLargestFile);
  if (!certificate_pem) return certificate_pem.error();
  const auto key_pem = read_private_key_file(signer.key_file);
  if (!key_pem) return key_pem.error();
  const auto chain = certificates_in(*certificate_pem, signer.certificate_file);
  if (!chain) return chain.error();
  const BioHandle key_bio = bio_over(*key_pem);
  const std::unique_ptr<EVP_PKEY, FreeKey> key(
      PEM_read_bio_PrivateKey(key_bio.get(), nullptr, no_password, nullptr));
  if (!key) {
    return Error{ErrorCode::kBadData,
                 fmt::format("{}: expected a private key in PEM form without a password: {}",
                             signer.key_file, reason())};
  }
  const CertificateHandle own(sk_X509_shift(chain->get()));
  const BioHandle data = bio_over(content);
  const unsigned flags = CMS_DETACHED | CMS_BINARY | CMS_NOATTR;
  const CmsHandle cms(CMS_sign(own.get(), key.get(), chain->get(), data.get(), flags));
  const BioHandle out(BIO_new(BIO_s_mem()));
  if (!cms || !out || i2d_CMS_bio(out.get(), cms.get()) != 1) {
    return Error{ErrorCode::kBadData, fmt::format("{}: cannot sign for {}: {}", signer.key_file,
                                                  signer.certificate_file, reason())};
  }
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(out.get(), &bytes);
  return std::string(bytes, static_cast<std::size_t>(size));
}

Result<std::string> verify_cms(std::string_view content, std::string_view signature,
                               const std::string& ca_pem) {
  const auto authorities = certificates_in(ca_pem, "the CA");
  if (!authorities) return authorities.error();
  const StoreHandle store(X509_STORE_new());
  for (int i = 0; i < sk_X509_num(authorities->get()); ++i) {
    X509_STORE_add_cert(store.get(), sk_X509_value(authorities->get(), i));
  }
  X509_VERIFY_PARAM* const rules = X509_STORE_get0_param(store.get());
  X509_VERIFY_PARAM_set_flags(rules, X509_V_FLAG_NO_CHECK_TIME);
  // The certificate of an administrator may be for signing mail, code, or nothing in particular.
  X509_VERIFY_PARAM_set_purpose(rules, X509_PURPOSE_ANY);
  const BioHandle der = bio_over(signature);
  const CmsHandle cms(d2i_CMS_bio(der.get(), nullptr));
  const BioHandle data = bio_over(content);
  if (!cms || CMS_verify(cms.get(), nullptr, store.get(), data.get(), nullptr,
                         CMS_DETACHED | CMS_BINARY) != 1) {
    return Error{ErrorCode::kBadData, reason()};
  }
  const std::unique_ptr<STACK_OF(X509), FreeStackOnly> signers(CMS_get0_signers(cms.get()));
  if (!signers || sk_X509_num(signers.get()) != 1) {
    return Error{ErrorCode::kBadData, "expected one signer"};
  }
  const BioHandle name(BIO_new(BIO_s_mem()));
  X509_NAME_print_ex(name.get(), X509_get_subject_name(sk_X509_value(signers.get(), 0)), 0,
                     XN_FLAG_RFC2253);
  char* text = nullptr;
  const long size = BIO_get_mem_data(name.get(), &text);
  return printable({text, static_cast<std::size_t>(size)}, 200);
}

}  // namespace poisonctl
