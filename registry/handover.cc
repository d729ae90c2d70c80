#include "registry/handover.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "registry/claim_pieces.h"
#include "registry/fdt.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

using namespace std::string_view_literals;

constexpr std::string_view kCompatible = "poisonctl,handover\0"sv;  // a string list: one string
constexpr std::uint32_t kVersion = 1;
constexpr std::size_t kCell = 4;
// Address in two cells, number of pages in one.
constexpr std::size_t kRangeBytes = 3 * kCell;
constexpr std::size_t kKeyBytes = 32;
constexpr std::size_t kSignatureBytes = 64;
// Known ones, and as many again of a later version.
constexpr std::size_t kMostProperties = 32;
constexpr std::size_t kMostUnknownBytes = 64U << 10U;

constexpr std::string_view kHostWithoutSmbios = "host-without-smbios";
constexpr std::string_view kTopologyWithoutSmbios = "topology-without-smbios";

// The bytes of a condition and of a kind: never renumbered, never used again for something else.
constexpr std::array<std::pair<Condition, char>, 4> kConditions = {{
    {Condition::kFaulty, '\1'},
    {Condition::kSuspect, '\2'},
    {Condition::kResolved, '\3'},
    {Condition::kQuarantined, '\4'},
}};
constexpr std::array<std::pair<EventKind, char>, 6> kKinds = {{
    {EventKind::kUncorrected, '\1'},
    {EventKind::kDeferred, '\2'},
    {EventKind::kMedia, '\3'},
    {EventKind::kPoisoned, '\4'},
    {EventKind::kInjected, '\5'},
    {EventKind::kCorrected, '\6'},
}};

template <typename Table, typename Key>
std::optional<char> code_of(const Table& table, Key key) {
  for (const auto& [value, code] : table) {
    if (value == key) return code;
  }
  return std::nullopt;
}

template <typename Key, typename Table>
std::optional<Key> value_of(const Table& table, char code) {
  for (const auto& [value, known] : table) {
    if (known == code) return value;
  }
  return std::nullopt;
}

Error unusable(std::size_t index, std::string_view what) {
  return {ErrorCode::kUsage, fmt::format("range {} of a handover {}", index, what)};
}

// The three lists that have an entry a range.
struct Lists {
  std::string ranges;
  std::string conditions;
  std::string kinds;
};

Result<Lists> lists_of(const Handover& handover) {
  if (handover.ranges.size() > kMostHandoverRanges) {
    return Error{ErrorCode::kUsage, fmt::format("a handover has at most {} ranges, these are {}",
                                                kMostHandoverRanges, handover.ranges.size())};
  }
  Lists lists;
  lists.ranges.reserve(handover.ranges.size() * kRangeBytes);
  PhysAddr end;
  std::size_t index = 0;
  for (const HandoverRange& entry : handover.ranges) {
    const auto condition = code_of(kConditions, entry.condition);
    const auto kind = code_of(kKinds, entry.kind);
    const std::uint64_t pages = entry.range.frame_count(handover.page_shift);
    if (!condition || !kind) return unusable(index, "is no observation of memory");
    if (!entry.range.is_aligned(handover.page_shift)) return unusable(index, "is no whole pages");
    if (entry.range.begin() < end) return unusable(index, "overlaps the one before it");
    if (pages > std::numeric_limits<std::uint32_t>::max()) return unusable(index, "is too long");
    lists.ranges += fdt::two_cells(entry.range.begin().value());
    lists.ranges += fdt::cell(static_cast<std::uint32_t>(pages));
    lists.conditions += *condition;
    lists.kinds += *kind;
    end = entry.range.end();
    ++index;
  }
  return lists;
}

// Reads the properties of one handover, each once.
class Reader {
 public:
  Reader(std::vector<fdt::Property> properties, const std::string& shown) : shown_(shown) {
    for (fdt::Property& property : properties) {
      properties_.emplace(std::move(property.name), property.value);
    }
  }

