// A bundle: the log, the records, the topologies and the policy of a registry in one signed file
// that can be checked anywhere, without this program too. The form is in registry/README.md, the
// reasons in packaging/doc/decisions/0016.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "registry/audit/cms.h"
#include "registry/bounds.h"
#include "registry/posix_file.h"
#include "registry/range_set.h"
#include "registry/result.h"
#include "registry/signing.h"
#include "registry/store.h"

namespace poisonctl {

// Which part of a log is asked for. All that is given must hold.
struct LogFilter {
  std::optional<Time> since;      // seen at this time or later
  std::optional<Time> until;      // seen before
  std::string dimm;               // of this DIMM or device; empty: of any
  std::vector<ByteRange> ranges;  // touches one of them; none: anywhere

  [[nodiscard]] bool takes_all() const {
    return !since && !until && dimm.empty() && ranges.empty();
  }
};

// A filter with what it must know of a registry: outcomes and resolutions do not name the DIMM that
// their record is about.
class LogSelection {
 public:
  // Errors: of reading the records.
  static Result<LogSelection> prepare(Store& store, const LogFilter& filter);
  [[nodiscard]] bool takes(const StoredEvent& stored) const;
  [[nodiscard]] bool takes(const Record& record) const;

 private:
  [[nodiscard]] bool takes_range(const std::optional<ByteRange>& range) const;
  LogFilter filter_;
  std::vector<ByteRange> of_dimm_;  // sorted: the records with that label
};

// What a bundle says of itself first: bundle.json.
struct BundleInfo {
  std::string tool;          // program and version that made it
  std::optional<Time> time;  // when the newest entry was recorded; nothing without an entry
  ChainHead head;            // the end of the log
  std::string public_key;    // 32 bytes: whose signature it has
  LogFilter filter;
  bool redacted = false;  // the host is not named
};
std::string to_text(const BundleInfo& info);
// Errors: kBadData for what to_text does not write.
Result<BundleInfo> parse_bundle_info(std::string_view text, const std::string& shown);

// The limits that a list is made by, besides those of bounds.h: policy.json.
struct Policy {
  Bounds bounds;
  CorrectedErrorPolicy corrected;
  bool include_injected = false;
};
std::string to_text(const Policy& policy);

struct ExportRequest {
  LogFilter filter;
  bool redact = false;
  Policy policy;
  std::string tool;
  std::optional<CmsSigner> cms;  // a second signature
};

struct ExportSummary {
  std::uint64_t events = 0;    // with their content
  std::uint64_t omitted = 0;   // left out by the filter
  std::uint64_t withheld = 0;  // of `events`: with texts replaced
  std::uint64_t records = 0;
};

// Writes the bundle of the registry at `registry`, which `store` has open, into `file`, in memory
// that does not grow with the log. The same registry, request and key give the same bytes (but for
// a CMS signature by an elliptic curve, which is random). Nobody is kept from writing meanwhile:
// what they add is not in it. Errors: kBadData when the log is not what was written (hashes,
// checkpoint), or has more topologies than a bundle holds; kLocked when somebody writes so much
// that no moment of rest is found; those of signing and of the file.
Result<ExportSummary> export_bundle(Store& store, const std::string& registry,
                                    const SigningKey& key, const ExportRequest& request,
                                    FileInTheMaking& file);

// The members of a bundle, in their order. Of those in the folders there are any number, counted
// from 1.
inline constexpr std::string_view kInfoMember = "bundle.json";
inline constexpr std::string_view kPolicyMember = "policy.json";
inline constexpr std::string_view kTopologyFolder = "topology/";
inline constexpr std::string_view kRecordsFolder = "records/";
inline constexpr std::string_view kLogFolder = "log/";
inline constexpr std::string_view kPublicKeyMember = "public-key.pem";
inline constexpr std::string_view kManifestMember = "MANIFEST";
inline constexpr std::string_view kCmsMember = "MANIFEST.p7s";
inline constexpr std::string_view kSignatureMember = "MANIFEST.sig";
// "log/000001.ndjson"
std::string numbered_member(std::string_view folder, std::uint64_t number);
// Of all topologies together: both sides hold them in memory.
inline constexpr std::size_t kMostTopologyBytes = 16U << 20U;

}  // namespace poisonctl
