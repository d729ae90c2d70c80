// poisonctl collect: asks a source what it knows.
#include <fmt/format.h>

#include <thread>

#include "cli/steps.h"
#include "cli/verb.h"
#include "registry/sources/kernel.h"
#include "registry/text.h"

namespace poisonctl {
namespace {

namespace po = boost::program_options;

void add_options(po::options_description& options) {
  options.add_options()(
      "full", "kernel: read the flags of all memory even when the kernel counts no poison")(
      "threads", po::value<unsigned>()->default_value(0)->value_name("N"),
      "kernel: read with N threads; 0 is one a core");
}

Result<ExitStatus> collect_kernel(Invocation& invocation) {
  const auto root = invocation.sysroot();
  if (!root) return root.error();
  const auto machine = invocation.machine();
  if (!machine) return machine.error();
  const auto provenance = invocation.provenance("kernel");
  if (!provenance) return provenance.error();

  const unsigned asked = invocation.option<unsigned>("threads");
  constexpr unsigned kMostThreads = 256;
  if (asked > kMostThreads) {
    return Error{ErrorCode::kUsage,
                 fmt::format("--threads {}: expected 0 to {}", asked, kMostThreads)};
  }
  const unsigned cores = std::max(1U, std::thread::hardware_concurrency());
  const KernelSourceOptions options{.full = invocation.has("full"),
                                    .threads = asked == 0 ? std::min(cores, kMostThreads) : asked};
  const auto found = collect_from_kernel(**root, **machine, options);
  if (!found) return found.error();

  Output& output = invocation.output();
  output.detail(fmt::format("read the page flags of {}", to_human_size(found->scanned)));
  if (found->events.empty()) {
    output.note(
        found->hardware_corrupted == 0
            ? fmt::format("the kernel counts no poisoned memory{}",
                          found->scanned == 0 ? "; --full reads all page flags anyway" : "")
            : fmt::format("the kernel counts {} of poisoned memory, but no frame of RAM is "
                          "flagged: the count includes attempts that failed and memory that "
                          "was removed",
                          to_human_size(found->hardware_corrupted)));
    return kExitDone;
  }
  auto store = invocation.open_store(Store::Mode::kCreate);
  if (!store) return store.error();
  const auto summary = store->append(*provenance, found->events);
  if (!summary) return summary.error();
  // The flag is the cause, not yet the outcome: the kernel also flags frames that it goes on using.
  const auto verified = verify_records(invocation);
  if (!verified) return verified.error();
  if (verified->not_stored) output.warning(*verified->not_stored);

  output.note(fmt::format("{} poisoned in page flags: {} recorded in {}, {} known from this boot",
                          found->events.size(), summary->added, invocation.registry_path(),
                          summary->unchanged));
  return kExitDone;
}

Result<ExitStatus> run(Invocation& invocation) {
  const std::string source = invocation.arguments().front();
  if (source == "kernel") return collect_kernel(invocation);
  return Error{ErrorCode::kUsage,
               fmt::format("there is no source '{}'; sources: kernel", printable(source))};
}

}  // namespace

const Verb kCollectVerb = {
    .name = "collect",
    .arguments = "kernel",
    .summary = "Record what a source knows: the frames that the kernel has poisoned",
    .least_arguments = 1,
    .most_arguments = 1,
    .has_json = false,
    .add_options = add_options,
    .run = run,
};

}  // namespace poisonctl
