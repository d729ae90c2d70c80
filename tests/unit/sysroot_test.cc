// The machine as a folder: nothing outside is ever opened, and errors say which file of which tree.
#include "registry/sysroot.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "registry/changeable_root.h"
#include "tests/unit/fake_sysroot.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/unprivileged.h"

namespace poisonctl {
namespace {

using Names = std::vector<std::string>;

TEST(SysRoot, ReadsAFileOfTheTree) {
  const TempTree tree;
  tree.write("proc/iomem", "content\n");
  tree.write("empty", "");
  const std::string large(200000, 'x');  // more than one read
  tree.write("large", large);
  const auto root = tree.open();
  EXPECT_EQ(root->root(), tree.path());
  EXPECT_EQ(root->read("proc/iomem").value(), "content\n");
  EXPECT_EQ(root->read("empty").value(), "");
  EXPECT_EQ(root->read("large").value(), large);
}

// clear_poison of CXL answered "Illegal seek": files of debugfs have no offset, as a pipe has none.
TEST(SysRoot, AnOrderNeedsNoOffset) {
  const TempTree tree;
  tree.make_folder("sys");
  const std::string path = tree.path() + "/sys/order";
  ASSERT_EQ(::mkfifo(path.c_str(), 0600), 0);
  const UniqueFd reader(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  ASSERT_TRUE(reader.valid());
  const auto root = open_sysroot("/");  // a captured machine has no such files
  ASSERT_TRUE(root.ok());
  const auto attribute = (*root)->open_attribute(path.substr(1));
  ASSERT_TRUE(attribute.ok()) << attribute.error().message;
  EXPECT_EQ((*attribute)->write("0x40"), 0);
  std::array<char, 16> got{};
  ASSERT_EQ(::read(reader.get(), got.data(), got.size()), 4);
  EXPECT_EQ(std::string_view(got.data(), 4), "0x40");
}

TEST(SysRoot, ReadsTheRunningMachineAtSlash) {
  const auto root = open_sysroot("/");
  ASSERT_TRUE(root.ok());
  EXPECT_EQ((*root)->root(), "/");
  EXPECT_EQ((*root)->shown("proc/iomem"), "/proc/iomem");
  // /proc files say size 0 whatever they hold.
  EXPECT_FALSE((*root)->read("proc/self/status").value().empty());
}

TEST(SysRoot, ShowsPathsAsAPersonTypesThem) {
  const TempTree tree;
  const auto root = open_sysroot(tree.path() + "//");
  ASSERT_TRUE(root.ok());
  EXPECT_EQ((*root)->shown("proc/iomem"), tree.path() + "/proc/iomem");
}

TEST(SysRoot, MissingTreeIsNoInput) {
  const TempTree tree;
  tree.write("file", "");
  for (const std::string& path : {tree.path("no"), tree.path("file")}) {
    const auto root = open_sysroot(path);
    ASSERT_FALSE(root.ok());
    EXPECT_EQ(root.error().code, ErrorCode::kNoInput);
    EXPECT_NE(root.error().message.find(path), std::string::npos) << root.error().message;
  }
}

TEST(SysRoot, MissingFileNamesIt) {
  const TempTree tree;
  tree.write("file", "");
  const auto root = tree.open();
  for (const std::string path : {"proc/no", "file/no"}) {
    const auto got = root->read(path);
    ASSERT_FALSE(got.ok());
    EXPECT_EQ(got.error().code, ErrorCode::kNoInput);
    EXPECT_NE(got.error().os_error, 0);
    EXPECT_NE(got.error().message.find(tree.path(path)), std::string::npos);
    EXPECT_EQ(root->open(path).error().code, ErrorCode::kNoInput);
    EXPECT_EQ(root->list(path).error().code, ErrorCode::kNoInput);
  }
  EXPECT_EQ(root->list("file").error().code, ErrorCode::kNoInput);
}

TEST(SysRoot, FolderWhereAFileShouldBeIsIo) {
  const TempTree tree;
  tree.make_folder("proc/iomem");
  const auto root = tree.open();
  const auto got = root->read("proc/iomem");
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::kIo);
  EXPECT_EQ(got.error().os_error, EISDIR);
}

TEST(SysRoot, NoPermissionIsNoPrivilege) {
  const TempTree tree;
  tree.write("secret", "x");
  ASSERT_EQ(::chmod(tree.path("secret").c_str(), 0), 0);
  const auto root = tree.open();
  const Unprivileged unprivileged;
  const auto got = root->read("secret");
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::kNoPrivilege);
  EXPECT_EQ(got.error().os_error, EACCES);
}

TEST(SysRoot, ReadLimitIsExact) {
  const TempTree tree;
  tree.write("f", std::string(1000, 'x'));
  const auto root = tree.open();
  EXPECT_EQ(root->read("f", 1000).value().size(), 1000U);
  const auto got = root->read("f", 999);
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::kBadData);
  EXPECT_NE(got.error().message.find(tree.path("f")), std::string::npos);
  EXPECT_NE(got.error().message.find("999"), std::string::npos);
}

