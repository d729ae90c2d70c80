#include "registry/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "registry/text.h"

namespace poisonctl {

namespace {

enum RuleIndex : std::size_t {
  kQuarantinedRange,
  kInjectedByTest,
  kBeyondMachine,
  kPartialFrame,
  kEfiRuntime,
  kDeviceTree,
  kFirmwareReserved,
  kDeviceMemory,
  kHole,
  kOutsideRam,
  kPartlyOutside,
  kFirstMib,
  kKernelImage,
  kCrashKernel,
  kInitrd,
  kKhoScratch,
  kOfflineBlock,
  kPageSize,
  kNotExact,
  kDuplicate,
  kOverlap,
  kHugePages,
  kPastBound,
  kHardLimit,
  kSourcesDisagree,
  kRuleCount,
};

// The order of those that refuse is that in which a byte gets its reason. kPartlyOutside refuses
// nothing itself: the part that is outside has a finding of its own.
constexpr std::array<Rule, kRuleCount> kRules = {{
    {"quarantined", FindingSeverity::kWarning, true,
     "was seen when other memory answered there, or we cannot tell that it did not",
     "it is kept and not acted on, and comes back when that memory does; 'poisonctl topology diff' "
     "says what changed, 'poisonctl resolve --as replaced' ends it"},
    {"injected", FindingSeverity::kNote, true,
     "was put there by a test, which is no fault of the hardware",
     "it is kept and not acted on; --include-injected acts on it, 'poisonctl resolve' ends it"},
    {"beyond-machine", FindingSeverity::kError, true, "lies above everything this machine has",
     "the memory was removed, or the record is of another machine"},
    {"partial-frame", FindingSeverity::kNote, true,
     "is a frame that is RAM only in part, which no kernel uses", "nothing needs to be done"},
    {"efi-runtime", FindingSeverity::kError, true,
     "is used by EFI runtime services, which run beside the kernel and keep it whatever any list "
     "says",
     "have the memory replaced, or boot with efi=noruntime"},
    {"device-tree", FindingSeverity::kError, true,
     "is reserved for a driver by the device tree, so the driver keeps it whatever any list says",
     "move the node of /reserved-memory that has it"},
    {"firmware-reserved", FindingSeverity::kNote, true,
     "is kept by the firmware, so no kernel hands it out", "nothing needs to be done"},
    {"device-memory", FindingSeverity::kWarning, true,
     "is device memory (persistent, DAX or CXL) and not System RAM now",
     "its driver has a list of bad blocks, which 'ndctl list --media-errors' or 'cxl list "
     "--media-errors' shows and 'ndctl clear-errors' ends; made RAM (daxctl reconfigure-device, or "
     "booted without memmap=SIZE!ADDRESS), it is retired when it comes online"},
    {"hole", FindingSeverity::kError, true, "is a hole: the memory map has nothing there",
     "see where the record came from with 'poisonctl show'"},
    {"outside-ram", FindingSeverity::kError, true, "is not RAM of this machine but of a device",
     "see where the record came from with 'poisonctl show'"},
    {"partly-outside", FindingSeverity::kWarning, false, "is only partly RAM of this machine",
     "the part that is RAM is kept out, the rest is refused"},
    {"first-mib", FindingSeverity::kNote, false,
     "lies in the first MiB, where x86 kernels keep the code that starts CPUs "
     "(arch/x86/realmode/init.c)",
     "kernels from 5.13 on hand none of it out; older ones need it on the list"},
    {"kernel-image", FindingSeverity::kWarning, false,
     "is part of the running kernel's code or data; a kernel that is loaded at the same place "
     "takes it again whatever the memory map says (e820_add_kernel_range)",
     "load it elsewhere: KASLR, or kexec"},
    {"crash-kernel", FindingSeverity::kWarning, false,
     "lies in the area of the crash kernel, which uses it without looking at any list",
     "move the area: crashkernel=SIZE@OFFSET"},
    {"initrd", FindingSeverity::kWarning, false,
     "held the initrd of this boot; whoever loaded it there looks at no list and may do it again",
     "change the size of the initrd or the loader's settings, so that it lands elsewhere"},
    {"kho-scratch", FindingSeverity::kWarning, false,
     "lies in a scratch area of KHO: in a kernel that is reached by kexec with handover, memmap= "
     "is void there (mm/memblock.c gives the area to the kernel first)",
     "retire it again after each such kexec, as early as possible; or boot cold"},
    {"offline-block", FindingSeverity::kWarning, false,
     "is in a memory block that is offline, where this kernel cannot retire it (it answers ENXIO)",
     "retire it when the block comes online: the kernel keeps no memory of poison for it"},
    {"page-size", FindingSeverity::kNote, false, "was recorded on a kernel with smaller pages",
     "nothing needs to be done: whole pages of this kernel are kept out"},
    {"not-exact", FindingSeverity::kWarning, false,
     "is a huge page of which one or more frames are bad, and the kernel does not tell which",
     "all of it is kept out"},
    {"duplicate", FindingSeverity::kNote, false, "takes the very same frames as another record",
     "nothing needs to be done: they are kept out once"},
    {"overlap", FindingSeverity::kNote, false, "shares frames with another record",
     "nothing needs to be done: they are kept out once"},
    {"huge-pages", FindingSeverity::kWarning, false,
     "is on the list, and the hugetlb pool can use no page that holds a frame of it",
     "leave room for that when the pool is sized"},
    {"past-bound", FindingSeverity::kWarning, true,
     "is more than the list may take, and what is worse went first",
     "so much bad memory wants replacing; --bounds raises the bounds until then"},
    {"hard-limit", FindingSeverity::kError, true,
     "belongs to a list that would take so much memory that it is taken for an attack or a mistake",
     "nothing of it is acted on; 'poisonctl list' shows where it came from"},
    {"sources-disagree", FindingSeverity::kWarning, false,
     "lies a power of two away from another record, and no source knows both: one of them may have "
     "decoded the address wrongly (one bit, or the wrong way of an interleave)",
     "both are kept; find out which is right before hardware is replaced"},
}};

// Ended, or about memory that is not here: of no interest to the others.
bool is_active(Condition condition) {
  return condition == Condition::kFaulty || condition == Condition::kSuspect;
}

// Only sets with something in them are looked at for every claim.
struct Place {
  RuleIndex rule;
  RangeSet where;
};

RangeSet everything_mapped(const MemoryMap& map) {
  std::vector<ByteRange> ranges;
  for (const Resource& resource : map.resources()) ranges.push_back(resource.range);
  for (const FirmwareEntry& entry : map.firmware()) ranges.push_back(entry.range);
  return RangeSet::from_ranges(std::move(ranges));
}

RangeSet first_mib() {
  constexpr std::uint64_t kMib = 1U << 20U;
  return RangeSet::from_ranges({*ByteRange::from_size(PhysAddr(0), kMib)});
}

RangeSet above(PhysAddr end) {
  const auto range = ByteRange::from_last(end, PhysAddr(kPhysAddrLimit - 1));
  return range ? RangeSet::from_ranges({*range}) : RangeSet();
}

// Answers "is it all in the set?" for ranges in ascending order in constant time each, and for
// others too, only slower.
class Cursor {
 public:
  explicit Cursor(const RangeSet& set) : ranges_(set.ranges()) {}

