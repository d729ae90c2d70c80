// Events as lines of text: what golden files hold, and what a test shows when they differ.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "registry/range_text.h"
#include "registry/sources/source.h"
#include "registry/text.h"
#include "tests/unit/test_files.h"

namespace poisonctl {

// "ue 0x1000-0x1fff time=... label=[...]": the fields that say something, then the evidence.
inline std::string event_line(const Event& event) {
  std::string line(to_word(event.kind));
  line += event.range ? " " + to_text(*event.range) : " nowhere";
  if (event.granularity != 0) line += " granularity=" + std::to_string(event.granularity);
  if (event.count != 1) line += " count=" + std::to_string(event.count);
  if (event.observed) line += " time=" + to_rfc3339(*event.observed);
  if (!event.label.empty()) line += " label=[" + event.label + "]";
  if (event.dram != DramCoordinates()) line += " dram=[" + to_text(event.dram) + "]";
  if (!event.result.empty()) line += " result=[" + event.result + "]";
  return line + " evidence=[" + event.evidence + "]\n";
}

// What a source gave: its events, then its warnings, or its error.
struct Collected {
  std::string lines;
  std::vector<Event> events;
  std::string error;  // empty when it succeeded
  ErrorCode code = ErrorCode::kBug;
  SourceReport report;
};

// `collect` is called with a sink that keeps every event.
inline Collected collected(const std::function<Result<SourceReport>(const EventSink&)>& collect) {
  Collected result;
  auto report = collect([&](const Event& event, const SourceReport& /*so_far*/) -> Result<void> {
    result.lines += event_line(event);
    result.events.push_back(event);
    return {};
  });
  if (report) {
    result.report = *std::move(report);
    EXPECT_EQ(result.report.events, result.events.size());
    EXPECT_LE(result.report.warnings.size(), SourceReport::kWarnings);
    for (const std::string& warning : result.report.warnings) {
      result.lines += "warning: " + warning + "\n";
    }
  } else {
    result.error = report.error().message;
    result.code = report.error().code;
    result.lines += "error: " + result.error + "\n";
  }
  return result;
}

// Where a golden file of sources lies.
inline std::string golden_path(std::string_view inside) {
  return checkout_path("tests/golden/sources/" + std::string(inside));
}

inline std::string file_content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Compares with the golden file `inside`. With POISONCTL_UPDATE_GOLDEN in the environment it writes
// the file instead: read the difference before you keep it.
inline void expect_golden(const std::string& lines, std::string_view inside) {
  const std::string path = golden_path(inside);
  if (std::getenv("POISONCTL_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(path, std::ios::binary) << lines;
    return;
  }
  EXPECT_EQ(lines, file_content(path)) << path;
}

// A stream that repeats `pattern` up to `size` bytes, after `head`: input of any size in no memory.
class RepeatedStream final : public ByteStream {
 public:
  RepeatedStream(std::string head, std::string pattern, std::uint64_t size)
      : head_(std::move(head)), pattern_(std::move(pattern)), left_(size) {}
  [[nodiscard]] const std::string& shown() const override { return shown_; }
  [[nodiscard]] Result<std::size_t> read(std::span<char> buffer) override {
    std::size_t done = 0;
    for (; done < buffer.size() && left_ != 0; ++done, ++at_, --left_) {
      buffer[done] =
          at_ < head_.size() ? head_[at_] : pattern_[(at_ - head_.size()) % pattern_.size()];
    }
    read_ += done;
    return done;
  }
  [[nodiscard]] std::uint64_t bytes_read() const { return read_; }

 private:
  std::string head_;
  std::string pattern_;
  std::string shown_ = "big";
  std::uint64_t left_;
  std::uint64_t read_ = 0;
  std::size_t at_ = 0;
};

inline SourceSettings test_settings(std::uint64_t page_size = 4096) {
  return {.page_shift = *PageShift::from_page_size(page_size),
          .memory_end = PhysAddr(std::uint64_t{1} << 36)};
}

}  // namespace poisonctl
