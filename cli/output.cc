#include "cli/output.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <system_error>

namespace poisonctl {

namespace {

// Columns of a terminal: every character of ours is one wide, so count those, not bytes.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
  }));
}

bool wants_colour() {
  // NO_COLOR changes how a terminal looks and nothing else.
  const char* const no_color = std::getenv("NO_COLOR");
  return ::isatty(STDOUT_FILENO) == 1 && (no_color == nullptr || *no_color == '\0');
}

// Text from firmware and files may be no UTF-8: replaced, since JSON cannot carry it.
std::string as_text(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace);
}

void to_stderr(std::string_view prefix, std::string_view text) {
  const std::string line = fmt::format("poisonctl: {}{}\n", prefix, text);
  static_cast<void>(std::fwrite(line.data(), 1, line.size(), stderr));  // nowhere to report to
}

}  // namespace

Output::Output(bool json, Verbosity verbosity)
    : json_(json), verbosity_(verbosity), colour_(wants_colour()) {}

void Output::text(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() && write_error_ == 0) {
    write_error_ = errno;
  }
}

void Output::line(std::string_view text) { this->text(fmt::format("{}\n", text)); }

void Output::line(const std::vector<Cell>& pieces) {
  std::string shown;
  for (const Cell& piece : pieces) shown += tinted(piece.text, piece.tint);
  line(shown);
}

bool Output::shows_unicode() {
  if (::isatty(STDOUT_FILENO) != 1) return false;
  // By the name of the locale (locale(7)), and not by loading it: LOCPATH says where from, and a
  // program of root reads no file that somebody's environment names.
  for (const char* const name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
    if (value == nullptr || *value == '\0') continue;
    const std::string_view locale = value;
    return locale.find("UTF-8") != std::string_view::npos ||
           locale.find("utf8") != std::string_view::npos;
  }
  return false;
}

std::string Output::tinted(std::string_view text, Tint tint) const {
  if (!colour_ || tint == Tint::kNone) return std::string(text);
  const int code = tint == Tint::kGood ? 32 : tint == Tint::kWarn ? 33 : 31;  // SGR (ECMA-48)
  return fmt::format("\033[{}m{}\033[0m", code, text);
}

void Output::table(const std::vector<std::string>& header,
                   const std::vector<std::vector<Cell>>& rows) {
  const auto all = [&](const TakeRow& take) -> Result<void> {
    for (const auto& row : rows) take(row);
    return {};
  };
  const auto printed = table(header, all);
  if (printed && *printed == 0) line(fmt::format("{}", fmt::join(header, "  ")));
}

Result<std::uint64_t> Output::table(const std::vector<std::string>& header,
                                    const std::function<Result<void>(const TakeRow&)>& rows) {
  std::vector<std::size_t> widths;
  std::vector<Cell> head;
  for (const std::string& name : header) {
    widths.push_back(width_of(name));
    head.push_back({.text = name});
  }
  std::uint64_t count = 0;
  auto measured = rows([&](const std::vector<Cell>& row) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths.at(i) = std::max(widths.at(i), width_of(row.at(i).text));
      head.at(i).right = row.at(i).right;
    }
    ++count;
  });
  if (!measured) return measured.error();
  if (count == 0) return count;
  const auto show = [&](const std::vector<Cell>& row) {
    std::string shown;
    for (std::size_t i = 0; i < row.size(); ++i) {
      const Cell& cell = row.at(i);
      // What changed since it was measured may be wider.
      const std::size_t width = width_of(cell.text);
      const std::string padding(std::max(widths.at(i), width) - width, ' ');
      if (i != 0) shown += "  ";
      if (cell.right) shown += padding;
      shown += tinted(cell.text, cell.tint);
      if (!cell.right && i + 1 != row.size()) shown += padding;
    }
    line(shown);
  };
  show(head);
  if (auto shown = rows(show); !shown) return shown.error();
  return count;
}

void Output::object(const Json& object) { line(as_text(object)); }

JsonStream::JsonStream(Output& output, const Json& fields) : output_(output) {
  std::string text = as_text(fields);
  text.resize(text.size() - std::string_view("\n}").size());
  output_.text(text);
}

void JsonStream::begin_list(std::string_view name) {
  output_.text(fmt::format(",\n  \"{}\": [", name));
  first_item_ = true;
}

void JsonStream::add(const Json& item) {
  std::string text = first_item_ ? "\n    " : ",\n    ";
  first_item_ = false;
  for (const char c : as_text(item)) {
    text += c;
    if (c == '\n') text += "    ";
  }
  output_.text(text);
}

void JsonStream::end_list() { output_.text(first_item_ ? "]" : "\n  ]"); }

void JsonStream::end() { output_.text("\n}\n"); }

void Output::note(std::string_view text) const {
  if (verbosity_ != Verbosity::kQuiet) to_stderr("", text);
}
void Output::detail(std::string_view text) const {
  if (verbosity_ == Verbosity::kVerbose) to_stderr("", text);
}
void Output::warning(std::string_view text) const {
  if (verbosity_ != Verbosity::kQuiet) to_stderr("warning: ", text);
}
void Output::error(const Error& error) { to_stderr("", error.message); }

Result<void> Output::finish() {
  if (std::fflush(stdout) != 0 && write_error_ == 0) write_error_ = errno;
  if (write_error_ == 0) return {};
  return Error{ErrorCode::kIo,
               "standard output: " + std::generic_category().message(write_error_) +
                   "; what was printed is not complete",
               write_error_};
}

}  // namespace poisonctl
