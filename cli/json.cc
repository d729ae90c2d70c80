#include "cli/json.h"

namespace poisonctl {

Json to_json(const ByteRange& range) {
  return {{"address", range.begin().value()}, {"size", range.size()}};
}

Json to_json(const RangeSet& set) {
  Json list = Json::array();
  for (const ByteRange& range : set.ranges()) list.push_back(to_json(range));
  return list;
}

Json to_json(std::span<const Refusal> refusals) {
  Json list = Json::array();
  for (const Refusal& refusal : refusals) {
    Json entry = to_json(refusal.range);
    entry["reason"] = refusal.reason;
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace poisonctl