TEST(SysRoot, EndlessFileStopsAtTheLimit) {
  const auto root = open_sysroot("/");
  ASSERT_TRUE(root.ok());
  EXPECT_EQ((*root)->read("dev/zero").error().code, ErrorCode::kBadData);
}

TEST(SysRoot, ListIsSortedAndComplete) {
  const TempTree tree;
  for (const auto* name : {"d/memory10", "d/memory2", "d/.hidden", "d/block_size_bytes"}) {
    tree.write(name, "");
  }
  tree.make_folder("d/sub");
  tree.make_folder("empty");
  const auto root = tree.open();
  EXPECT_EQ(root->list("d").value(),
            (Names{".hidden", "block_size_bytes", "memory10", "memory2", "sub"}));
  EXPECT_EQ(root->list("empty").value(), Names{});
}

TEST(SysRoot, LinksResolveInsideTheTree) {
  const TempTree outside;
  outside.write("secret", "outside");
  const TempTree tree;
  tree.write("inside/file", "inside");
  tree.link("absolute", "/inside/file");        // as if the tree were "/"
  tree.link("sub/relative", "../inside/file");  // stays inside
  tree.link("folder", "inside");
  tree.link("up", "../../../../../../../../inside/file");  // ".." stops at the root of the tree
  tree.link("escape", outside.path("secret"));
  tree.link("climb", "../" + std::filesystem::path(outside.path()).filename().string() + "/secret");
  tree.link("loop", "loop");
  const auto root = tree.open();
  for (const std::string_view path : {"absolute", "sub/relative", "folder/file", "up",
                                      "inside/../inside/file", "../../inside/file"}) {
    const auto got = root->read(path);
    ASSERT_TRUE(got.ok()) << path << ": " << got.error().message;
    EXPECT_EQ(*got, "inside") << path;
  }
  const std::string climb = "../" + std::filesystem::path(outside.path()).filename().string();
  for (const std::string& path :
       {std::string("escape"), std::string("climb"), climb + "/secret", outside.path("secret")}) {
    EXPECT_EQ(root->read(path).error().code, ErrorCode::kNoInput) << path;
    EXPECT_EQ(root->open(path).error().code, ErrorCode::kNoInput) << path;
  }
  EXPECT_EQ(root->list(climb).error().code, ErrorCode::kNoInput);
  EXPECT_EQ(root->read("loop").error().os_error, ELOOP);
}

TEST(SysRoot, OpenReadsAtAnyOffset) {
  const TempTree tree;
  tree.write("f", "0123456789");
  const auto root = tree.open();
  const auto file = root->open("f");
  ASSERT_TRUE(file.ok());
  struct Case {
    std::uint64_t offset;
    std::size_t size;
    std::string_view expected;
  };
  constexpr Case kCases[] = {{0, 4, "0123"}, {6, 4, "6789"},     {8, 4, "89"},
                             {10, 4, ""},    {1U << 30U, 4, ""}, {3, 0, ""}};
  for (const Case& c : kCases) {
    std::string buffer(c.size, '?');
    const auto got = (*file)->read_at(c.offset, std::as_writable_bytes(std::span(buffer)));
    ASSERT_TRUE(got.ok());
    EXPECT_EQ(buffer.substr(0, *got), c.expected);
  }
}

TEST(SysRoot, OpenOfAFolderFailsToRead) {
  const TempTree tree;
  tree.make_folder("d");
  const auto root = tree.open();
  const auto file = root->open("d");
  ASSERT_TRUE(file.ok());
  std::byte one{};
  const auto got = (*file)->read_at(0, {&one, 1});
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.error().code, ErrorCode::kIo);
  EXPECT_EQ(got.error().os_error, EISDIR);
  EXPECT_NE(got.error().message.find(tree.path("d")), std::string::npos);
}

TEST(SysRoot, ReplaceFileMakesFoldersAndKeepsTheMode) {
  const TempTree tree;
  const auto root = tree.open();
  ASSERT_TRUE(root->replace_file("etc/default/grub.d/poisonctl.cfg", "x", 0640).ok());
  EXPECT_EQ(tree.content("etc/default/grub.d/poisonctl.cfg"), "x");
  struct stat state {};
  ASSERT_EQ(::stat(tree.path("etc/default/grub.d/poisonctl.cfg").c_str(), &state), 0);
  EXPECT_EQ(state.st_mode & 07777U, 0640U);
  ASSERT_TRUE(root->replace_file("top", "y", 0600).ok());
  EXPECT_EQ(tree.content("top"), "y");
  EXPECT_EQ(root->list(".").value(), (Names{"etc", "top"}));
}

