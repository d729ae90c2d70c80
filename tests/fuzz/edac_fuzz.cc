// collect_edac: a machine whose files hold anything gives evidence without a place, or an error.
#include <map>

#include "registry/sources/edac.h"
#include "registry/text.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

namespace {

// One controller whose attributes are the lines of the input, in a fixed order.
class LinesSysRoot final : public SysRoot {
 public:
  explicit LinesSysRoot(std::string_view text) {
    constexpr std::string_view kNames[] = {"dimm0/dimm_label",    "dimm0/dimm_location",
                                           "dimm0/dimm_ce_count", "dimm0/dimm_ue_count",
                                           "csrow0/ch0_ce_count", "csrow0/ch0_dimm_label",
                                           "csrow0/ue_count",     "csrow0/ce_count",
                                           "ce_noinfo_count",     "ue_noinfo_count"};
    std::size_t next = 0;
    for (const std::string_view line : split_lines(text)) {
      if (next == std::size(kNames)) break;
      // An empty line is a file that is not there.
      if (!line.empty())
        files_.emplace(kFolder + std::string("/mc0/") + std::string(kNames[next]), line);
      ++next;
    }
  }
  [[nodiscard]] const std::string& root() const override { return root_; }
  [[nodiscard]] Result<std::string> read(std::string_view path, std::size_t limit) const override {
    const auto file = files_.find(path);
    if (file == files_.end()) return Error{ErrorCode::kNoInput, "not there", 2};
    if (file->second.size() > limit) return Error{ErrorCode::kBadData, "too long", 0};
    return file->second;
  }
  [[nodiscard]] Result<std::vector<std::string>> list(std::string_view path) const override {
    if (path == kFolder) return std::vector<std::string>{"mc0", "power"};
    if (path == kFolder + std::string("/mc0")) return std::vector<std::string>{"csrow0", "dimm0"};
    return std::vector<std::string>{"ce_count", "ch0_ce_count", "ch0_dimm_label", "ue_count"};
  }
  [[nodiscard]] Result<std::unique_ptr<PositionedFile>> open(std::string_view) const override {
    return Error{ErrorCode::kBug, "not used", 0};
  }
  [[nodiscard]] Result<std::unique_ptr<Attribute>> open_attribute(std::string_view) const override {
    return Error{ErrorCode::kBug, "a source never writes", 0};
  }
  [[nodiscard]] Result<UniqueFd> open_lock(std::string_view) const override {
    return Error{ErrorCode::kBug, "a source never locks", 0};
  }
  [[nodiscard]] Result<void> replace_file(std::string_view, std::string_view,
                                          mode_t) const override {
    return Error{ErrorCode::kBug, "a source never writes", 0};
  }

 private:
  static constexpr const char* kFolder = "sys/devices/system/edac/mc";
  std::string root_ = "/";
  std::map<std::string, std::string, std::less<>> files_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const LinesSysRoot machine(as_text(data, size));
  std::uint64_t events = 0;
  const EventSink check = fuzz_sink(events, FuzzTexts::kAsRead);
  const auto report =
      collect_edac(machine, [&](const Event& event, const SourceReport& so_far) -> Result<void> {
        fuzz_check(!event.range, "a counter has no place");
        return check(event, so_far);
      });
  fuzz_check_report(report, events);
  return 0;
}
