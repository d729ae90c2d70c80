// What every fallible function of poisonctl returns: a value, or an error that a caller can branch
// on and a person can act on. No exceptions cross a module boundary.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace poisonctl {

// The classes of failure that callers tell apart. The command line maps each to one exit status.
enum class ErrorCode {
  kUsage,         // the caller asked for something that cannot be
  kBadData,       // input was read and is not what it should be
  kUnknownForm,   // input is of a kind that this program does not know, and may well be whole
  kNoInput,       // input does not exist or cannot be opened
  kNotAvailable,  // this machine or this kernel lacks what is needed
  kBug,           // an internal rule was broken
  kNoPrivilege,   // the machine would answer, but not to this user
  kCannotWrite,   // an output cannot be created or written
  kIo,            // a read or write failed midway
  kLocked,        // somebody else holds it: trying again can help
  kRefused,       // it could be done and must not be
};

// An error. `message` is one sentence, or two, for people: what was read and where (file, line,
// offset or option), what was expected, what to do. `os_error` is the errno behind it, or 0.
struct Error {
  ErrorCode code = ErrorCode::kBug;
  std::string message;
  int os_error = 0;
};

// Either a T or an Error. The accessors do what std::optional's do: value() only after ok().
template <typename T>
class [[nodiscard]] Result {
 public:
  // NOLINTNEXTLINE(google-explicit-constructor): "return value;" is the point
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  // NOLINTNEXTLINE(google-explicit-constructor): "return error;" likewise
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  [[nodiscard]] T& value() & { return *std::get_if<0>(&state_); }
  [[nodiscard]] const T& value() const& { return *std::get_if<0>(&state_); }
  [[nodiscard]] T&& value() && { return std::move(*std::get_if<0>(&state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  [[nodiscard]] const Error& error() const { return *std::get_if<1>(&state_); }

 private:
  std::variant<T, Error> state_;
};

// Success without a value, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  [[nodiscard]] bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  [[nodiscard]] const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

}  // namespace poisonctl
