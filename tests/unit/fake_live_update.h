// The live update orchestrator without a kernel: what a "kernel" preserves, the next one has.
// Sessions of others are kept beside ours, so that a test sees whether they were touched.
#pragma once

#include <gtest/gtest.h>

#include <cerrno>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "registry/live_update.h"

namespace poisonctl {

class FakeLiveUpdate final : public LiveUpdate {
 public:
  // What the sessions of this kernel hold now; of those that live.
  std::map<std::string, std::string> outgoing() const {
    std::map<std::string, std::string> all;
    for (const auto& [name, session] : outgoing_) {
      if (session->file >= 0) {
        const auto bytes = read_up_to(UniqueFd(::dup(session->file)), 64U << 20U, "test");
        all[name] = bytes.value();
      }
    }
    return all;
  }
  // What the kernel before has left.
  std::map<std::string, std::string> incoming;
  std::map<std::string, int> finished;  // how often, by name
  bool preserve_fails = false;
  int sessions_made = 0;

  Result<std::unique_ptr<LiveSession>> create_session(const std::string& name) override {
    if (outgoing_.contains(name)) return Error{ErrorCode::kLocked, name + ": there", EEXIST};
    auto state = std::make_shared<State>();
    outgoing_[name] = state.get();
    ++sessions_made;
    return std::unique_ptr<LiveSession>(
        std::make_unique<Session>(*this, name, true, std::move(state)));
  }
  Result<std::unique_ptr<LiveSession>> retrieve_session(const std::string& name) override {
    if (!incoming.contains(name)) return Error{ErrorCode::kNoInput, name + ": not there", ENOENT};
    return std::unique_ptr<LiveSession>(std::make_unique<Session>(*this, name, false, nullptr));
  }

 private:
  struct State {
    int file = -1;
  };
  class Session final : public LiveSession {
   public:
    Session(FakeLiveUpdate& all, std::string name, bool ours, std::shared_ptr<State> state)
        : all_(all), name_(std::move(name)), ours_(ours), state_(std::move(state)) {}
    ~Session() override {
      if (ours_) all_.outgoing_.erase(name_);
    }
    Result<void> preserve(const UniqueFd& file, std::uint64_t token) override {
      EXPECT_EQ(token, 0U);
      if (all_.preserve_fails) return Error{ErrorCode::kNotAvailable, "cannot preserve", ENOENT};
      state_->file = file.get();
      return {};
    }
    Result<UniqueFd> retrieve(std::uint64_t token) override {
      EXPECT_EQ(token, 0U);
      const std::string& bytes = all_.incoming[name_];
      auto file = file_in_memory("test", bytes.size());
      EXPECT_TRUE(write_at(*file, 0, bytes, "test").ok());
      return file;
    }
    Result<void> finish() override {
      ++all_.finished[name_];
      return {};
    }
    [[nodiscard]] const UniqueFd& file() const override { return none_; }

   private:
    FakeLiveUpdate& all_;
    std::string name_;
    bool ours_;
    std::shared_ptr<State> state_;
    UniqueFd none_;
  };
  std::map<std::string, State*> outgoing_;
};

}  // namespace poisonctl