  // The first range of the set that ends after `begin`, or null.
  const ByteRange* at(PhysAddr begin) {
    if (next_ != 0 && begin < ranges_[next_ - 1].end()) next_ = 0;
    if (next_ < ranges_.size() && ranges_[next_].end() <= begin) {
      const auto ends_after = [](PhysAddr wanted, const ByteRange& range) {
        return wanted < range.end();
      };
      // Neighbours first: claims come in the order of their addresses.
      ++next_;
      if (next_ < ranges_.size() && ranges_[next_].end() <= begin) {
        const auto from = ranges_.begin() + static_cast<std::ptrdiff_t>(next_);
        next_ = static_cast<std::size_t>(std::upper_bound(from, ranges_.end(), begin, ends_after) -
                                         ranges_.begin());
      }
    }
    return next_ < ranges_.size() ? &ranges_[next_] : nullptr;
  }
  bool contains(const ByteRange& range) {
    const ByteRange* const found = at(range.begin());
    return found != nullptr && found->contains(range);
  }
  bool overlaps(const ByteRange& range) {
    const ByteRange* const found = at(range.begin());
    return found != nullptr && found->overlaps(range);
  }

 private:
  const std::vector<ByteRange>& ranges_;
  std::size_t next_ = 0;
};

// Sorts the bytes of one range into findings and, for faulty claims, refusals.
class Checker {
 public:
  Checker(const CheckedMachine& machine, const CheckOptions& options)
      : shift_(machine.shift), options_(options), hugetlb_page_(machine.placement.hugetlb_page) {
    const MemoryMap& map = machine.map;
    const Placement& placement = machine.placement;
    const RangeSet ram = map.installed_ram();
    // The firmware's RAM that memmap=SIZE!ADDRESS made persistent memory is none for the kernel,
    // and for the next with the same option none either: of two types for a range the higher number
    // wins, which is PRAM (arch/x86/kernel/e820.c, e820__update_table).
    whole_ram_ = ram.narrowed_to(shift_)
                     .minus(map.device_memory().widened_to(shift_))
                     .minus(placement.efi_runtime.widened_to(shift_))
                     .minus(placement.device_tree.widened_to(shift_));
    // Outside RAM, each byte has the reason of the first that it is in.
    add(refusing_, kBeyondMachine, above(map.end()));
    add(refusing_, kPartialFrame, ram.widened_to(shift_).minus(ram.narrowed_to(shift_)));
    add(refusing_, kEfiRuntime, placement.efi_runtime.widened_to(shift_));
    add(refusing_, kDeviceTree, placement.device_tree.widened_to(shift_));
    add(refusing_, kFirmwareReserved, map.firmware_reserved());
    add(refusing_, kDeviceMemory, map.device_memory());
    add(refusing_, kHole,
        RangeSet::from_ranges({*ByteRange::from_last(PhysAddr(0), PhysAddr(kPhysAddrLimit - 1))})
            .minus(everything_mapped(map).widened_to(shift_)));
    if (placement.keeps_first_mib) add(remarkable_, kFirstMib, first_mib());
    add(remarkable_, kKernelImage, map.kernel_image());
    add(remarkable_, kCrashKernel, map.crash_kernel());
    add(remarkable_, kInitrd, placement.initrd);
    add(remarkable_, kKhoScratch, placement.kho_scratch);
    add(remarkable_, kOfflineBlock, placement.offline_blocks);
    for (const Place& place : remarkable_)
      any_remarkable_ = any_remarkable_.united_with(place.where);
  }

