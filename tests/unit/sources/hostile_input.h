// Inputs that no honest program writes, for every source of text; and golden cases.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <string_view>

#include "registry/sources/source.h"
#include "tests/unit/sources/event_lines.h"

namespace poisonctl {

using CollectFrom = Result<SourceReport> (*)(ByteStream&, const SourceSettings&, const EventSink&);

inline Collected collected_from(CollectFrom collect, std::string_view text,
                                const SourceSettings& settings = test_settings()) {
  TextStream stream(text, "input");
  return collected([&](const EventSink& sink) { return collect(stream, settings, sink); });
}

// NAME/CASE.txt gives NAME/CASE.events.
inline void expect_golden_case(CollectFrom collect, const std::string& name_and_case,
                               const SourceSettings& settings = test_settings()) {
  const std::string text = file_content(golden_path(name_and_case + ".txt"));
  ASSERT_FALSE(text.empty()) << name_and_case;
  expect_golden(collected_from(collect, text, settings).lines, name_and_case + ".events");
}

// Each must end in no event, and those that no text has in kBadData with its place.
inline void expect_nothing_from_hostile_input(CollectFrom collect) {
  std::string all_bytes;
  for (int byte = 0; byte < 256; ++byte) all_bytes += static_cast<char>(byte);
  const std::string inputs[] = {
      "",
      "\n\n\n",
      "\r",
      "plain words of another program\n",
      all_bytes,
      std::string(5000, '\0'),
      std::string("\xff\xfe"
                  "b\0a\0d\0",
                  8),
      std::string("\xfe\xff"
                  "\0b\0a\0d",
                  8),
      std::string(LineReader::kLongest + 1, 'x'),
      "\x1b[2J\x1b[1;1H",
  };
  for (const std::string& input : inputs) {
    const Collected got = collected_from(collect, input);
    EXPECT_TRUE(got.events.empty()) << got.lines;
    if (got.error.empty()) continue;
    EXPECT_EQ(got.code, ErrorCode::kBadData) << got.error;
    EXPECT_EQ(got.error.rfind("input:", 0), 0U) << got.error;
    for (const char c : got.error) EXPECT_GE(static_cast<unsigned char>(c), 0x20) << got.error;
  }
}

// A line of 1 GiB must be refused once it is too long, not after it was read.
inline void expect_endless_line_is_refused(CollectFrom collect, std::uint64_t most_read) {
  RepeatedStream stream("badram=0x1000,", "0xfffffffffffff000,", std::uint64_t{1} << 30);
  const Collected got =
      collected([&](const EventSink& sink) { return collect(stream, test_settings(), sink); });
  EXPECT_EQ(got.code, ErrorCode::kBadData) << got.lines.substr(0, 200);
  EXPECT_EQ(got.error.rfind("big:", 0), 0U) << got.error;
  EXPECT_TRUE(got.events.empty());
  EXPECT_LE(stream.bytes_read(), most_read);
}

// One input and what its error must say.
struct RefusedInput {
  std::string_view text;
  std::string_view message;
};

inline void expect_refused(CollectFrom collect, const RefusedInput& input) {
  const Collected got = collected_from(collect, input.text);
  EXPECT_EQ(got.code, ErrorCode::kBadData) << input.text << "\n" << got.lines;
  EXPECT_NE(got.error.find(input.message), std::string::npos) << input.text << "\n" << got.error;
  EXPECT_EQ(got.error.rfind("input:", 0), 0U) << got.error;
}

}  // namespace poisonctl
