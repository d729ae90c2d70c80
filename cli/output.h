// Where everything that people and scripts read goes through: tables, JSON, diagnostics, colour.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "registry/result.h"

namespace poisonctl {

using Json = nlohmann::ordered_json;  // keys stay in the order in which the design page lists them

enum class Tint { kNone, kGood, kWarn, kBad };

// One cell of a table.
struct Cell {
  std::string text;
  Tint tint = Tint::kNone;
  bool right = false;  // align to the right: numbers
};

// Data goes to stdout, diagnostics to stderr. The first write error is kept and turns the exit
// status of the program into kExitIo: a cut list on a full disk must not look like a short list.
class Output {
 public:
  enum class Verbosity { kQuiet, kNormal, kVerbose };
  Output(bool json, Verbosity verbosity);

  [[nodiscard]] bool json() const { return json_; }

  void text(std::string_view text);  // as it is
  void line(std::string_view text);
  // The texts of `pieces` side by side; colour as in a table.
  void line(const std::vector<Cell>& pieces);
  // Whether stdout is a terminal of a locale with UTF-8. The locale changes how a terminal looks
  // and nothing else: a file or a pipe gets ASCII where there is a choice.
  [[nodiscard]] static bool shows_unicode();
  // A header and rows of as many cells; columns as wide as they need. Colour only on a terminal and
  // not where NO_COLOR is set (no-color.org).
  void table(const std::vector<std::string>& header, const std::vector<std::vector<Cell>>& rows);
  // The same for any number of rows in little memory: `rows` is called twice, first to measure, and
  // hands each row to its argument. Prints nothing without a row; returns how many there were.
  // Errors: those of `rows`.
  using TakeRow = std::function<void(const std::vector<Cell>& row)>;
  Result<std::uint64_t> table(const std::vector<std::string>& header,
                              const std::function<Result<void>(const TakeRow&)>& rows);
  // One object and a line end.
  void object(const Json& object);

  // Diagnostics: notes are left out with -q, details shown with -v only. Errors always show.
  void note(std::string_view text) const;
  void detail(std::string_view text) const;
  void warning(std::string_view text) const;
  static void error(const Error& error);

  // Flushes stdout. Errors: kIo, also for any write before.
  [[nodiscard]] Result<void> finish();

 private:
  [[nodiscard]] std::string tinted(std::string_view text, Tint tint) const;

  bool json_;
  Verbosity verbosity_;
  bool colour_;
  int write_error_ = 0;
};

// One object that is printed while it is made, for lists of any length: fields, then lists.
class JsonStream {
 public:
  // `fields` come first.
  JsonStream(Output& output, const Json& fields);
  void begin_list(std::string_view name);
  void add(const Json& item);
  void end_list();
  void end();

 private:
  Output& output_;
  bool first_item_ = true;
};

}  // namespace poisonctl
