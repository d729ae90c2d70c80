// libpoisonctl from inside, with the sanitizers: what callers may get wrong, what belongs to whom,
// threads. tests/cli/library.bats has it from outside.
#include <gtest/gtest.h>
#include <poisonctl/poisonctl.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/sample_events.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_files.h"
#include "tests/unit/test_store.h"

namespace poisonctl {
namespace {

// A captured x86 machine, and a registry with one bad frame that it has and one that it has not.
class Library : public testing::Test {
 protected:
  Library() {
    append_at(registry_, provenance_of("operator", "", at_second(0)),
              {event_of(EventKind::kUncorrected, range(0x2800000, 0x2800fff)),
               event_of(EventKind::kUncorrected, range(0xff00000000, 0xff00000fff))});
  }

  poisonctl_list* open() {
    poisonctl_list* list = nullptr;
    poisonctl_error error = {};
    EXPECT_EQ(poisonctl_list_open(registry_.c_str(), machine_.c_str(), 0, &list, &error),
              POISONCTL_OK)
        << error.message;
    return list;
  }

  TempTree folder_;
  std::string registry_ = folder_.path("registry.db");
  std::string machine_ = checkout_path("tests/sysroots/qemu-x86_64-96m");
};

TEST_F(Library, WhatIsNotThereIsEmpty) {
  poisonctl_list* const list = open();
  ASSERT_NE(list, nullptr);
  EXPECT_EQ(poisonctl_list_count(list), 1U);
  EXPECT_EQ(poisonctl_list_range(list, 0).address, 0x2800000U);
  EXPECT_EQ(poisonctl_list_range(list, 1).size, 0U);
  poisonctl_range range = {.address = 1, .size = 1};
  EXPECT_EQ(poisonctl_list_refused(list, 1, &range), nullptr);
  EXPECT_EQ(range.size, 0U);
  EXPECT_NE(poisonctl_list_refused(list, 0, nullptr), nullptr);
  EXPECT_EQ(poisonctl_list_warning(list, poisonctl_list_warning_count(list)), nullptr);
  EXPECT_EQ(poisonctl_list_check(list, 0xff00000800, 1), POISONCTL_REFUSED);
  EXPECT_EQ(poisonctl_list_check(list, 0, UINT64_MAX), POISONCTL_INVALID);
  poisonctl_list_close(list);
  poisonctl_list_close(nullptr);
  poisonctl_plan_free(nullptr);
}

TEST_F(Library, AFlagOfALaterVersionIsRefused) {
  auto* list = reinterpret_cast<poisonctl_list*>(this);  // is to be overwritten
  EXPECT_EQ(poisonctl_list_open(registry_.c_str(), machine_.c_str(), 2, &list, nullptr),
            POISONCTL_ERROR_USAGE);
  EXPECT_EQ(list, nullptr);
}

TEST_F(Library, ALongMessageIsCutBetweenCharacters) {
  poisonctl_list* list = nullptr;
  poisonctl_error error = {};
  for (int blanks = 0; blanks < 4; ++blanks) {
    std::string path = "/" + std::string(static_cast<std::size_t>(blanks), ' ');
    while (path.size() < 2000) path += "\u20ac";  // three bytes
    EXPECT_EQ(poisonctl_list_open(path.c_str(), machine_.c_str(), 0, &list, &error), error.status);
    ASSERT_NE(error.status, POISONCTL_OK);
    const std::string message = error.message;
    EXPECT_GE(message.size(), POISONCTL_MESSAGE_SIZE - 3U);
    EXPECT_LT(message.size(), std::size_t{POISONCTL_MESSAGE_SIZE});
    EXPECT_EQ(message.substr(message.size() - 3), "\u20ac");
  }
}

TEST_F(Library, APlanOutlivesItsList) {
  poisonctl_list* const list = open();
  ASSERT_NE(list, nullptr);
  poisonctl_plan* plan = nullptr;
  ASSERT_EQ(poisonctl_plan_make(list, "e820", nullptr, "quiet", &plan, nullptr), POISONCTL_OK);
  poisonctl_list_close(list);
  std::size_t size = 0;
  const char* const artifact = poisonctl_plan_artifact(plan, &size);
  EXPECT_STREQ(artifact, "quiet memmap=0x1000%0x2800000-1+5\n");
  EXPECT_EQ(size, std::strlen(artifact));
  EXPECT_EQ(poisonctl_plan_covered_count(plan), 1U);
  EXPECT_EQ(poisonctl_plan_refused_count(plan), 1U);
  poisonctl_plan_free(plan);
}

TEST_F(Library, ThreadsMayShareAList) {
  poisonctl_list* const list = open();
  ASSERT_NE(list, nullptr);
  constexpr int kThreads = 4;
  std::vector<std::string> artifacts(kThreads);
  std::vector<std::thread> threads;
  for (std::string& artifact : artifacts) {
    threads.emplace_back([&artifact, list] {
      for (int turn = 0; turn < 3; ++turn) {
        poisonctl_plan* plan = nullptr;
        if (poisonctl_plan_make(list, "e820", nullptr, nullptr, &plan, nullptr) != 0) return;
        artifact += poisonctl_plan_artifact(plan, nullptr);
        poisonctl_plan_free(plan);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::string& artifact : artifacts) {
    EXPECT_EQ(artifact,
              "memmap=0x1000%0x2800000-1+5\nmemmap=0x1000%0x2800000-1+5\n"
              "memmap=0x1000%0x2800000-1+5\n");
  }
  poisonctl_list_close(list);
}

}  // namespace
}  // namespace poisonctl
