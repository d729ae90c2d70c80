// Mutations of valid, signed bundles through the check. Not one may be found good that is not, to
// the byte, what was signed.
//
//     poisonctl_bundle_mutations COUNT [SEED]
//
// Prints how many of which kind were tried. First bytes of the file; then lines and members, by
// somebody who can write a tar file, and a manifest that fits, and can sign with a key of his own;
// and last lines of the log by somebody who has the key itself and forgets the chain.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "registry/audit/bundle.h"
#include "registry/audit/bundle_check.h"
#include "registry/audit/ustar.h"
#include "registry/store.h"
#include "tests/fuzz/fuzz_check.h"
#include "tests/throwaway_key.h"

using namespace poisonctl;

namespace {

using Random = std::mt19937_64;
using Members = std::vector<TarMember>;

std::string read_whole(const std::string& path) {
  const auto text = read_named_file(path, 64U << 20U);
  fuzz_check(text.ok(), "the bundle can be read");
  return *text;
}

Event some_event(std::uint64_t number) {
  Event event;
  constexpr std::array<EventKind, 4> kKinds = {EventKind::kUncorrected, EventKind::kCorrected,
                                               EventKind::kPoisoned, EventKind::kMedia};
  event.kind = kKinds.at(number % kKinds.size());
  event.range = ByteRange::from_size(PhysAddr(0x1000 * (1 + number * 7)), 0x1000);
  event.count = 1 + number % 3;
  event.label = number % 2 == 0 ? "DIMM_A1" : "DIMM_B1";
  event.evidence = number % 5 == 0 ? "seen on host-7 with \"quotes\"\n\xe2\x80\xae" : "flags";
  return event;
}

Provenance provenance(std::uint64_t number) {
  Provenance by;
  by.time = Time(std::chrono::seconds(1'700'000'000 + 100 * number));
  by.monotonic_ns = 1'000'000'000 + 100'000'000'000 * number;
  by.source = number % 3 == 2 ? "csv" : "operator";
  by.origin = number % 3 == 2 ? "errors.csv" : "";
  by.tool = "poisonctl test";
  by.boot_id = "11111111-2222-3333-4444-555555555555";
  by.kernel_release = "6.1.0";
  by.host_id = "0123456789abcdef0123456789abcdef";
  by.topology = "poisonctl-topology-v1\npage-size\t4096\nsystem\tu-u-i-d\tserial-1\n";
  return by;
}

void fill(Store& store) {
  for (std::uint64_t number = 0; number < 6; ++number) {
    auto import = store.begin_import(provenance(number), Store::Repeats::kCount);
    fuzz_check(import.ok(), "an import begins");
    for (std::uint64_t i = 0; i < 1 + number % 3; ++i) {
      fuzz_check(import->add(some_event(number * 3 + i)).ok(), "an event is added");
    }
    fuzz_check(import->commit().ok(), "an import is committed");
  }
}

// A whole one, one with a filter, one without the host.
std::vector<std::string> good_bundles(const SigningKey& key) {
  std::string folder = std::filesystem::temp_directory_path() / "poisonctl-bundle-XXXXXX";
  fuzz_check(::mkdtemp(folder.data()) != nullptr, "a folder can be made");
  const std::string registry = folder + "/registry.db";
  std::vector<std::string> bundles;
  {
    auto store = Store::open(registry, Store::Mode::kCreate);
    fuzz_check(store.ok(), "a registry is made");
    fill(*store);
    ExportRequest whole;
    whole.tool = "poisonctl test";
    ExportRequest filtered = whole;
    filtered.filter.dimm = "DIMM_A1";
    ExportRequest redacted = whole;
    redacted.redact = true;
    for (const ExportRequest* request : {&whole, &filtered, &redacted}) {
      auto file = FileInTheMaking::begin(folder + "/bundle");
      fuzz_check(
          file && export_bundle(*store, registry, key, *request, *file) && file->commit(0600),
          "a bundle is made");
      bundles.push_back(read_whole(folder + "/bundle"));
    }
  }
  std::filesystem::remove_all(folder);
  return bundles;
}

Members members_of(const std::string& bundle) {
  TextStream stream(bundle, "bundle");
  TarReader reader(stream);
  Members members;
  for (;;) {
    auto member = reader.next();
    fuzz_check(member.ok(), "a good bundle is a tar file");
    if (!*member) return members;
    members.push_back(*std::move(*member));
  }
}

std::string tar_of(const Members& members) {
  std::string text;
  for (const TarMember& member : members) {
    text += tar_header(member.name, member.content.size()) + member.content +
            tar_padding(member.content.size());
  }
  return text + tar_end();
}

TarMember* find(Members& members, std::string_view name) {
  const auto found = std::find_if(members.begin(), members.end(),
                                  [&](const TarMember& member) { return member.name == name; });
  return found == members.end() ? nullptr : &*found;
}

// The manifest as it has to be for what is there now, and its signature.
void seal(Members& members, const SigningKey* key) {
  std::string manifest;
  Hasher hasher;
  for (const TarMember& member : members) {
    if (member.name.starts_with("MANIFEST")) continue;
    manifest += to_hex_text(as_bytes(hasher.digest(member.content))) + "  " + member.name + "\n";
  }
  if (TarMember* const member = find(members, kManifestMember)) member->content = manifest;
  TarMember* const signature = find(members, kSignatureMember);
  if (key != nullptr && signature != nullptr) signature->content = key->sign(manifest).value();
}

std::string mutate_bytes(std::string bundle, const std::string& other, Random& random) {
  const std::size_t at = random() % bundle.size();
  switch (random() % 8) {
    case 0:
      bundle.resize(at);
      break;
    case 1:
      bundle.insert(at, 1 + random() % 600, static_cast<char>(random()));
      break;
    case 2:
      bundle.erase(at, 1 + random() % 600);
      break;
    case 3: {
      const std::size_t from = random() % other.size();
      bundle.replace(at, std::min<std::size_t>(64, bundle.size() - at), other.substr(from, 64));
      break;
    }
    default:
      bundle[at] = static_cast<char>(static_cast<unsigned char>(bundle[at]) ^ 1U << random() % 8);
  }
  return bundle;
}

std::vector<std::string> lines_of(const std::string& content) {
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < content.size();) {
    const std::size_t end = std::min(content.find('\n', at), content.size() - 1);
    lines.push_back(content.substr(at, end - at + 1));
    at = end + 1;
  }
  return lines;
}

// Drops, repeats or moves a line, or changes a number or a letter in one: an address, a time.
void mutate_lines(std::string& content, Random& random) {
  std::vector<std::string> lines = lines_of(content);
  if (lines.empty()) return;
  const std::size_t at = random() % lines.size();
  switch (random() % 6) {
    case 0:
      lines.erase(lines.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 1:
      lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(at), lines[random() % lines.size()]);
      break;
    case 2:
      std::swap(lines[at], lines[random() % lines.size()]);
      break;
    case 3: {
      // The clock.
      const std::size_t time = lines[at].find("\"time\":\"20");
      if (time != std::string::npos) lines[at][time + 9 + random() % 18] ^= 1;
      break;
    }
    default: {
      std::string& line = lines[at];
      const std::size_t digit = line.find_first_of("0123456789abcdef", random() % line.size());
      if (digit != std::string::npos) line[digit] = "0123456789abcdef"[random() % 16];
    }
  }
  content.clear();
  for (const std::string& line : lines) content += line;
}

// Any member but the manifest and its signatures, which mutate_bytes changes.
void mutate_members(Members& members, const Members& other, Random& random) {
  const std::size_t at = random() % members.size();
  switch (random() % 6) {
    case 0:
      members.erase(members.begin() + static_cast<std::ptrdiff_t>(at));
      break;
    case 1:
      std::swap(members[at], members[random() % members.size()]);
      break;
    case 2:
      members[at].content = other[random() % other.size()].content;
      break;
    case 3:
      members.insert(members.begin() + static_cast<std::ptrdiff_t>(at),
                     other[random() % other.size()]);
      break;
    default:
      mutate_lines(members[at].content, random);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: %s COUNT [SEED]\n", argv[0]);
    return 64;
  }
  const std::uint64_t count = std::strtoull(argv[1], nullptr, 10);
  Random random(argc == 3 ? std::strtoull(argv[2], nullptr, 10) : 1);
  const SigningKey key = throwaway_key();
  const SigningKey another = throwaway_key();
  const BundleTrust trust{.keys = {key.public_key()}, .ca_pem = {}};
  const std::vector<std::string> good = good_bundles(key);
  for (const std::string& bundle : good) {
    TextStream stream(bundle, "bundle");
    const auto report = check_bundle(stream, trust);
    fuzz_check(report && report->findings.empty() && report->notes.empty(), "a good one is good");
  }

  std::map<std::string, std::uint64_t> refused;
  std::uint64_t unchanged = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string& from = good[random() % good.size()];
    const std::string& other = good[random() % good.size()];
    std::string bundle;
    const char* kind = nullptr;
    switch (i % 4) {
      case 0:
        kind = "bytes of the file";
        bundle = mutate_bytes(from, other, random);
        break;
      case 1: {
        kind = "members, with a manifest that fits";
        Members members = members_of(from);
        mutate_members(members, members_of(other), random);
        if (random() % 2 == 0) seal(members, nullptr);
        bundle = tar_of(members);
        break;
      }
      case 2: {
        kind = "members, signed by somebody else";
        Members members = members_of(from);
        mutate_members(members, members_of(other), random);
        seal(members, &another);
        bundle = tar_of(members);
        break;
      }
      default: {
        kind = "lines of the log, signed with the key itself";
        Members members = members_of(good.front());
        mutate_lines(find(members, "log/000001.ndjson")->content, random);
        seal(members, &key);
        bundle = tar_of(members);
      }
    }
    if (std::find(good.begin(), good.end(), bundle) != good.end()) {
      ++unchanged;
      continue;
    }
    TextStream stream(bundle, "mutation");
    const auto report = check_bundle(stream, trust);
    fuzz_check(!report || !report->findings.empty(), "what was changed is not found good");
    const auto messages =
        report ? report->findings : std::vector<std::string>{report.error().message};
    for (const std::string& message : messages) fuzz_check_shown(message);
    ++refused[kind];
  }
  for (const auto& [kind, times] : refused) {
    std::printf("%8llu refused: %s\n", static_cast<unsigned long long>(times), kind.c_str());
  }
  std::printf("%8llu came out as they were\n", static_cast<unsigned long long>(unchanged));
  fuzz_check(count < 1000 || (refused.size() == 4 && unchanged < count / 4),
             "every kind was tried");
  return 0;
}
