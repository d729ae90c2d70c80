#include "registry/sources/trace/correlate.h"

#include <gtest/gtest.h>

#include "registry/sources/trace/decode.h"
#include "tests/unit/sources/trace/trace_samples.h"

namespace poisonctl {
namespace {

// What the correlator makes of `trace`.
Event tied(Correlator& correlator, const TraceEvent& trace) {
  auto events =
      events_of(trace, {.page_shift = shift_of(4096), .memory_end = PhysAddr(1ULL << 40)});
  EXPECT_EQ(events.size(), 1U);
  correlator.tie(trace.name, events.front());
  return events.front();
}

bool is_tied(const Event& event) {
  return event.evidence.find("same incident") != std::string::npos;
}

TraceEvent edac_at(std::uint64_t address, int second) {
  return trace_of(
      "mc_event",
      {number_field("error_type", 1), text_field("label", "DIMM_A1"), number_field("mc_index", 0),
       number_field("address", address), number_field("grain_bits", 6)},
      second);
}

TEST(TraceCorrelate, WhatTheKernelDidCarriesWhatTheHardwareSaid) {
  Correlator correlator;
  EXPECT_FALSE(is_tied(tied(correlator, scrubber_check(0x8000000, 1))));
  EXPECT_FALSE(is_tied(tied(correlator, edac_at(0x8000040, 1))));
  const Event done = tied(correlator, memory_failure_at(0x8000, 2));
  EXPECT_EQ(done.label, "DIMM_A1");
  EXPECT_EQ(to_text(done.dram), "socket=1 controller=0");
  EXPECT_EQ(done.result, "free buddy page: Recovered");
  for (const char* const word : {"status=0xbd000000000000c0", "bank=0x9", "DIMM_A1"}) {
    EXPECT_NE(done.evidence.find(word), std::string::npos) << word;
  }
}

TEST(TraceCorrelate, TheHardwareMayBeTracedAfterTheKernelHasActed) {
  Correlator correlator;
  tied(correlator, memory_failure_at(0x8000, 1));
  const Event check = tied(correlator, scrubber_check(0x8000000, 1));
  EXPECT_TRUE(is_tied(check));
  EXPECT_EQ(check.result, "free buddy page: Recovered");
}

TEST(TraceCorrelate, OnlyTheSameFrameAndOnlyWithinTheWindow) {
  Correlator correlator;
  tied(correlator, scrubber_check(0x8000000, 10));
  EXPECT_FALSE(is_tied(tied(correlator, memory_failure_at(0x8001, 10))));
  EXPECT_TRUE(is_tied(tied(correlator, memory_failure_at(0x8000, 12))));
  EXPECT_FALSE(is_tied(tied(correlator, memory_failure_at(0x8000, 13))));
}

TEST(TraceCorrelate, CorrectedErrorsAreNoPartOfAnIncident) {
  Correlator correlator;
  TraceEvent corrected = edac_at(0x8000000, 1);
  corrected.fields.front().number = 0;
  tied(correlator, corrected);
  EXPECT_FALSE(is_tied(tied(correlator, memory_failure_at(0x8000, 1))));
}

TEST(TraceCorrelate, AStormOnOneFrameDoesNotGrowTheEvidence) {
  Correlator correlator;
  for (int i = 0; i < 5000; ++i) tied(correlator, scrubber_check(0x8000000, 1));
  const Event done = tied(correlator, memory_failure_at(0x8000, 1));
  EXPECT_TRUE(is_tied(done));
  EXPECT_LT(done.evidence.size(), Event::kEvidenceLimit);
}

}  // namespace
}  // namespace poisonctl
