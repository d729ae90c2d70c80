// Random mutations of valid, signed handovers through the parser and the signature. Not one may
// crash, and not one may be believed that is not, to the byte, what was signed.
//
//     poisonctl_handover_mutations COUNT [SEED]
//
// Prints how many went how far. ctest runs a small number; 10,000,000 is for a build with
// sanitizers (README.md).
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "registry/handover.h"
#include "registry/trust.h"
#include "tests/fuzz/fuzz_check.h"
#include "tests/throwaway_key.h"

using namespace poisonctl;

namespace {

Handover handover_with(std::size_t ranges, std::mt19937_64& random) {
  Handover handover;
  handover.generation = random();
  handover.created = Time(std::chrono::nanoseconds(static_cast<std::int64_t>(random() >> 2U)));
  handover.host.whole.fill(1);
  handover.host.without_smbios.fill(3);
  handover.topology.whole.fill(2);
  handover.topology.without_smbios.fill(4);
  std::uint64_t frame = 1;
  for (std::size_t i = 0; i < ranges; ++i) {
    frame += 1 + random() % 1000;
    const std::uint64_t pages = 1 + random() % 4;
    handover.ranges.push_back({*ByteRange::from_frames(Pfn(frame), pages, handover.page_shift),
                               random() % 2 == 0 ? Condition::kFaulty : Condition::kSuspect,
                               EventKind::kUncorrected});
    frame += pages;
  }
  if (ranges % 2 == 1) handover.unknown.push_back({"poisonctl,later", "something"});
  return handover;
}

// One to four changes of any kind: a bit, a byte, a word that means something, a cut, bytes moved
// from elsewhere in the same or another handover.
std::string mutated(const std::string& from, const std::string& other, std::mt19937_64& random) {
  constexpr std::array<std::uint32_t, 8> kWords = {0,          1,          0xffffffff, 0x7fffffff,
                                                   0x80000000, 0xd00dfeed, 3,          0x00010000};
  std::string blob = from;
  for (std::uint64_t changes = 1 + random() % 4; changes != 0 && !blob.empty(); --changes) {
    const std::size_t at = random() % blob.size();
    switch (random() % 8) {
      case 0:
      case 1:
      case 2:
        blob[at] = static_cast<char>(static_cast<unsigned char>(blob[at]) ^ 1U << random() % 8);
        break;
      case 3:
        blob[at] = static_cast<char>(random());
        break;
      case 4: {
        std::uint32_t word = kWords.at(random() % kWords.size());
        for (std::size_t i = 4; i-- > 0; word >>= 8U) {
          const std::size_t place = at / 4 * 4 + i;
          if (place < blob.size()) blob[place] = static_cast<char>(word & 0xFFU);
        }
        break;
      }
      case 5:
        if (random() % 8 == 0) blob.resize(at);
        break;
      case 6: {
        const std::size_t source = random() % other.size();
        const std::size_t size = 1 + random() % 64;
        blob.replace(at, std::min(size, blob.size() - at), other.substr(source, size));
        break;
      }
      default:
        blob.insert(at, random() % 8, static_cast<char>(random()));
    }
  }
  return blob;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: %s COUNT [SEED]\n", argv[0]);
    return 64;
  }
  const std::uint64_t count = std::strtoull(argv[1], nullptr, 10);
  std::mt19937_64 random(argc == 3 ? std::strtoull(argv[2], nullptr, 10) : 1);
  const SigningKey key = throwaway_key();

  std::vector<std::string> good;
  for (const std::size_t ranges : {0U, 1U, 2U, 5U, 40U}) {
    good.push_back(write_handover(handover_with(ranges, random), key).value());
  }
  const Handover here = handover_with(0, random);
  const TrustContext context{
      .keys = {key.public_key()}, .host = here.host, .topology = here.topology};

  std::uint64_t unreadable = 0;
  std::uint64_t refused = 0;
  std::uint64_t unchanged = 0;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::string& from = good[random() % good.size()];
    const std::string blob = mutated(from, good[random() % good.size()], random);
    const auto handover = read_handover(blob, "mutation");
    if (!handover) {
      ++unreadable;
      continue;
    }
    const TrustDecision decision = judge_handover(*handover, context);
    if (decision.trust == Trust::kRefuse) {
      fuzz_check(believed_claims(*handover, decision).empty(), "nothing of it is believed");
      ++refused;
      continue;
    }
    // Changes that undid one another, or bytes after the end.
    fuzz_check(std::any_of(good.begin(), good.end(),
                           [&](const std::string& one) { return blob.starts_with(one); }),
               "what is believed is what was signed");
    ++unchanged;
  }
  std::printf("%llu mutations: %llu unreadable, %llu refused, %llu as they were signed\n",
              static_cast<unsigned long long>(count), static_cast<unsigned long long>(unreadable),
              static_cast<unsigned long long>(refused), static_cast<unsigned long long>(unchanged));
  // Both walls were reached: else this tests less than it says.
  fuzz_check(count < 1000 || (unreadable != 0 && refused != 0), "both walls were reached");
  return 0;
}
