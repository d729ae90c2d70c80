// Trace events for tests: a test names the fields that it is about.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "registry/sources/trace/event.h"
#include "tests/unit/sample_events.h"

namespace poisonctl {

inline TraceField number_field(std::string name, std::uint64_t value, std::string word = {}) {
  return {.name = std::move(name), .number = value, .text = std::move(word)};
}
inline TraceField text_field(std::string name, std::string text) {
  return {.name = std::move(name), .number = {}, .text = std::move(text)};
}
inline TraceField bytes_field(std::string name, std::string bytes) {
  return {.name = std::move(name), .number = {}, .text = std::move(bytes), .is_bytes = true};
}

inline TraceEvent trace_of(std::string name, std::vector<TraceField> fields, int second = 0) {
  return {
      .name = std::move(name), .time = at_second(second), .cpu = 3, .fields = std::move(fields)};
}

// As Linux 6.1 traces it on Skylake: the patrol scrubber found an error at `address`.
inline TraceEvent scrubber_check(std::uint64_t address, int second = 0) {
  return trace_of(
      "mce_record",
      {number_field("mcgcap", 0x100010a), number_field("status", 0xbd000000000000c0),
       number_field("addr", address), number_field("misc", 0x8c), number_field("ipid", 0),
       number_field("cpuid", 0x50654), number_field("socketid", 1), number_field("bank", 9),
       number_field("cpuvendor", 0)},
      second);
}

inline TraceEvent memory_failure_at(std::uint64_t pfn, int second = 0) {
  return trace_of("memory_failure_event",
                  {number_field("pfn", pfn), number_field("type", 16, "free buddy page"),
                   number_field("result", 3, "Recovered")},
                  second);
}

}  // namespace poisonctl
