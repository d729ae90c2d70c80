// A BMC's event log as IPMI 2.0 describes it (chapter 31), with what goes wrong on real ones.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "registry/ipmi.h"
#include "registry/sel.h"

namespace poisonctl {

class BmcModel final : public Ipmi {
 public:
  std::size_t capacity = 128;  // records
  std::vector<SelBytes> log;
  std::uint32_t clock = 0x65000000;
  bool overflow = false;
  int busy_answers = 0;  // "node busy" before it does the next thing
  // Commands until it is gone; the one that is then under way is done, and its answer lost.
  std::size_t commands_left = std::numeric_limits<std::size_t>::max();
  bool garbles = false;  // keeps another record than it was given
  std::size_t added = 0;
  std::size_t commands = 0;

  [[nodiscard]] Result<IpmiAnswer> send(const IpmiCommand& command) override {
    ++commands;
    if (commands_left == 0) {
      return Error{ErrorCode::kLocked, "the BMC did not answer within 15 s"};
    }
    --commands_left;
    IpmiAnswer answer = take(command);
    if (commands_left == 0) return Error{ErrorCode::kLocked, "the BMC did not answer within 15 s"};
    return answer;
  }

  void add(SelBytes record) {
    const auto id = static_cast<std::uint16_t>(++last_id_);
    record[0] = static_cast<std::uint8_t>(id & 0xFFU);
    record[1] = static_cast<std::uint8_t>(id >> 8U);
    ++clock;
    if (record[2] < 0xE0) {
      for (unsigned i = 0; i < 4; ++i) {
        record.at(3 + i) = static_cast<std::uint8_t>(clock >> (8 * i) & 0xFFU);
      }
    }
    log.push_back(record);
  }

 private:
  IpmiAnswer take(const IpmiCommand& command) {
    if (busy_answers > 0) {
      --busy_answers;
      return {0xC0, ""};
    }
    if (command.network_function != 0x0A) return {0xC1, ""};
    if (command.command == 0x40) return info();
    if (command.command == 0x43 && command.data.size() == 6) return entry(command.data);
    if (command.command == 0x44 && command.data.size() == 16) return add_entry(command.data);
    return {0xC1, ""};
  }
  [[nodiscard]] IpmiAnswer info() const {
    std::string data(14, '\0');
    data[0] = 0x51;
    put(data, 1, log.size());
    put(data, 3, std::min<std::size_t>((capacity - log.size()) * 16, 0xFFFF));
    data[13] = static_cast<char>(overflow ? 0x80 : 0x02);
    return {0, data};
  }
  [[nodiscard]] IpmiAnswer entry(std::string_view data) const {
    const auto id = static_cast<unsigned>(static_cast<unsigned char>(data[2]) |
                                          static_cast<unsigned char>(data[3]) << 8U);
    auto found = std::find_if(log.begin(), log.end(), [id](const SelBytes& record) {
      return static_cast<unsigned>(record[0] | record[1] << 8U) == id;
    });
    if (id == 0) found = log.begin();
    if (found == log.end()) return {0xCB, ""};
    std::string answer(2, '\0');
    put(answer, 0, 0xFFFF);
    if (found + 1 != log.end()) {
      put(answer, 0, static_cast<std::size_t>((found + 1)->at(0) | (found + 1)->at(1) << 8U));
    }
    return {0, answer + std::string(found->begin(), found->end())};
  }
  IpmiAnswer add_entry(std::string_view data) {
    if (log.size() == capacity) return {0xC4, ""};
    SelBytes record{};
    for (std::size_t i = 0; i < record.size(); ++i) {
      record.at(i) = static_cast<std::uint8_t>(data[i]);
    }
    if (garbles) record[15] ^= 1U;
    add(record);
    ++added;
    return {0, std::string(log.back().begin(), log.back().begin() + 2)};
  }
  static void put(std::string& data, std::size_t at, std::size_t value) {
    data.at(at) = static_cast<char>(value & 0xFFU);
    data.at(at + 1) = static_cast<char>(value >> 8U & 0xFFU);
  }
  unsigned last_id_ = 0;
};

}  // namespace poisonctl