  void check(std::span<const Claim> claims) {
    accepted_.reserve(claims.size());
    Cursor ram(whole_ram_);
    Cursor remarkable(any_remarkable_);
    for (const Claim& claim : claims) {
      if (claim.condition == Condition::kResolved) continue;
      const ByteRange frames = claim.range.widened_to(shift_);
      const bool faulty = claim.condition == Condition::kFaulty;
      if (claim.condition == Condition::kQuarantined) {
        findings_.push_back({&kRules.at(kQuarantinedRange), frames, std::nullopt,
                             std::string(claim.quarantine_reason)});
        refused_.at(kQuarantinedRange).push_back(frames);
        continue;
      }
      if (claim.kind == EventKind::kInjected && !options_.include_injected) {
        refuse(kInjectedByTest, frames, faulty);
      } else if (ram.contains(frames)) {
        // Nearly every claim is one frame of RAM, and takes no set algebra.
        if (faulty) accepted_.push_back(frames);
      } else {
        check_part_outside(frames, faulty);
      }
      if (remarkable.overlaps(frames)) remark(frames);
      if (frames != claim.range) find(kPageSize, frames);
      if (claim.granularity > shift_.page_size()) find(kNotExact, frames);
    }
    find_repetitions(claims);
  }

  CheckResult finish() {
    CheckResult result;
    result.findings = std::move(findings_);
    // Claims may overlap; each refused byte is named once, by the first reason in rule order. What
    // another claim says with better reason is kept out.
    result.accepted = RangeSet::from_ranges(std::move(accepted_));
    const bool nothing_refused = std::all_of(refused_.begin(), refused_.end(),
                                             [](const auto& ranges) { return ranges.empty(); });
    RangeSet named = nothing_refused ? RangeSet() : result.accepted;
    for (std::size_t rule = 0; rule < kRuleCount; ++rule) {
      if (refused_.at(rule).empty()) continue;
      const RangeSet all = RangeSet::from_ranges(std::move(refused_.at(rule)));
      const RangeSet rest = all.minus(named);
      for (const ByteRange& range : rest.ranges()) {
        result.refused.push_back({range, reason_of({&kRules.at(rule), range})});
      }
      named = named.united_with(all);
    }
    std::sort(result.refused.begin(), result.refused.end(),
              [](const auto& a, const auto& b) { return a.range < b.range; });
    find_huge_pages(result.accepted, result.findings);
    return result;
  }

