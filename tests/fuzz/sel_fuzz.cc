// The event log of a BMC that answers with anything: its records as a source, and the queue of
// notices as a file.
#include "registry/notices.h"
#include "registry/sel.h"
#include "registry/sources/ipmi.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

namespace {

// Answers with what the input has next: a length, a completion code, bytes; then the same once
// more.
class AnyBmc final : public Ipmi {
 public:
  explicit AnyBmc(std::string_view input) : input_(input) {}
  [[nodiscard]] Result<IpmiAnswer> send(const IpmiCommand& /*command*/) override {
    constexpr std::size_t kMostCommands = 70000;  // more than a log has records
    if (input_.empty() || ++commands_ > kMostCommands) {
      return Error{ErrorCode::kBadData, "the input has ended"};
    }
    const std::size_t length =
        std::min<std::size_t>(static_cast<unsigned char>(input_.front()), input_.size() - 1);
    const std::string_view answer = input_.substr(1, length);
    input_.remove_prefix(1 + length);
    if (answer.empty()) return IpmiAnswer{};
    return IpmiAnswer{static_cast<std::uint8_t>(answer.front()), std::string(answer.substr(1))};
  }

 private:
  std::string_view input_;
  std::size_t commands_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text = as_text(data, size);
  AnyBmc bmc(text);
  Sel sel(bmc, [](std::chrono::milliseconds) {});
  std::uint64_t events = 0;
  const auto report = collect_ipmi(sel, fuzz_sink(events, FuzzTexts::kPrintable));
  if (report) fuzz_check_report(report, events);

  if (const auto queue = parse_notice_queue(text, "queue")) {
    const auto back = parse_notice_queue(to_text(*queue), "queue");
    fuzz_check(back && to_text(*back) == to_text(*queue), "a queue reads back");
    for (const QueuedNotice& queued : queue->notices) {
      const SelNotice& notice = queued.notice;
      const auto found = notice_in(records_of(notice).place);
      fuzz_check(found && found->block == notice.block && found->episode == notice.episode,
                 "a notice reads back");
    }
  }
  return 0;
}
