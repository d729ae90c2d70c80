// JSON from a stream, of any size in bounded memory: values are handed to a reader one by one, and
// what JSON leaves open (depth, keys that repeat, text without end) has limits here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "registry/result.h"
#include "registry/sources/source.h"

namespace poisonctl {

// The bytes of a stream for a parser, with the line that it is in.
class JsonInput {
 public:
  // Of one key, text or number, with the blanks around it.
  static constexpr std::size_t kLongestToken = std::size_t{1} << 20U;
  explicit JsonInput(ByteStream& stream) : stream_(stream) {}

  // Nothing is left, or the stream failed, or a token is too long: see error().
  [[nodiscard]] bool done();
  [[nodiscard]] char front() const { return buffer_[at_]; }
  void advance();
  void token_ends() { token_ = 0; }
  [[nodiscard]] const std::optional<Error>& error() const { return error_; }
  // "FILE:LINE: " of the byte that was read last.
  [[nodiscard]] std::string place() const;

 private:
  ByteStream& stream_;
  std::string buffer_;
  std::size_t at_ = 0;
  std::size_t token_ = 0;
  std::uint64_t line_ = 1;
  bool ended_ = false;
  std::optional<Error> error_;
};

// Derive, and take what comes. Any error ends the reading and is what read() returns.
class JsonReader : private nlohmann::json_sax<nlohmann::json> {
 public:
  static constexpr std::size_t kDeepest = 32;
  static constexpr std::size_t kMostKeys = 4096;                       // of one object
  static constexpr std::size_t kMostKeyBytes = std::size_t{4} << 20U;  // of all that are open

  // Errors: kBadData with file and line; those of the stream and of the derived reader.
  Result<void> read(ByteStream& stream);

  JsonReader() = default;
  JsonReader(const JsonReader&) = delete;
  JsonReader& operator=(const JsonReader&) = delete;
  ~JsonReader() override = default;

 protected:
  // An object or array begins; depth() counts it already.
  virtual Result<void> on_open(bool object) = 0;
  // It ends; depth() counts it no more.
  virtual Result<void> on_close() = 0;
  virtual Result<void> on_key(const std::string& key) = 0;
  // A number, a text, true, false or null.
  virtual Result<void> on_value(nlohmann::json value) = 0;

  [[nodiscard]] std::size_t depth() const { return levels_.size(); }
  [[nodiscard]] std::string place() const { return input_ == nullptr ? "" : input_->place(); }

 private:
  bool null() override;
  bool boolean(bool value) override;
  bool number_integer(std::int64_t value) override;
  bool number_unsigned(std::uint64_t value) override;
  bool number_float(double value, const std::string& text) override;
  bool string(std::string& value) override;
  bool binary(binary_t& value) override;
  bool start_object(std::size_t elements) override;
  bool key(std::string& name) override;
  bool end_object() override;
  bool start_array(std::size_t elements) override;
  bool end_array() override;
  bool parse_error(std::size_t position, const std::string& last_token,
                   const nlohmann::detail::exception& exception) override;

  bool open(bool object);
  bool close();
  bool keep(const Result<void>& result);

  struct Level {
    std::unordered_set<std::string> keys;
    std::size_t key_bytes = 0;
  };

  JsonInput* input_ = nullptr;
  std::optional<Error> error_;
  std::vector<Level> levels_;  // every object and array that is open
  std::size_t key_bytes_ = 0;  // of all of them
};

// A whole document of at most `largest` bytes and 2 Mi values: small values take more memory than
// text. Errors: kBadData; those of the stream.
Result<nlohmann::json> read_json(ByteStream& stream, std::size_t largest);

// A value as an address or a count of bytes: a number, or the text that cxl-cli and ndctl print for
// one with -u ("0x1000"). Nothing when it is neither, negative, or rounded ("64.00 MiB (67.11
// MB)").
std::optional<std::uint64_t> json_unsigned(const nlohmann::json& value);

// On one line, without bytes that a terminal would obey; no longer than `limit`.
std::string json_text(const nlohmann::json& value, std::size_t limit);

}  // namespace poisonctl