  // The value of a property that must be there with so many bytes, and is then known.
  Result<std::string_view> take(std::string_view name, std::size_t bytes) {
    const auto found = properties_.find(name);
    if (found == properties_.end()) {
      return error(fmt::format("has no property '{}'; expected one of {} bytes", name, bytes));
    }
    const std::string_view value = found->second;
    if (value.size() != bytes) {
      return error(
          fmt::format("has a property '{}' of {} bytes; expected {}", name, value.size(), bytes));
    }
    properties_.erase(found);
    return value;
  }
  Result<std::uint64_t> take_number(std::string_view name, std::size_t bytes) {
    const auto value = take(name, bytes);
    if (!value) return value.error();
    return fdt::number(*value);
  }
  Result<Digest> take_digest(std::string_view name) {
    const auto value = take(name, Digest{}.size());
    if (!value) return value.error();
    return *digest_from(*value);
  }
  // The second one is left out where nothing is known.
  Result<MachineDigest> take_digests(std::string_view whole, std::string_view without_smbios) {
    MachineDigest digests;
    const auto first = take_digest(whole);
    if (!first) return first.error();
    digests.whole = *first;
    if (!properties_.contains(without_smbios)) return digests;
    const auto second = take_digest(without_smbios);
    if (!second) return second.error();
    digests.without_smbios = *second;
    return digests;
  }

  // What is left: properties of a later version.
  Result<std::vector<Handover::Unknown>> take_rest() {
    std::vector<Handover::Unknown> rest;
    std::size_t bytes = 0;
    for (const auto& [name, value] : properties_) {
      bytes += name.size() + value.size();
      rest.push_back({name, std::string(value)});
    }
    if (bytes > kMostUnknownBytes) {
      return error(
          fmt::format("has {} bytes of properties that this program does not know; at "
                      "most {} are kept",
                      bytes, kMostUnknownBytes));
    }
    return rest;
  }

  [[nodiscard]] Error error(std::string_view what) const {
    return {ErrorCode::kBadData, fmt::format("{}: {}", shown_, what)};
  }

 private:
  std::map<std::string, std::string_view, std::less<>> properties_;
  const std::string& shown_;
};

Result<void> check_form(Reader& reader, const std::string& shown) {
  const auto compatible = reader.take("compatible", kCompatible.size());
  if (!compatible || *compatible != kCompatible) {
    return Error{ErrorCode::kUnknownForm,
                 shown +
                     ": is a device tree, but no handover: expected compatible = "
                     "\"poisonctl,handover\""};
  }
  const auto version = reader.take_number("version", kCell);
  if (!version) return version.error();
  if (*version != kVersion) {
    return Error{ErrorCode::kUnknownForm,
                 fmt::format("{}: is a handover of version {}, this program knows {}", shown,
                             *version, kVersion)};
  }
  return {};
}

Result<void> read_ranges(Reader& reader, Handover& handover) {
  const auto count = reader.take_number("count", kCell);
  if (!count) return count.error();
  if (*count > kMostHandoverRanges) {
    return reader.error(fmt::format("says that it has {} ranges; at most {} are read", *count,
                                    kMostHandoverRanges));
  }
  const auto wanted = static_cast<std::size_t>(*count);
  const auto ranges = reader.take("ranges", wanted * kRangeBytes);
  if (!ranges) return ranges.error();
  const auto conditions = reader.take("conditions", wanted);
  if (!conditions) return conditions.error();
  const auto kinds = reader.take("kinds", wanted);
  if (!kinds) return kinds.error();
  // Not by the count that it says, but by the bytes that are there.
  handover.ranges.reserve(conditions->size());
  PhysAddr end;
  for (std::size_t i = 0; i < wanted; ++i) {
    const std::string_view entry = ranges->substr(i * kRangeBytes, kRangeBytes);
    const PhysAddr begin(fdt::number(entry.substr(0, 2 * kCell)));
    const std::uint64_t pages = fdt::number(entry.substr(2 * kCell));
    const auto range = ByteRange::from_size(begin, pages << handover.page_shift.bits());
    const auto condition = value_of<Condition>(kConditions, (*conditions)[i]);
    const auto kind = value_of<EventKind>(kKinds, (*kinds)[i]);
    if (!range || !range->is_aligned(handover.page_shift)) {
      return reader.error(fmt::format("range {} is no whole pages of the address space", i));
    }
    if (begin < end) {
      return reader.error(
          fmt::format("range {} overlaps the one before it, or is out of order", i));
    }
    if (!condition || !kind) {
      return reader.error(
          fmt::format("range {} has a condition or a kind that this program does not know", i));
    }
    handover.ranges.push_back({*range, *condition, *kind});
    end = range->end();
  }
  return {};
}

