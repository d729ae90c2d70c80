// The generation of a registry's list: it never shrinks, whatever becomes of the log.
#include "registry/generation.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <thread>
#include <vector>

#include "tests/unit/sample_events.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_store.h"

namespace poisonctl {
namespace {

class GenerationTest : public ::testing::Test {
 protected:
  void add(int count) {
    for (int i = 0; i < count; ++i, ++added_) {
      append_at(path_, provenance_of("kernel", "boot-1", at_second(added_)),
                {event_of(EventKind::kUncorrected, frame_at(static_cast<std::uint64_t>(added_)))});
    }
  }
  [[nodiscard]] std::uint64_t generation() const {
    auto store = Store::open(path_, Store::Mode::kRead);
    return list_generation(*store, path_).value();
  }
  // As 'handover make'.
  [[nodiscard]] std::uint64_t hand_out() const {
    auto store = Store::open(path_, Store::Mode::kRead);
    const std::uint64_t now = list_generation(*store, path_).value();
    EXPECT_TRUE(note_handed_out(*store, path_, now).ok());
    return now;
  }
  void keep_backup() const { std::filesystem::copy_file(path_, path_ + ".backup"); }
  void restore_backup() const {
    std::filesystem::copy_file(path_ + ".backup", path_,
                               std::filesystem::copy_options::overwrite_existing);
    std::filesystem::remove(path_ + ".head");
  }

  TempTree tree_;
  std::string path_ = tree_.path("registry.db");
  int added_ = 0;
};

TEST_F(GenerationTest, TheNewestThatWasSeenOnlyGrows) {
  EXPECT_EQ(read_newest_generation(path_).value(), 0U);
  ASSERT_TRUE(note_generation(path_, 7).ok());
  EXPECT_EQ(read_newest_generation(path_).value(), 7U);
  ASSERT_TRUE(note_generation(path_, 5).ok());
  EXPECT_EQ(read_newest_generation(path_).value(), 7U);
  for (const char* wrong : {"seven\n", "7 0\n", "7 0 1 zz\n", "7 -1 1 00\n", "", "7 0 1 0011\n"}) {
    tree_.write("registry.db.generation", wrong);
    EXPECT_EQ(read_newest_generation(path_).error().code, ErrorCode::kBadData) << wrong;
    EXPECT_FALSE(note_generation(path_, 9).ok());
  }
}

TEST_F(GenerationTest, OfTwoThatNoteAtOnceTheLargerStays) {
  std::vector<std::thread> threads;
  for (std::uint64_t number = 1; number <= 64; ++number) {
    threads.emplace_back([this, number] { EXPECT_TRUE(note_generation(path_, number).ok()); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(read_newest_generation(path_).value(), 64U);
}

TEST_F(GenerationTest, WhileTheLogGoesOnItIsThatOfTheLog) {
  add(3);
  EXPECT_EQ(generation(), 3U);
  EXPECT_EQ(hand_out(), 3U);
  EXPECT_EQ(hand_out(), 3U);
  add(2);
  EXPECT_EQ(generation(), 5U);
  EXPECT_EQ(hand_out(), 5U);
}

// Its lists were refused at boot as older than the one before.
TEST_F(GenerationTest, ALogThatLostEntriesGoesOnAboveWhatWasHandedOut) {
  add(2);
  keep_backup();
  add(8);
  EXPECT_EQ(hand_out(), 10U);
  restore_backup();
  EXPECT_EQ(generation(), 12U);
  EXPECT_EQ(hand_out(), 12U);
  EXPECT_EQ(hand_out(), 12U);
  add(1);
  EXPECT_EQ(generation(), 13U);
  // As long as it was, and yet another log.
  restore_backup();
  add(8);
  EXPECT_GT(hand_out(), 12U);
}

TEST_F(GenerationTest, AFileOfBeforeHasTheNumberAlone) {
  add(2);
  tree_.write("registry.db.generation", "2\n");
  EXPECT_EQ(generation(), 2U);
  tree_.write("registry.db.generation", "9\n");
  EXPECT_EQ(generation(), 11U);
}

}  // namespace
}  // namespace poisonctl
