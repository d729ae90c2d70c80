#include "registry/check.h"

#include <algorithm>
#include <array>

namespace poisonctl {

namespace {

enum RuleIndex : std::size_t {
  kBeyondMachine,
  kFirmwareReserved,
  kDeviceMemory,
  kOutsideRam,
  kPartlyOutside,
  kKernelImage,
  kPageSize,
  kNotExact,
  kSourcesDisagree,
  kRuleCount,
};

// kPartlyOutside refuses nothing itself: the part that is outside has a finding of its own.
constexpr std::array<Rule, kRuleCount> kRules = {{
    {"beyond-machine", FindingSeverity::kError, true,
     "lies above everything this machine has; the memory was removed, or the record is of another "
     "machine"},
    {"firmware-reserved", FindingSeverity::kNote, true,
     "is kept by the firmware, so no kernel hands it out; nothing needs to be done"},
    {"device-memory", FindingSeverity::kWarning, true,
     "is device memory (persistent, DAX or CXL) and not System RAM now; the list for RAM cannot "
     "cover it"},
    {"outside-ram", FindingSeverity::kError, true,
     "is not RAM of this machine; see where the record came from with 'poisonctl show'"},
    {"partly-outside", FindingSeverity::kWarning, false,
     "is only partly RAM of this machine; the part that is RAM is kept out, the rest is refused"},
    {"kernel-image", FindingSeverity::kWarning, false,
     "is part of the running kernel's code or data; a kernel that is loaded at the same place "
     "takes it again whatever the memory map says (e820_add_kernel_range). Load it elsewhere: "
     "KASLR, or kexec"},
    {"page-size", FindingSeverity::kNote, false,
     "was recorded on a kernel with smaller pages; whole pages of this kernel are kept out"},
    {"not-exact", FindingSeverity::kWarning, false,
     "is a huge page of which one or more frames are bad, and the kernel does not tell which; all "
     "of it is kept out"},
    {"sources-disagree", FindingSeverity::kWarning, false,
     "lies a power of two away from another record, and no source knows both: one of them may have "
     "decoded the address wrongly (one bit, or the wrong way of an interleave). Both are kept; "
     "find out which is right before hardware is replaced"},
}};

// Sorts the bytes of one range into findings and, for faulty records, refusals.
class Checker {
 public:
  Checker(const MemoryMap& map, PageShift shift)
      : map_(map), shift_(shift), whole_ram_(map.installed_ram().narrowed_to(shift)) {}

  void check(const Record& record) {
    if (record.condition == Condition::kResolved) return;
    const ByteRange frames = record.range.widened_to(shift_);
    const bool faulty = record.condition == Condition::kFaulty;
    // Nearly every record is one frame of RAM, and takes no set algebra.
    if (whole_ram_.contains(frames)) {
      if (faulty) accepted_.push_back(frames);
    } else {
      check_part_outside(frames, faulty);
    }
    if (map_.kernel_image().overlaps(frames)) find(kKernelImage, frames);
    if (frames != record.range) find(kPageSize, frames);
    if (!record.is_exact(shift_)) find(kNotExact, frames);
  }

  CheckResult finish() {
    CheckResult result;
    result.accepted = RangeSet::from_ranges(std::move(accepted_));
    result.findings = std::move(findings_);
    // Records may overlap; each refused byte is named once, by the first reason in rule order.
    RangeSet named;
    for (std::size_t rule = 0; rule < kRuleCount; ++rule) {
      const RangeSet all = RangeSet::from_ranges(std::move(refused_.at(rule)));
      const RangeSet rest = all.minus(named);
      for (const ByteRange& range : rest.ranges()) {
        result.refused.push_back({range, std::string(kRules.at(rule).text)});
      }
      named = named.united_with(all);
    }
    std::sort(result.refused.begin(), result.refused.end(),
              [](const auto& a, const auto& b) { return a.range < b.range; });
    return result;
  }

 private:
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
    const auto take = [&](RuleIndex rule, const RangeSet& kind) {
      const RangeSet taken = rest.intersected_with(kind.within(part));
      for (const ByteRange& range : taken.ranges()) refuse(rule, range, faulty);
      rest = rest.minus(taken);
    };
    if (const auto above = ByteRange::from_last(map_.end(), PhysAddr(kPhysAddrLimit - 1))) {
      take(kBeyondMachine, RangeSet::from_ranges({*above}));
    }
    take(kFirmwareReserved, map_.firmware_reserved());
    take(kDeviceMemory, map_.device_memory());
    for (const ByteRange& range : rest.ranges()) refuse(kOutsideRam, range, faulty);
  }

  void refuse(RuleIndex rule, const ByteRange& range, bool faulty) {
    find(rule, range);
    if (faulty) refused_.at(rule).push_back(range);
  }
  void find(RuleIndex rule, const ByteRange& range) {
    findings_.push_back({&kRules.at(rule), range});
  }

  const MemoryMap& map_;
  PageShift shift_;
  RangeSet whole_ram_;  // frames that are RAM from end to end; the kernel uses no others
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
    if (record.condition == Condition::kResolved) continue;
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

CheckResult check_records(std::span<const Record> records, const MemoryMap& map, PageShift shift) {
  Checker checker(map, shift);
  for (const Record& record : records) checker.check(record);
  CheckResult result = checker.finish();
  find_disagreements(records, shift, result.findings);
  return result;
}

}  // namespace poisonctl