TEST(SysRoot, ReplaceFileNeverLeavesTheTree) {
  const TempTree outside;
  outside.make_folder("d");
  const TempTree tree;
  tree.make_folder("inside");
  tree.link("absolute", "/inside");
  tree.link("escape", outside.path("d"));
  const auto root = tree.open();
  ASSERT_TRUE(root->replace_file("absolute/f", "x", 0600).ok());
  EXPECT_EQ(tree.content("inside/f"), "x");
  EXPECT_FALSE(root->replace_file("escape/f", "x", 0600).ok());
  // ".." at the top is the top: the file lands in the tree.
  ASSERT_TRUE(root->replace_file("../f", "x", 0600).ok());
  EXPECT_EQ(tree.content("f"), "x");
  EXPECT_TRUE(std::filesystem::is_empty(outside.path("d")));
}

TEST(SysRoot, ReplaceFileOntoAFolderLeavesItAlone) {
  const TempTree tree;
  tree.write("d/f", "old");
  const auto root = tree.open();
  const auto result = root->replace_file("d", "x", 0600);
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.error().code, ErrorCode::kCannotWrite);
  EXPECT_EQ(result.error().os_error, EISDIR);
  EXPECT_EQ(tree.content("d/f"), "old");
  EXPECT_EQ(root->list(".").value(), Names{"d"});
}

TEST(FakeSysRoot, RecordsAndFails) {
  const TempTree tree;
  tree.write("a", "0123456789");
  tree.write("b", "x");
  const auto inner = tree.open();
  FakeSysRoot fake(*inner);
  fake.fail("b", {ErrorCode::kIo, "b: broken", EIO});
  fake.fail_at("a", 5, {ErrorCode::kIo, "a: broken at 5", EIO});
  EXPECT_EQ(fake.read("a", SysRoot::kReadLimit).value(), "0123456789");
  EXPECT_EQ(fake.read("b", SysRoot::kReadLimit).error().message, "b: broken");
  EXPECT_FALSE(fake.replace_file("b", "y", 0600).ok());
  const auto file = fake.open("a");
  ASSERT_TRUE(file.ok());
  std::string buffer(5, '?');
  EXPECT_EQ((*file)->read_at(0, std::as_writable_bytes(std::span(buffer))).value(), 5U);
  EXPECT_FALSE((*file)->read_at(1, std::as_writable_bytes(std::span(buffer))).ok());
  EXPECT_EQ((*file)->read_at(6, std::as_writable_bytes(std::span(buffer))).value(), 4U);
  EXPECT_EQ(fake.used(), (Names{"a", "b", "a"}));
  EXPECT_EQ(fake.bytes_read_at(), 9U);
}

TEST(ChangeableRoot, TellsTheModeOfPlainFilesAndRemovesThem) {
  TempTree tree;
  tree.write("etc/file", "x");
  ASSERT_EQ(::chmod(tree.path("etc/file").c_str(), 0640), 0);
  tree.link("etc/link", "file");
  tree.link("outside", "/etc");
  const auto root = open_changeable_root(tree.path());
  ASSERT_TRUE(root.ok());
  EXPECT_EQ((*root)->file_mode("etc/file").value(), mode_t{0640});
  EXPECT_EQ((*root)->file_mode("etc/none").value(), std::nullopt);
  EXPECT_EQ((*root)->file_mode("none/at/all").value(), std::nullopt);
  for (const char* other : {"etc/link", "etc"}) {
    const auto mode = (*root)->file_mode(other);
    ASSERT_FALSE(mode.ok()) << other;
    EXPECT_EQ(mode.error().code, ErrorCode::kBadData);
  }
  // Inside the root, "/etc" is the tree's own.
  EXPECT_EQ((*root)->file_mode("outside/file").value(), mode_t{0640});
  ASSERT_TRUE((*root)->remove_file("outside/file").ok());
  EXPECT_EQ((*root)->file_mode("etc/file").value(), std::nullopt);
  const auto again = (*root)->remove_file("etc/file");
  ASSERT_FALSE(again.ok());
  EXPECT_NE(again.error().message.find("cannot remove"), std::string::npos);
  EXPECT_NE(again.error().message.find("etc/file"), std::string::npos);
}

}  // namespace
}  // namespace poisonctl