 private:
  static void add(std::vector<Place>& places, RuleIndex rule, RangeSet where) {
    if (!where.empty()) places.push_back({rule, std::move(where)});
  }

  void remark(const ByteRange& frames) {
    for (const Place& place : remarkable_) {
      if (place.where.overlaps(frames)) find(place.rule, frames);
    }
  }

  // `frames` is not all RAM: takes what is, and sorts out the rest.
  void check_part_outside(const ByteRange& frames, bool faulty) {
    const RangeSet in_ram = whole_ram_.within(frames);
    const RangeSet outside = RangeSet::from_ranges({frames}).minus(in_ram);
    for (const ByteRange& part : outside.ranges()) sort_out(part, faulty);
    if (!in_ram.empty()) find(kPartlyOutside, frames);
    if (faulty) accepted_.insert(accepted_.end(), in_ram.ranges().begin(), in_ram.ranges().end());
  }

  // `part` is not RAM: says which kind of not-RAM each of its bytes is.
  void sort_out(const ByteRange& part, bool faulty) {
    RangeSet rest = RangeSet::from_ranges({part});
    for (const Place& place : refusing_) {
      const RangeSet taken = rest.intersected_with(place.where.within(part));
      for (const ByteRange& range : taken.ranges()) refuse(place.rule, range, faulty);
      rest = rest.minus(taken);
    }
    for (const ByteRange& range : rest.ranges()) refuse(kOutsideRam, range, faulty);
  }

  // Claims that share frames with one before them. In the order of their ranges, the claim that
  // reaches furthest is the only one that has to be remembered.
  void find_repetitions(std::span<const Claim> claims) {
    std::vector<ByteRange> sorted;
    sorted.reserve(claims.size());
    for (const Claim& claim : claims) {
      if (is_active(claim.condition)) sorted.push_back(claim.range.widened_to(shift_));
    }
    if (!std::is_sorted(sorted.begin(), sorted.end())) std::sort(sorted.begin(), sorted.end());
    std::optional<ByteRange> furthest;
    const ByteRange* before = nullptr;
    for (const ByteRange& frames : sorted) {
      if (before != nullptr && *before == frames) {
        findings_.push_back({&kRules.at(kDuplicate), frames, *before});
      } else if (furthest && furthest->overlaps(frames)) {
        findings_.push_back({&kRules.at(kOverlap), frames, *furthest});
      }
      if (!furthest || furthest->end() < frames.end()) furthest = frames;
      before = &frames;
    }
  }

  // How many huge pages hold a frame of the list, and how much healthy memory falls with them.
  void find_huge_pages(const RangeSet& accepted, std::vector<Finding>& findings) const {
    if (accepted.empty() || hugetlb_page_ <= shift_.page_size()) return;
    std::uint64_t pages = 0;
    std::uint64_t next = 0;  // the first huge page that is not counted yet
    for (const ByteRange& range : accepted.ranges()) {
      const std::uint64_t first = std::max(range.begin().value() / hugetlb_page_, next);
      const std::uint64_t last = range.last().value() / hugetlb_page_;
      if (last + 1 <= first) continue;
      pages += last + 1 - first;
      next = last + 1;
    }
    const std::uint64_t healthy = pages * hugetlb_page_ - accepted.bytes();
    const auto all =
        ByteRange::from_last(accepted.ranges().front().begin(), accepted.ranges().back().last());
    findings.push_back({&kRules.at(kHugePages), *all, std::nullopt,
                        fmt::format("{} pages of {}, and with them {} of healthy memory", pages,
                                    to_human_size(hugetlb_page_), to_human_size(healthy))});
  }

