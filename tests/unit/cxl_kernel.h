// Stands for the kernel behind trigger_poison_list: each device has entries, and an order to read
// them makes trace events of them, as cxl_poison has them (drivers/cxl/core/trace.h).
#pragma once

#include <cerrno>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "registry/sources/cxl_devices.h"
#include "tests/unit/fake_sysroot.h"
#include "tests/unit/sources/trace/trace_samples.h"

namespace poisonctl {

class FakeCxlKernel {
 public:
  static constexpr std::uint64_t kNowhere = std::numeric_limits<std::uint64_t>::max();
  struct Entry {
    std::uint64_t address = 0;
    std::uint64_t length = 64;
    std::uint64_t host = kNowhere;
    std::uint64_t flags = 0;
    std::string source = "Internal";
  };
  struct Device {
    std::uint64_t serial = 0;
    std::vector<Entry> entries;
    int error = 0;
  };

  std::map<std::string, Device> devices;  // by memN

  // What an attribute answers; to be given to FakeSysRoot::answer.
  int write(std::string_view path, std::string_view text) {
    for (const auto& [name, device] : devices) {
      if (path != "sys/bus/cxl/devices/" + name + "/trigger_poison_list") continue;
      if (text != "1") return EINVAL;
      if (device.error != 0) return device.error;
      for (const Entry& entry : device.entries) trace(name, device.serial, entry);
      return 0;
    }
    return ENOENT;
  }
  [[nodiscard]] TracedEvents feed() {
    return [this](const std::function<void(const TraceEvent&)>& take) -> Result<void> {
      for (const TraceEvent& event : std::exchange(pending_, {})) take(event);
      return {};
    };
  }
  void trace(const std::string& memdev, std::uint64_t serial, const Entry& entry) {
    pending_.push_back(
        trace_of("cxl_poison",
                 {text_field("memdev", memdev), number_field("serial", serial),
                  number_field("trace_type", 0, "List"), number_field("hpa", entry.host),
                  number_field("dpa", entry.address), number_field("dpa_length", entry.length),
                  number_field("source", 0, entry.source), number_field("flags", entry.flags)}));
  }

 private:
  std::vector<TraceEvent> pending_;
};

}  // namespace poisonctl
