// Descriptors and the file replacement that a crash or a full disk must not turn into half a file.
#include "registry/posix_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cerrno>
#include <csignal>
#include <optional>

#include "tests/unit/temp_tree.h"
#include "tests/unit/unprivileged.h"

namespace poisonctl {
namespace {

Result<void> replace(const TempTree& tree, std::string_view name, std::string_view content,
                     mode_t mode = 0644) {
  const std::string path = tree.path(name);
  return replace_file_at(AT_FDCWD, path, content, mode, path);
}

std::vector<std::string> names_in(const TempTree& tree, std::string_view folder) {
  return tree.open()->list(folder).value();
}

using Names = std::vector<std::string>;

// The limit is what a hostile file may cost, not what every file costs.
TEST(ReadUpTo, TakesNoMoreMemoryThanThereIsToRead) {
  const TempTree tree;
  constexpr std::size_t kLimit = 256U << 20U;
  constexpr std::size_t kSizes[] = {0, 1, 65535, 65536, 65537, 1000000};
  for (const std::size_t size : kSizes) {
    SCOPED_TRACE(size);
    std::string content(size, 'x');
    if (size > 2) content[size - 2] = 'y';
    tree.write("file", content);
    const UniqueFd fd(::open(tree.path("file").c_str(), O_RDONLY | O_CLOEXEC));
    const auto all = read_up_to(fd, kLimit, "file");
    ASSERT_TRUE(all.ok());
    EXPECT_TRUE(*all == content);
    EXPECT_LT(all->capacity(), 4 * size + (256U << 10U));
    EXPECT_EQ(read_up_to(fd, size / 2, "file").value(), content.substr(0, size / 2));
  }
}

TEST(UniqueFd, ClosesOnceAndGivesAway) {
  int raw = -1;
  {
    UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    raw = fd.get();
    ASSERT_TRUE(fd.valid());
    UniqueFd other(std::move(fd));
    EXPECT_FALSE(fd.valid());  // what is being tested
    EXPECT_EQ(other.get(), raw);
    fd = std::move(other);
    EXPECT_EQ(fd.get(), raw);
    EXPECT_NE(::fcntl(raw, F_GETFD), -1);
  }
  EXPECT_EQ(::fcntl(raw, F_GETFD), -1) << "still open";

  UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  raw = fd.release();
  EXPECT_FALSE(fd.valid());
  fd.reset();
  EXPECT_EQ(::close(raw), 0) << "was closed although given away";
}

TEST(OsError, KeepsErrnoAndTellsClassesApart) {
  struct Case {
    int number;
    ErrorCode code;
  };
  constexpr Case kCases[] = {
      {ENOENT, ErrorCode::kNoInput},
      {ENOTDIR, ErrorCode::kNoInput},
      {EACCES, ErrorCode::kNoPrivilege},
      {EPERM, ErrorCode::kNoPrivilege},
      {EIO, ErrorCode::kIo},
      {EISDIR, ErrorCode::kIo},
  };
  for (const Case& c : kCases) {
    const Error error = os_error("proc/thing", c.number, ErrorCode::kIo);
    EXPECT_EQ(error.code, c.code);
    EXPECT_EQ(error.os_error, c.number);
    EXPECT_EQ(error.message.find("proc/thing: "), 0U) << error.message;
    EXPECT_GT(error.message.size(), std::string_view("proc/thing: ").size());
  }
}

TEST(WriteFully, WritesMoreThanAPipeHolds) {
  const TempTree tree;
  const std::string content(3U << 20U, 'x');
  const UniqueFd fd(::open(tree.path("f").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  EXPECT_EQ(write_fully(fd.get(), content), 0);
  EXPECT_EQ(tree.content("f"), content);
}

TEST(WriteFully, ReturnsTheErrno) {
  const UniqueFd full(::open("/dev/full", O_WRONLY | O_CLOEXEC));
  ASSERT_TRUE(full.valid());
  EXPECT_EQ(write_fully(full.get(), "x"), ENOSPC);
  EXPECT_EQ(write_fully(full.get(), ""), 0);
  EXPECT_EQ(write_fully(-1, "x"), EBADF);
}

TEST(ReplaceFile, CreatesAndReplacesWithTheModeAsked) {
  const TempTree tree;
  const mode_t old_mask = ::umask(077);  // the mode is exact whatever the umask
  ASSERT_TRUE(replace(tree, "f", "one", 0640).ok());
  EXPECT_EQ(tree.content("f"), "one");
  ASSERT_TRUE(replace(tree, "f", "second", 0604).ok());
  ::umask(old_mask);
  EXPECT_EQ(tree.content("f"), "second");
  struct stat state {};
  ASSERT_EQ(::stat(tree.path("f").c_str(), &state), 0);
  EXPECT_EQ(state.st_mode & 07777U, 0604U);
  EXPECT_EQ(names_in(tree, "."), Names{"f"});
  ASSERT_TRUE(replace(tree, "f", "").ok());
  EXPECT_EQ(tree.content("f"), "");
}

TEST(ReplaceFile, ReaderOfTheOldFileKeepsTheOldFile) {
  const TempTree tree;
  tree.write("f", "old");
  const UniqueFd reader(::open(tree.path("f").c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_TRUE(replace(tree, "f", "new").ok());
  char buffer[8] = {};
  ASSERT_EQ(::read(reader.get(), buffer, sizeof buffer), 3);
  EXPECT_STREQ(buffer, "old");
}

TEST(ReplaceFile, ReplacesALinkAndNotWhatItPointsAt) {
  const TempTree tree;
  tree.write("target", "precious");
  tree.link("f", "target");
  ASSERT_TRUE(replace(tree, "f", "new").ok());
  EXPECT_EQ(tree.content("target"), "precious");
  EXPECT_EQ(tree.content("f"), "new");
  EXPECT_FALSE(std::filesystem::is_symlink(tree.path("f")));
}

TEST(ReplaceFile, RelativeToAFolderThatIsOpen) {
  const TempTree tree;
  tree.make_folder("d");
  const UniqueFd folder(::open(tree.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_TRUE(replace_file_at(folder.get(), "d/f", "x", 0644, "d/f").ok());
  EXPECT_EQ(tree.content("d/f"), "x");
}

// Each failure: the class, the errno, the path in the message, and nothing left behind.
void expect_cannot_write(const Result<void>& result, int number, const std::string& path) {
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kCannotWrite);
  EXPECT_EQ(result.error().os_error, number);
  EXPECT_NE(result.error().message.find(path), std::string::npos) << result.error().message;
}

TEST(ReplaceFile, TargetIsAFolder) {
  const TempTree tree;
  tree.write("d/inside", "precious");
  expect_cannot_write(replace(tree, "d", "new"), EISDIR, tree.path("d"));
  EXPECT_EQ(names_in(tree, "."), Names{"d"}) << "a temporary file was left behind";
  EXPECT_EQ(tree.content("d/inside"), "precious");
  expect_cannot_write(replace_file_at(AT_FDCWD, tree.path("d/"), "new", 0644, "d/"), EISDIR, "d/");
}

TEST(ReplaceFile, FolderIsMissing) {
  const TempTree tree;
  expect_cannot_write(replace(tree, "no/f", "new"), ENOENT, tree.path("no/f"));
}

TEST(ReplaceFile, FolderIsNotWritable) {
  const TempTree tree;
  tree.write("d/f", "old");
  ASSERT_EQ(::chmod(tree.path("d").c_str(), 0555), 0);
  std::optional<Result<void>> result;
  {
    // Opened before privileges go, so that only the folder itself stands in the way.
    const UniqueFd folder(::open(tree.path("d").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const Unprivileged unprivileged;
    result.emplace(replace_file_at(folder.get(), "f", "new", 0644, "d/f"));
  }
  expect_cannot_write(*result, EACCES, "d/f");
  EXPECT_EQ(names_in(tree, "d"), Names{"f"});
  EXPECT_EQ(tree.content("d/f"), "old");
  ASSERT_EQ(::chmod(tree.path("d").c_str(), 0755), 0);
}

TEST(ReplaceFile, WriteFailsHalfway) {
  const TempTree tree;
  tree.write("f", "old");
  // A file size limit stops write(2) in the middle, as a full disk does.
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 100;
  auto* const old_handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const auto result = replace(tree, "f", std::string(1000, 'x'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  ::signal(SIGXFSZ, old_handler);
  expect_cannot_write(result, EFBIG, tree.path("f"));
  EXPECT_EQ(tree.content("f"), "old");
  EXPECT_EQ(names_in(tree, "."), Names{"f"}) << "a temporary file was left behind";
}

}  // namespace
}  // namespace poisonctl