Result<Handover> read_content(Reader& reader) {
  Handover handover;
  const auto generation = reader.take_number("generation", 2 * kCell);
  if (!generation) return generation.error();
  const auto created = reader.take_number("created", 2 * kCell);
  if (!created) return created.error();
  if (*created > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return reader.error("was created after the year 2262");
  }
  const auto host = reader.take_digests("host", kHostWithoutSmbios);
  if (!host) return host.error();
  const auto topology = reader.take_digests("topology", kTopologyWithoutSmbios);
  if (!topology) return topology.error();
  const auto shift = reader.take_number("page-shift", kCell);
  if (!shift) return shift.error();
  const auto page_shift = *shift < PageShift::kMin || *shift > PageShift::kMax
                              ? std::nullopt
                              : PageShift::from_page_size(std::uint64_t{1} << *shift);
  if (!page_shift) {
    return reader.error(fmt::format("has a page shift of {}; expected {} to {}", *shift,
                                    PageShift::kMin, PageShift::kMax));
  }
  handover.generation = *generation;
  handover.created = Time(std::chrono::nanoseconds(static_cast<std::int64_t>(*created)));
  handover.host = *host;
  handover.topology = *topology;
  handover.page_shift = *page_shift;
  if (auto read = read_ranges(reader, handover); !read) return read.error();
  return handover;
}

// What is signed: all bytes of the tree, with zeros where the signature is.
std::string without_signature(std::string_view tree, std::string_view signature) {
  std::string message(tree);
  message.replace(static_cast<std::size_t>(signature.data() - tree.data()), signature.size(),
                  signature.size(), '\0');
  return message;
}

// Which of two claims on the same byte is carried.
int rank(Condition condition) {
  switch (condition) {
    case Condition::kFaulty:
      return 0;
    case Condition::kQuarantined:
      return 1;
    case Condition::kSuspect:
      return 2;
    case Condition::kResolved:
      return 3;
  }
  return 3;
}

}  // namespace

Result<std::string> write_handover(const Handover& handover, const SigningKey& key) {
  const auto lists = lists_of(handover);
  if (!lists) return lists.error();
  const std::string version = fdt::cell(kVersion);
  const std::string generation = fdt::two_cells(handover.generation);
  const std::string created =
      fdt::two_cells(static_cast<std::uint64_t>(handover.created.time_since_epoch().count()));
  const std::string shift = fdt::cell(handover.page_shift.bits());
  const std::string count = fdt::cell(static_cast<std::uint32_t>(handover.ranges.size()));
  const std::string no_signature(kSignatureBytes, '\0');
  std::vector<fdt::Property> properties = {{"compatible", kCompatible},
                                           {"version", version},
                                           {"generation", generation},
                                           {"created", created},
                                           {"host", as_bytes(handover.host.whole)},
                                           {"topology", as_bytes(handover.topology.whole)},
                                           {"page-shift", shift},
                                           {"count", count},
                                           {"ranges", lists->ranges},
                                           {"conditions", lists->conditions},
                                           {"kinds", lists->kinds}};
  for (const auto& [name, digest] : {std::pair(kHostWithoutSmbios, &handover.host.without_smbios),
                                     {kTopologyWithoutSmbios, &handover.topology.without_smbios}}) {
    if (*digest != Digest{}) properties.push_back({std::string(name), as_bytes(*digest)});
  }
  for (const Handover::Unknown& unknown : handover.unknown) {
    properties.push_back({unknown.name, unknown.value});
  }
  properties.push_back({"public-key", key.public_key()});
  properties.push_back({"signature", no_signature});
  auto blob = fdt::write(properties);
  if (!blob) return blob;
  const auto tree = fdt::Tree::parse(*blob, kMostHandoverBytes, "the new handover");
  if (!tree) return tree.error();
  const auto written = tree->root_properties(kMostProperties, "the new handover");
  if (!written) return written.error();
  const auto signature = key.sign(tree->bytes());
  if (!signature) return signature.error();
  const std::string_view place = written->back().value;
  blob->replace(static_cast<std::size_t>(place.data() - tree->bytes().data()), place.size(),
                *signature);
  return blob;
}

Result<SignedHandover> read_handover(std::string_view blob, const std::string& shown) {
  const auto tree = fdt::Tree::parse(blob, kMostHandoverBytes, shown);
  if (!tree) return tree.error();
  auto properties = tree->root_properties(kMostProperties, shown);
  if (!properties) return properties.error();
  Reader reader(*std::move(properties), shown);
  if (auto ok = check_form(reader, shown); !ok) return ok.error();
  const auto public_key = reader.take("public-key", kKeyBytes);
  if (!public_key) return public_key.error();
  const auto signature = reader.take("signature", kSignatureBytes);
  if (!signature) return signature.error();
  auto content = read_content(reader);
  if (!content) return content.error();
  auto unknown = reader.take_rest();
  if (!unknown) return unknown.error();
  content->unknown = *std::move(unknown);
  return SignedHandover{.content = *std::move(content),
                        .public_key = std::string(*public_key),
                        .signature_fits = is_signed_by(
                            *public_key, without_signature(tree->bytes(), *signature), *signature)};
}

