// What of the reader needs no kernel; the rest is in tests/qemu.
#include "registry/sources/trace/reader.h"

#include <gtest/gtest.h>

namespace poisonctl {
namespace {

TEST(TraceReader, LostEventsAreTheSumOfThreeCounters) {
  EXPECT_EQ(lost_events("entries: 5\noverrun: 7\ncommit overrun: 20\nbytes: 900\noldest event ts: "
                        "    0.000000\nnow ts:     5.820788\ndropped events: 300\nread events: "
                        "4000\n"),
            327U);
  EXPECT_EQ(lost_events(""), 0U);
  EXPECT_EQ(lost_events("overrun: x\ndropped events"), 0U);
}

TEST(TraceReader, TheBuffersOfManyCpusDoNotTakeMoreThanAShareOfMemory) {
  EXPECT_EQ(buffer_kib_per_cpu(1), 4096U);
  EXPECT_EQ(buffer_kib_per_cpu(8), 4096U);
  EXPECT_EQ(buffer_kib_per_cpu(64), 512U);
  EXPECT_EQ(buffer_kib_per_cpu(1024), 256U);
}

}  // namespace
}  // namespace poisonctl