  void refuse(RuleIndex rule, const ByteRange& range, bool faulty) {
    find(rule, range);
    if (faulty) refused_.at(rule).push_back(range);
  }
  void find(RuleIndex rule, const ByteRange& range) {
    findings_.push_back({&kRules.at(rule), range});
  }

  PageShift shift_;
  CheckOptions options_;
  std::uint64_t hugetlb_page_;
  RangeSet whole_ram_;  // frames that are RAM from end to end; the kernel uses no others
  std::vector<Place> refusing_;
  std::vector<Place> remarkable_;
  RangeSet any_remarkable_;
  std::vector<ByteRange> accepted_;
  std::array<std::vector<ByteRange>, kRuleCount> refused_;
  std::vector<Finding> findings_;
};

bool share_a_source(const Record& a, const Record& b) {
  return std::any_of(a.sources.begin(), a.sources.end(), [&](const std::string& source) {
    return std::binary_search(b.sources.begin(), b.sources.end(), source);
  });
}

// Single frames that lie a power of two apart, each known to sources that do not know the other.
// One pass for each power, over records sorted by address.
void find_disagreements(std::span<const Record> records, PageShift shift,
                        std::vector<Finding>& findings) {
  std::vector<const Record*> frames;
  for (const Record& record : records) {
    if (!is_active(record.condition)) continue;
    if (record.range.widened_to(shift).frame_count(shift) == 1) frames.push_back(&record);
  }
  const bool one_source = std::all_of(frames.begin(), frames.end(), [&](const Record* record) {
    return record->sources == frames.front()->sources;
  });
  if (one_source) return;
  const auto frame_of = [&](const Record* record) {
    return shift.pfn_of(record->range.begin()).value();
  };
  std::sort(frames.begin(), frames.end(),
            [&](const Record* a, const Record* b) { return a->range < b->range; });
  for (std::uint64_t distance = 1; distance < kPhysAddrLimit / shift.page_size(); distance *= 2) {
    auto partner = frames.begin();
    for (const Record* record : frames) {
      const std::uint64_t wanted = frame_of(record) + distance;
      while (partner != frames.end() && frame_of(*partner) < wanted) ++partner;
      for (auto same = partner; same != frames.end() && frame_of(*same) == wanted; ++same) {
        if (share_a_source(*record, **same)) continue;
        findings.push_back({&kRules.at(kSourcesDisagree), record->range.widened_to(shift),
                            (*same)->range.widened_to(shift)});
      }
    }
  }
}

}  // namespace

std::string_view to_word(FindingSeverity severity) {
  switch (severity) {
    case FindingSeverity::kError:
      return "error";
    case FindingSeverity::kWarning:
      return "warning";
    case FindingSeverity::kNote:
      return "note";
  }
  return "";
}

std::span<const Rule> rules() { return kRules; }

const Rule* rule_of(std::string_view id) {
  return std::find_if(kRules.begin(), kRules.end(),
                      [&](const Rule& rule) { return rule.id == id; });
}

std::string reason_of(const Finding& finding) {
  return fmt::format("{}{}; {}", finding.rule->reason,
                     finding.detail.empty() ? "" : fmt::format(" ({})", finding.detail),
                     finding.rule->advice);
}

Claim claim_of(const Record& record) {
  return {.range = record.range,
          .granularity = record.granularity,
          .condition = record.condition,
          .kind = record.severity,
          .last_seen = record.last_seen,
          .quarantine_reason = record.quarantine_reason};
}

CheckResult check_claims(std::span<const Claim> claims, const CheckedMachine& machine,
                         const CheckOptions& options) {
  Checker checker(machine, options);
  checker.check(claims);
  return checker.finish();
}

CheckResult check_records(std::span<const Record> records, const CheckedMachine& machine,
                          const CheckOptions& options) {
  std::vector<Claim> claims;
  claims.reserve(records.size());
  for (const Record& record : records) claims.push_back(claim_of(record));
  CheckResult result = check_claims(claims, machine, options);
  if (options.disagreements) find_disagreements(records, machine.shift, result.findings);
  return result;
}

}  // namespace poisonctl
