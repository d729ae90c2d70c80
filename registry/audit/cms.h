// Detached signatures with an X.509 key, in the Cryptographic Message Syntax (RFC 5652), as
// 'openssl cms -verify' reads them. OpenSSL's.
#pragma once

#include <string>
#include <string_view>

#include "registry/result.h"

namespace poisonctl {

// Whose signature it is to be. PEM files: the certificate with those between it and the CA behind
// it, and its private key without a password, which only its owner may use.
struct CmsSigner {
  std::string certificate_file;
  std::string key_file;
};

// The signature, DER. It has no time: nobody could check it. With an RSA key the same content gives
// the same bytes. Errors: those of the files; kBadData when they do not belong together.
Result<std::string> sign_cms(std::string_view content, const CmsSigner& signer);

// The subject of the certificate that signed, if it leads to a CA of `ca_pem`. Whether it was valid
// then cannot be told, as nobody has signed a time: neither its period nor the clock of this
// machine is asked. Errors: kBadData, with what OpenSSL says.
Result<std::string> verify_cms(std::string_view content, std::string_view signature,
                               const std::string& ca_pem);

}  // namespace poisonctl
