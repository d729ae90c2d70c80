#include "registry/sources/json_stream.h"

#include <fmt/format.h>

#include <iterator>
#include <utility>

#include "registry/sources/collecting.h"
#include "registry/text.h"

namespace poisonctl {

namespace {

// What the parser reads through. Two are equal when both are at the end, as for a stream.
class JsonIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = char;

  explicit JsonIterator(JsonInput* input) : input_(input) {}
  char operator*() const { return input_->front(); }
  JsonIterator& operator++() {
    input_->advance();
    return *this;
  }
  JsonIterator operator++(int) {
    JsonIterator before = *this;
    input_->advance();
    return before;
  }
  friend bool operator==(const JsonIterator& one, const JsonIterator& other) {
    return one.ended() == other.ended();
  }
  friend bool operator!=(const JsonIterator& one, const JsonIterator& other) {
    return !(one == other);
  }

 private:
  [[nodiscard]] bool ended() const { return input_ == nullptr || input_->done(); }
  JsonInput* input_;
};

}  // namespace

bool JsonInput::done() {
  if (error_) return true;
  if (token_ > kLongestToken) {
    error_ =
        bad_data(place(), fmt::format("more than {} bytes without the end of a value; expected "
                                      "JSON as a tool prints it",
                                      kLongestToken));
    return true;
  }
  if (at_ < buffer_.size()) return false;
  if (ended_) return true;
  constexpr std::size_t kStep = 64U << 10U;
  buffer_.resize(kStep);
  const auto got = stream_.read(buffer_);
  buffer_.resize(got ? *got : 0);
  at_ = 0;
  if (!got) error_ = got.error();
  ended_ = buffer_.empty();
  return ended_;
}

void JsonInput::advance() {
  if (buffer_[at_] == '\n') ++line_;
  ++at_;
  ++token_;
}

std::string JsonInput::place() const { return fmt::format("{}:{}: ", stream_.shown(), line_); }

Result<void> JsonReader::read(ByteStream& stream) {
  JsonInput input(stream);
  input_ = &input;
  error_.reset();
  levels_.clear();
  key_bytes_ = 0;
  nlohmann::json_sax<nlohmann::json>* const reader = this;
  const bool whole = nlohmann::json::sax_parse(JsonIterator(&input), JsonIterator(nullptr), reader);
  input_ = nullptr;
  // What ended the input is the cause of whatever the parser says of its end.
  if (input.error()) return *input.error();
  if (error_) return *error_;
  if (!whole) return Error{ErrorCode::kBug, "the JSON parser stopped and did not say why"};
  return {};
}

bool JsonReader::keep(const Result<void>& result) {
  input_->token_ends();
  if (!result) error_ = result.error();
  return result.ok();
}

bool JsonReader::open(bool object) {
  if (depth() == kDeepest) {
    return keep(
        bad_data(place(), fmt::format("more than {} objects and arrays in each other", kDeepest)));
  }
  levels_.emplace_back();
  return keep(on_open(object));
}

bool JsonReader::close() {
  key_bytes_ -= levels_.back().key_bytes;
  levels_.pop_back();
  return keep(on_close());
}

bool JsonReader::key(std::string& name) {
  Level& level = levels_.back();
  if (level.keys.size() == kMostKeys) {
    return keep(bad_data(place(), fmt::format("an object of more than {} keys", kMostKeys)));
  }
  level.key_bytes += name.size();
  key_bytes_ += name.size();
  if (key_bytes_ > kMostKeyBytes) {
    return keep(bad_data(place(), fmt::format("more than {} bytes of keys in objects that are not "
                                              "closed",
                                              kMostKeyBytes)));
  }
  if (!level.keys.insert(name).second) {
    return keep(
        bad_data(place(), fmt::format("the key '{}' comes twice in one object; which of them "
                                      "is meant cannot be told",
                                      printable(name))));
  }
  return keep(on_key(name));
}

bool JsonReader::null() { return keep(on_value(nullptr)); }
bool JsonReader::boolean(bool value) { return keep(on_value(value)); }
bool JsonReader::number_integer(std::int64_t value) { return keep(on_value(value)); }
bool JsonReader::number_unsigned(std::uint64_t value) { return keep(on_value(value)); }
bool JsonReader::number_float(double value, const std::string& /*text*/) {
  return keep(on_value(value));
}
bool JsonReader::string(std::string& value) { return keep(on_value(std::move(value))); }
bool JsonReader::binary(binary_t& /*value*/) {
  return keep(Error{ErrorCode::kBug, "binary data in JSON text"});
}
bool JsonReader::start_object(std::size_t /*elements*/) { return open(true); }
bool JsonReader::end_object() { return close(); }
bool JsonReader::start_array(std::size_t /*elements*/) { return open(false); }
bool JsonReader::end_array() { return close(); }

bool JsonReader::parse_error(std::size_t position, const std::string& last_token,
                             const nlohmann::detail::exception& /*exception*/) {
  error_ = bad_data(place(), fmt::format("byte {}: no JSON at '{}'; expected what the tool prints, "
                                         "whole and in UTF-8",
                                         position, printable(last_token)));
  return false;
}

namespace {

// Only looks: that the text is JSON of bounded depth and number of values.
class Checker final : public JsonReader {
 private:
  Result<void> on_open(bool /*object*/) override { return count(); }
  Result<void> on_close() override { return {}; }
  Result<void> on_key(const std::string& /*key*/) override { return {}; }
  Result<void> on_value(nlohmann::json /*value*/) override { return count(); }
  Result<void> count() {
    constexpr std::uint64_t kMostValues = std::uint64_t{2} << 20U;
    if (++values_ <= kMostValues) return {};
    return bad_data(place(), fmt::format("more than {} values", kMostValues));
  }
  std::uint64_t values_ = 0;
};

}  // namespace

Result<nlohmann::json> read_json(ByteStream& stream, std::size_t largest) {
  const auto text = read_all(stream, largest);
  if (!text) return text.error();
  TextStream again(*text, stream.shown());
  if (auto fit = Checker().read(again); !fit) return fit.error();
  constexpr bool kThrow = false;
  auto document = nlohmann::json::parse(*text, nullptr, kThrow);
  if (document.is_discarded()) return Error{ErrorCode::kBug, stream.shown() + ": JSON or not?"};
  return document;
}

std::optional<std::uint64_t> json_unsigned(const nlohmann::json& value) {
  if (value.is_number_unsigned()) return value.get<std::uint64_t>();
  if (!value.is_string()) return std::nullopt;
  const auto& text = value.get_ref<const std::string&>();
  // printf("%#llx") of 0 is "0".
  return text == "0" ? std::optional<std::uint64_t>(0) : parse_prefixed_hex(text);
}

std::string json_text(const nlohmann::json& value, std::size_t limit) {
  constexpr std::size_t kDots = 3;
  return printable(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace),
                   limit - kDots);
}

}  // namespace poisonctl
