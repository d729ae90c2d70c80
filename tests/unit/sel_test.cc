// The event log of a BMC: our records in it, theirs, and what is delivered when things go wrong.
#include "registry/sel.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <bit>

#include "backends/sel_notices.h"
#include "registry/notices.h"
#include "registry/sources/ipmi.h"
#include "tests/unit/bmc_model.h"
#include "tests/unit/sources/event_lines.h"
#include "tests/unit/temp_tree.h"

namespace poisonctl {
namespace {

SelNotice notice_at(std::uint64_t address, std::uint64_t size = 4096) {
  return {.block = *ByteRange::from_size(PhysAddr(address), size),
          .data_lost = true,
          .module = 0x1101,
          .module_number = 3,
          .episode = 0};
}

NoticeQueue queue_of(std::size_t notices) {
  NoticeQueue queue;
  for (std::size_t i = 0; i < notices; ++i) queue.add({notice_at(0x10000000 + i * 0x3000)});
  return queue;
}

Pause no_pause() {
  return [](std::chrono::milliseconds) {};
}

NoticeDelivery deliver_to(BmcModel& bmc, NoticeQueue& queue, std::size_t most = 64) {
  Sel sel(bmc, no_pause());
  return deliver(sel, queue, {.most = most}, [] { return Result<void>(); });
}

// A memory event as firmware logs it.
SelBytes firmware_event(std::uint8_t offset, std::uint8_t module) {
  SelBytes record{};
  record[2] = 0x02;
  record[7] = 0x33 << 1U | 1U;  // SMI handler
  record[9] = 0x04;
  record[10] = 0x0C;
  record[11] = 0x53;
  record[12] = 0x6F;
  record[13] = static_cast<std::uint8_t>(0x30U | offset);
  record[15] = module;
  return record;
}

SelBytes foreign_oem(std::uint8_t type) {
  SelBytes record{};
  record[2] = type;
  record[5] = 'x';
  return record;
}

TEST(SelNotice, TheBytesAreThoseOfTheSpecification) {
  const SelNoticeRecords records = records_of(notice_at(0x123456000));
  EXPECT_EQ(to_hex(records.place),
            "0000e5506301563412000000"
            "0111"
            "0080");
  // Any management tool: system event by software, sensor type memory, uncorrectable, module 3.
  EXPECT_EQ(to_hex(records.event).substr(0, 28), "000002000000004100040c006fb1");
  EXPECT_EQ(records.event[15], 3);
}

TEST(SelNotice, ComesBack) {
  for (unsigned order = 0; order < 16; ++order) {
    for (unsigned at = order + 12; at < kPhysAddrBits; ++at) {
      SelNotice notice = notice_at(std::uint64_t{1} << at, std::uint64_t{4096} << order);
      notice.episode = static_cast<std::uint16_t>(at * 500);
      notice.data_lost = at % 2 == 0;
      const SelNoticeRecords records = records_of(notice);
      const auto back = notice_in(records.place);
      ASSERT_TRUE(back) << to_hex(records.place);
      EXPECT_EQ(back->block, notice.block);
      EXPECT_EQ(back->episode, notice.episode);
      EXPECT_EQ(back->data_lost, notice.data_lost);
      EXPECT_EQ(back->module, notice.module);
      EXPECT_TRUE(belong_together(records.event, records.place));
    }
  }
}

TEST(SelNotice, OthersRecordsAreNot) {
  EXPECT_FALSE(notice_in(foreign_oem(0xE5)));
  EXPECT_FALSE(notice_in(foreign_oem(0xC0)));
  SelBytes place = records_of(notice_at(0x123456000)).place;
  place[11] = 0x10;  // 8 KiB, where the address is no multiple of it
  EXPECT_TRUE(notice_in(place));
  place[6] |= 1U;
  EXPECT_FALSE(notice_in(place));
}

TEST(SelNotice, BlocksCoverARangeExactly) {
  for (const auto& [begin, frames] : {std::pair{0x0ULL, 7ULL},
                                      {0x3000ULL, 13ULL},
                                      {0x40000000ULL, 262144ULL},
                                      {0x7ffff000ULL, 2ULL}}) {
    const ByteRange range = *ByteRange::from_size(PhysAddr(begin), frames * 4096);
    std::uint64_t at = begin;
    for (const ByteRange& block : notice_blocks(range)) {
      EXPECT_EQ(block.begin().value(), at);
      EXPECT_TRUE(std::has_single_bit(block.size()));
      EXPECT_LE(block.size(), SelNotice::kMostBytes);
      EXPECT_EQ(at % block.size(), 0U);
      at = block.end().value();
    }
    EXPECT_EQ(at, range.end().value());
  }
}

TEST(SelDelivery, EveryNoticeOnce) {
  BmcModel bmc;
  NoticeQueue queue = queue_of(5);
  const NoticeDelivery first = deliver_to(bmc, queue);
  EXPECT_FALSE(first.stopped) << first.stopped->message;
  EXPECT_EQ(first.sent, 5U);
  EXPECT_EQ(queue.pending(), 0U);
  EXPECT_EQ(bmc.log.size(), 10U);
  // Nothing pending: the BMC is not even asked.
  const std::size_t commands = bmc.commands;
  EXPECT_EQ(deliver_to(bmc, queue).sent, 0U);
  EXPECT_EQ(bmc.commands, commands);
  // The queue was lost: what is in the log is not written again.
  NoticeQueue lost = queue_of(6);
  const NoticeDelivery again = deliver_to(bmc, lost);
  EXPECT_EQ(again.found, 5U);
  EXPECT_EQ(again.sent, 1U);
  EXPECT_EQ(bmc.log.size(), 12U);
}

TEST(SelDelivery, TheQueueIsSortedAndKnowsWhatWasDelivered) {
  NoticeQueue queue;
  queue.add({notice_at(0x5000), notice_at(0x1000)});
  queue.notices[0].delivered = true;
  queue.add({notice_at(0x3000), notice_at(0x1000), notice_at(0x3000), notice_at(0)});
  ASSERT_EQ(queue.notices.size(), 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    constexpr std::uint64_t kAddresses[] = {0, 0x1000, 0x3000, 0x5000};
    EXPECT_EQ(queue.notices[i].notice.block.begin().value(), kAddresses[i]);
    EXPECT_EQ(queue.notices[i].delivered, i == 1);
  }
  // As many as a file holds: inserting each into its place would take minutes.
  std::vector<SelNotice> many;
  for (std::uint64_t i = 500000; i > 0; --i) many.push_back(notice_at(i * 0x1000));
  queue.add(many);
  EXPECT_EQ(queue.notices.size(), 500001U);
  EXPECT_EQ(queue.pending(), 500000U);
}

TEST(SelDelivery, AfterTheLogWasClearedNothingIsToldAgain) {
  BmcModel bmc;
  NoticeQueue queue = queue_of(3);
  deliver_to(bmc, queue);
  bmc.log.clear();
  EXPECT_EQ(deliver_to(bmc, queue).sent, 0U);
  EXPECT_TRUE(bmc.log.empty());
}

// It dies after every possible number of commands, with its answer lost; then it is back.
TEST(SelDelivery, WhereverItDiesEachNoticeIsThereOnce) {
  std::size_t interrupted = 0;
  for (std::size_t commands = 0; commands < 60; ++commands) {
    BmcModel bmc;
    NoticeQueue queue = queue_of(4);
    bmc.commands_left = commands;
    const NoticeDelivery first = deliver_to(bmc, queue);
    if (first.stopped) {
      ++interrupted;
      EXPECT_EQ(first.stopped->code, ErrorCode::kLocked);
      EXPECT_NE(queue.pending(), 0U);
    }
    bmc.commands_left = std::numeric_limits<std::size_t>::max();
    EXPECT_FALSE(deliver_to(bmc, queue).stopped);
    EXPECT_EQ(queue.pending(), 0U);
    ASSERT_EQ(bmc.log.size(), 8U) << "died after " << commands;
    for (std::size_t i = 0; i < bmc.log.size(); i += 2) {
      EXPECT_TRUE(belong_together(bmc.log[i], bmc.log[i + 1])) << commands;
    }
  }
  EXPECT_GT(interrupted, 20U);
}

TEST(SelDelivery, NeverFillsTheLog) {
  BmcModel bmc;
  NoticeQueue queue = queue_of(200);
  const NoticeDelivery delivery = deliver_to(bmc, queue, 1000);
  ASSERT_TRUE(delivery.stopped);
  EXPECT_EQ(delivery.stopped->code, ErrorCode::kCannotWrite);
  EXPECT_EQ(bmc.log.size(), 96U) << "a quarter is left to others";
  EXPECT_EQ(queue.pending(), 152U);
  EXPECT_EQ(reserve_of({.entries = 4, .free_bytes = 20 * 16}), 16U * 16U);
}

TEST(SelDelivery, ABusyBmcIsAskedAgainAndNotForEver) {
  BmcModel bmc;
  bmc.busy_answers = 5;
  NoticeQueue queue = queue_of(1);
  EXPECT_FALSE(deliver_to(bmc, queue).stopped);
  BmcModel dead;
  dead.busy_answers = 1000;
  NoticeQueue kept = queue_of(1);
  const NoticeDelivery delivery = deliver_to(dead, kept);
  ASSERT_TRUE(delivery.stopped);
  EXPECT_EQ(delivery.stopped->code, ErrorCode::kLocked);
  EXPECT_LT(dead.commands, 10U);
  EXPECT_EQ(kept.pending(), 1U);
}

TEST(SelDelivery, ARecordThatReadsOtherwiseIsNotTakenForOurs) {
  BmcModel bmc;
  bmc.garbles = true;
  NoticeQueue queue = queue_of(2);
  const NoticeDelivery delivery = deliver_to(bmc, queue);
  ASSERT_TRUE(delivery.stopped);
  EXPECT_EQ(delivery.stopped->code, ErrorCode::kBadData);
  EXPECT_EQ(queue.pending(), 2U);
  EXPECT_EQ(bmc.added, 1U);
}

TEST(SelDelivery, OnlySoManyInOneRun) {
  BmcModel bmc;
  NoticeQueue queue = queue_of(10);
  const NoticeDelivery delivery = deliver_to(bmc, queue, 4);
  EXPECT_FALSE(delivery.stopped);
  EXPECT_EQ(delivery.sent, 4U);
  EXPECT_EQ(queue.pending(), 6U);
}

TEST(IpmiSource, ReadsErrorsOfOthersAndOurNotices) {
  BmcModel bmc;
  bmc.add(firmware_event(0, 7));
  bmc.add(firmware_event(1, 8));
  bmc.add(firmware_event(6, 9));  // presence
  bmc.add(foreign_oem(0xE0));
  bmc.add(foreign_oem(0xC3));
  SelBytes fan = firmware_event(1, 1);
  fan[10] = 0x04;
  bmc.add(fan);
  NoticeQueue queue = queue_of(2);
  deliver_to(bmc, queue);
  bmc.add(records_of(notice_at(0x50000000)).place);  // without the record that has the time
  bmc.overflow = true;
  Sel sel(bmc, no_pause());
  const Collected got = collected([&](const EventSink& sink) { return collect_ipmi(sel, sink); });
  ASSERT_EQ(got.events.size(), 5U) << got.lines << got.error;
  EXPECT_EQ(got.events[0].kind, EventKind::kCorrected);
  EXPECT_EQ(got.events[0].label, "IPMI sensor 0x53 module 7");
  EXPECT_FALSE(got.events[0].range);
  EXPECT_EQ(got.events[1].kind, EventKind::kUncorrected);
  EXPECT_EQ(got.events[2].range, queue.notices[0].notice.block);
  EXPECT_TRUE(got.events[2].observed);
  EXPECT_EQ(got.events[2].label, "SMBIOS handle 0x1101");
  EXPECT_FALSE(got.events[4].range);
  for (const char* const said :
       {"2 OEM records of other makers", "1 event of memory sensors that tell of no error",
        "1 record about other things", "without the time of it", "has overflowed"}) {
    EXPECT_NE(got.lines.find(said), std::string::npos) << said << "\n" << got.lines;
  }
}

TEST(IpmiSource, ALogWithoutEntriesIsNoError) {
  BmcModel bmc;
  Sel sel(bmc, no_pause());
  EXPECT_EQ(collected([&](const EventSink& sink) { return collect_ipmi(sel, sink); }).lines, "");
}

TEST(NoticeQueue, ReadsBackWhatItWrites) {
  NoticeQueue queue = queue_of(3);
  queue.notices[1].delivered = true;
  queue.failed(*time_from_rfc3339("2026-03-01T12:00:00Z"));
  const std::string text = to_text(queue);
  const auto back = parse_notice_queue(text, "queue");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(to_text(*back), text);
  EXPECT_EQ(back->pending(), 2U);
  // However it is cut, it is the start of the queue or an error.
  for (std::size_t length = 0; length < text.size(); ++length) {
    const auto cut = parse_notice_queue(text.substr(0, length), "queue");
    if (cut) {
      EXPECT_EQ(text[length - 1], '\n');
    } else {
      EXPECT_EQ(cut.error().code, ErrorCode::kBadData);
    }
  }
}

TEST(NoticeQueue, RefusesWhatItNeverWrites) {
  const std::string head = "poisonctl-bmc 1\nfailures 0 1970-01-01T00:00:00Z\n";
  ASSERT_TRUE(parse_notice_queue(head, "queue"));
  for (const char* const line :
       {"pending 0x1000 0x1000 lost 1 2 3 4\n", "pending 0x1000 0x1000 lost 1 2\n",
        "done 0x1000 0x1000 lost 1 2 3\n", "pending 0x1800 0x1000 lost 1 2 3\n",
        "pending 0x1000 0x800 lost 1 2 3\n", "pending 0x3000 0x3000 lost 1 2 3\n",
        "pending 0x1000 0x1000 lost 65536 2 3\n", "pending 0x1000 0x1000 lost 1 256 3\n",
        "pending 0x1000 0x1000 lost 1 2 32768\n", "pending 0x100000000000000 0x1000 lost 1 2 3\n",
        "pending 0x10000000 0x10000000 lost 1 2 3\n", "\n"}) {
    const auto parsed = parse_notice_queue(head + line, "queue");
    ASSERT_FALSE(parsed) << line;
    EXPECT_EQ(parsed.error().message.rfind("queue:3: ", 0), 0U) << parsed.error().message;
  }
  const std::string two = "pending 0x2000 0x1000 lost 1 2 3\npending 0x1000 0x1000 lost 1 2 3\n";
  EXPECT_FALSE(parse_notice_queue(head + two, "queue"));
}

TEST(NoticeQueue, WaitsLongerAfterEachFailure) {
  NoticeQueue queue;
  const Time now = *time_from_rfc3339("2026-03-01T12:00:00Z");
  std::vector<std::int64_t> minutes;
  for (int i = 0; i < 9; ++i) {
    queue.failed(now);
    minutes.push_back(
        std::chrono::duration_cast<std::chrono::minutes>(queue.next_attempt - now).count());
  }
  EXPECT_EQ(minutes, (std::vector<std::int64_t>{1, 2, 4, 8, 16, 32, 60, 60, 60}));
  queue.succeeded();
  EXPECT_EQ(queue.failures, 0U);
}

TEST(NoticeQueue, OneProcessAtATime) {
  const TempTree tree;
  const std::string registry = tree.path() + "/registry.db";
  {
    auto first = NoticeQueueFile::open(registry);
    ASSERT_TRUE(first) << first.error().message;
    first->queue() = queue_of(2);
    ASSERT_TRUE(first->save());
    const auto second = NoticeQueueFile::open(registry);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::kLocked);
  }
  const auto again = NoticeQueueFile::open(registry);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->queue().notices.size(), 2U);
}

}  // namespace
}  // namespace poisonctl
