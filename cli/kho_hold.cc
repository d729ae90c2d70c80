#include "cli/kho_hold.h"

#include <fmt/format.h>
#include <poll.h>

#include <cerrno>
#include <utility>

#include "cli/service.h"
#include "cli/steps.h"
#include "registry/generation.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// What is recorded reaches a kexec that comes this much later.
constexpr int kTickMs = 1000;

}  // namespace

Result<void> KhoHolder::run() {
  kept_ = take_kept_files();
  auto signals = signals_to_end();
  if (!signals) return signals.error();
  signals_ = std::move(*signals);
  // Whether it can be done at all is known at once, also where there is no list yet.
  if (auto device = open_live_update(sysroot_); !device) return device.error();
  if (auto first = refresh(); !first) return first;
  if (!held_) invocation_.output().note("there is no registry yet: nothing is held until there is");
  notify_service_manager("READY=1");
  std::string last_problem;
  for (;;) {
    const auto ended = wait();
    if (!ended) return ended.error();
    if (*ended) break;
    const auto done = refresh();
    const std::string problem = done ? "" : done.error().message;
    if (!problem.empty() && problem != last_problem) {
      invocation_.output().warning(
          fmt::format("{}; what is held stays as it was{}", problem,
                      generation_ ? fmt::format(", generation {}", *generation_) : ""));
    }
    last_problem = problem;
  }
  notify_service_manager("STOPPING=1");
  invocation_.output().note("ended: nothing is held in memory any more");
  return {};
}

Result<bool> KhoHolder::wait() const {
  pollfd watched{.fd = signals_.get(), .events = POLLIN, .revents = 0};
  const int ready = ::poll(&watched, 1, kTickMs);
  if (ready < 0 && errno != EINTR) return os_error("poll", errno, ErrorCode::kIo);
  return ready > 0;
}

Result<void> KhoHolder::refresh() {
  {
    auto store = invocation_.open_store(Store::Mode::kRead);
    if (!store && store.error().code == ErrorCode::kNoInput && !held_) return {};
    if (!store) return store.error();
    const auto generation = list_generation(*store, invocation_.registry_path());
    if (!generation) return generation.error();
    if (generation_ == *generation) return {};
    // Under a /var that was unmounted there may be a registry of long ago.
    if (generation_ && *generation < *generation_) {
      return Error{ErrorCode::kBadData,
                   fmt::format("{}: is of generation {}, older than what is held",
                               invocation_.registry_path(), *generation)};
    }
  }
  invocation_.forget_memory_map();
  const auto loaded = load_checked_list(invocation_);
  if (!loaded) return loaded.error();
  const auto made = make_handover(invocation_, *loaded, HandoverUse::kHandOut);
  if (!made) return made.error();
  if (auto done = hold(made->blob); !done) return done;
  generation_ = made->generation;
  invocation_.output().note(fmt::format("generation {}, {}, {} held in session {} ({} of RAM)",
                                        made->generation, counted(made->ranges, "range"),
                                        counted(made->blob.size(), "byte"), held_->session(),
                                        to_human_size(held_->bytes())));
  return {};
}

Result<void> KhoHolder::hold(std::string_view handover) {
  if (held_ && held_->fits(handover)) return held_->update(handover);
  // The device is open no longer than it takes: others need it too.
  auto device = open_live_update(sysroot_);
  if (!device) return device.error();
  auto list = PreservedList::create(**device, handover);
  if (!list) return list.error();
  keep_file(list->session(), list->session_file());
  // Only now are those before given up: at no moment is nothing held.
  if (held_) forget_file(held_->session());
  for (const auto& [name, file] : kept_) forget_file(name);
  kept_.clear();
  held_.emplace(*std::move(list));
  return {};
}

}  // namespace poisonctl
