// collect_rasdaemon: a database that anybody may have written. The first byte says how much of the
// rest is a journal beside it.
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "registry/sources/rasdaemon.h"
#include "tests/fuzz/source_fuzz.h"

using namespace poisonctl;

namespace {

// A folder for all inputs of the process.
struct Folder {
  Folder() {
    if (::mkdtemp(path.data()) == nullptr) std::abort();
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() {
    ::unlink((path + "/input.db").c_str());
    ::unlink((path + "/input.db-journal").c_str());
    ::unlink((path + "/input.db-wal").c_str());
    ::rmdir(path.c_str());
  }
  std::string path = "/tmp/poisonctl-fuzz-XXXXXX";
};

void write(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Folder folder;
  if (size == 0) return 0;
  const std::string path = folder.path + "/input.db";
  std::string_view rest = as_text(data + 1, size - 1);
  // 0: none; even: a write-ahead log, odd: a rollback journal, of so many parts of 256.
  const std::size_t beside = rest.size() * data[0] / 256;
  ::unlink((path + "-journal").c_str());
  ::unlink((path + "-wal").c_str());
  if (data[0] != 0) {
    write(path + (data[0] % 2 == 0 ? "-wal" : "-journal"), rest.substr(rest.size() - beside));
    rest.remove_suffix(beside);
  }
  write(path, rest);
  std::uint64_t events = 0;
  const auto report = collect_rasdaemon(path, folder.path, fuzz_settings(4096),
                                        fuzz_sink(events, FuzzTexts::kPrintable));
  fuzz_check_report(report, events);
  return 0;
}