namespace {

// Each with as many pages as an entry can say.
std::vector<HandoverRange> split_long_ones(const std::vector<HandoverRange>& ranges,
                                           PageShift shift) {
  const std::uint64_t most = std::uint64_t{std::numeric_limits<std::uint32_t>::max()}
                             << shift.bits();
  std::vector<HandoverRange> split;
  split.reserve(ranges.size());
  for (const HandoverRange& entry : ranges) {
    for (std::uint64_t at = 0; at < entry.range.size(); at += most) {
      HandoverRange part = entry;
      part.range = *ByteRange::from_size(PhysAddr(entry.range.begin().value() + at),
                                         std::min(most, entry.range.size() - at));
      split.push_back(part);
    }
  }
  return split;
}

// A claim that nobody acts on keeps no list from being made: what there is no room for is left out.
HandoverRanges those_with_room(std::vector<HandoverRange> ranges) {
  const auto is_faulty = [](const HandoverRange& entry) {
    return entry.condition == Condition::kFaulty;
  };
  const auto faulty =
      static_cast<std::size_t>(std::count_if(ranges.begin(), ranges.end(), is_faulty));
  std::size_t room = kMostHandoverRanges - std::min(faulty, kMostHandoverRanges);
  const std::size_t all = ranges.size();
  std::erase_if(ranges, [&](const HandoverRange& entry) {
    if (is_faulty(entry)) return false;
    if (room == 0) return true;
    --room;
    return false;
  });
  const std::size_t kept = ranges.size();
  return {std::move(ranges), all - kept};
}

}  // namespace

HandoverRanges handover_ranges(std::span<const Claim> claims, const RetireList& list) {
  std::vector<const Claim*> all;
  std::vector<const Claim*> faulty;
  for (const Claim& claim : claims) {
    (claim.condition == Condition::kFaulty ? faulty : all).push_back(&claim);
  }
  const auto order = [](const Claim& a, const Claim& b) {
    if (a.condition != b.condition) return rank(a.condition) < rank(b.condition);
    return is_worse(a, b);
  };
  const auto listed = pieces_within(disjoint_pieces(faulty, list.page_shift, order), list.frames);
  // The others only where the list has nothing.
  std::vector<ByteRange> others;
  for (const Claim* claim : all) others.push_back(claim->range.widened_to(list.page_shift));
  const auto rest = pieces_within(disjoint_pieces(all, list.page_shift, order),
                                  RangeSet::from_ranges(std::move(others)).minus(list.frames));
  std::vector<HandoverRange> ranges;
  ranges.reserve(listed.size() + rest.size());
  for (const auto* pieces : {&listed, &rest}) {
    for (const ClaimPiece& piece : *pieces) {
      ranges.push_back({piece.range, piece.claim->condition, piece.claim->kind});
    }
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const HandoverRange& a, const HandoverRange& b) { return a.range < b.range; });
  // Neighbours that say the same are one.
  std::size_t kept = 0;
  for (const HandoverRange& next : ranges) {
    HandoverRange* const last = kept == 0 ? nullptr : &ranges[kept - 1];
    if (last != nullptr && last->range.end() == next.range.begin() &&
        last->condition == next.condition && last->kind == next.kind) {
      last->range = *ByteRange::from_last(last->range.begin(), next.range.last());
    } else {
      ranges[kept++] = next;
    }
  }
  ranges.erase(ranges.begin() + static_cast<std::ptrdiff_t>(kept), ranges.end());
  return those_with_room(split_long_ones(ranges, list.page_shift));
}

std::vector<Claim> claims_in(const Handover& handover) {
  std::vector<Claim> claims;
  claims.reserve(handover.ranges.size());
  for (const HandoverRange& entry : handover.ranges) {
    claims.push_back({.range = entry.range,
                      .granularity = handover.page_shift.page_size(),
                      .condition = entry.condition,
                      .kind = entry.kind,
                      .last_seen = handover.created});
  }
  return claims;
}

}  // namespace poisonctl
