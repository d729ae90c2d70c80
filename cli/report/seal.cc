#include "cli/report/seal.h"

#include <fmt/format.h>

#include <optional>
#include <vector>

#include "cli/report/markup.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

constexpr std::string_view kBegin = "<section class=\"seal\"><h2 id=\"signature\">Signature</h2>\n";
constexpr std::string_view kStatement = "<pre id=\"statement\">";
constexpr std::string_view kEnd = "</section>\n</main>\n</body>\n</html>\n";
constexpr std::string_view kFirstLine = "poisonctl-report-v1";

// What is signed.
std::string signed_lines(const Seal& seal) {
  return fmt::format("{}\nbytes {}\nsha256 {}\nevents {}\nhash {}\ntime {}\npublic-key {}\n",
                     kFirstLine, seal.bytes, to_hex_text(as_bytes(seal.digest)), seal.head.id,
                     to_hex_text(as_bytes(seal.head.hash)), to_rfc3339(seal.time),
                     to_hex_text(seal.public_key));
}

// An Ed25519 public key as OpenSSL reads it: the fixed beginning of a SubjectPublicKeyInfo (RFC
// 8410, section 4), then the key.
constexpr std::string_view kKeyPrefix = "302a300506032b6570032100";

std::string section_of(const Seal& seal) {
  const std::string lines = signed_lines(seal);
  const std::string key = to_hex_text(seal.public_key);
  return fmt::format(
      "{}<p>The first {} bytes of this file, which is all above this heading, are signed with the "
      "Ed25519 key of the registry. <code>poisonctl report --check FILE</code> checks that, and "
      "whose "
      "key it is.</p>\n{}{}signature {}\n</pre>\n"
      "<p>Without poisonctl: the digest must be that of the statement, and OpenSSL must say "
      "&ldquo;Signature Verified Successfully&rdquo;. Compare the key with <code>poisonctl "
      "handover "
      "key</code> on the host itself.</p>\n"
      "<pre>head -c {} FILE | sha256sum\n"
      "sed -n '/^&lt;pre id=&quot;statement&quot;&gt;/,/^public-key /p' FILE | sed "
      "'s/^&lt;[^&gt;]*&gt;//' "
      "&gt; statement\n"
      "echo {}{} | xxd -r -p &gt; key.der\n"
      "sed -n 's/^signature //p' FILE | xxd -r -p &gt; signature\n"
      "openssl pkeyutl -verify -rawin -pubin -keyform DER -inkey key.der -in statement -sigfile "
      "signature</pre>\n{}",
      kBegin, seal.bytes, kStatement, lines, to_hex_text(seal.signature), seal.bytes, kKeyPrefix,
      key, kEnd);
}

// The rest of the line of this name, which must be the next one.
std::optional<std::string_view> field(std::string_view& text, std::string_view name) {
  const auto end = text.find('\n');
  if (end == std::string_view::npos || !text.starts_with(name)) return std::nullopt;
  const std::string_view value = text.substr(name.size(), end - name.size());
  text.remove_prefix(end + 1);
  return value;
}

std::optional<Digest> digest_field(std::string_view& text, std::string_view name) {
  const auto value = field(text, name);
  const auto bytes = value ? bytes_from_hex(*value) : std::nullopt;
  return bytes ? digest_from(*bytes) : std::nullopt;
}

std::optional<std::uint64_t> number_field(std::string_view& text, std::string_view name) {
  const auto value = field(text, name);
  return value ? parse_unsigned(*value, 10) : std::nullopt;
}

// Any statement; whether it says what is true is for its signature to tell.
std::optional<Seal> parse_statement(std::string_view text) {
  if (field(text, kFirstLine) != "") return std::nullopt;
  const auto bytes = number_field(text, "bytes ");
  const auto digest = digest_field(text, "sha256 ");
  const auto events = number_field(text, "events ");
  const auto hash = digest_field(text, "hash ");
  const auto time_text = field(text, "time ");
  const auto time = time_text ? time_from_rfc3339(*time_text) : std::nullopt;
  const auto key_text = field(text, "public-key ");
  const auto key = key_text ? bytes_from_hex(*key_text) : std::nullopt;
  const auto signature_text = field(text, "signature ");
  const auto signature = signature_text ? bytes_from_hex(*signature_text) : std::nullopt;
  if (!bytes || !digest || !events || *events > INT64_MAX || !hash || !time || !key || !signature) {
    return std::nullopt;
  }
  return Seal{.bytes = *bytes,
              .digest = *digest,
              .head = {.id = static_cast<std::int64_t>(*events), .hash = *hash},
              .time = *time,
              .public_key = *key,
              .signature = *signature};
}

}  // namespace

Result<std::string> sealed_page(std::string page, const ChainHead& head, Time time,
                                const SigningKey& key) {
  Seal seal{.bytes = page.size(),
            .digest = Hasher().digest(page),
            .head = head,
            .time = time,
            .public_key = key.public_key(),
            .signature = {}};
  auto signature = key.sign(signed_lines(seal));
  if (!signature) return signature.error();
  seal.signature = *std::move(signature);
  page += section_of(seal);
  return page;
}

std::string unsealed_page(std::string page, std::string_view why) {
  page +=
      fmt::format("{}<p>This page is not signed: {}.</p>\n{}", kBegin, html_text(why, 400), kEnd);
  return page;
}

Result<Seal> check_seal(std::string_view page, const std::string& shown) {
  const auto bad = [&](std::string_view what) {
    return Error{ErrorCode::kBadData, fmt::format("{}: {}", shown, what)};
  };
  // The last one: what is signed could quote another.
  const auto at = page.rfind(kStatement);
  if (at == std::string_view::npos) {
    return bad("has no signature; expected a page of 'poisonctl report'");
  }
  const auto seal = parse_statement(page.substr(at + kStatement.size()));
  if (!seal) {
    return bad(fmt::format("offset {}: the statement is not complete; expected the lines of {}", at,
                           kFirstLine));
  }
  if (!is_signed_by(seal->public_key, signed_lines(*seal), seal->signature)) {
    return bad(
        "the signature is not of this statement: it was changed, or made by somebody else; do "
        "not believe this page");
  }
  if (seal->bytes > page.size() || Hasher().digest(page.substr(0, seal->bytes)) != seal->digest) {
    return bad("was changed after it was signed; do not believe it, and ask for it again");
  }
  if (page.substr(seal->bytes) != section_of(*seal)) {
    return bad(
        fmt::format("offset {}: what follows the signed part is not what poisonctl writes "
                    "there; do not believe it, and ask for it again",
                    seal->bytes));
  }
  return *seal;
}

}  // namespace poisonctl
