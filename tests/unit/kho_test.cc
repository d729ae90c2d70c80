// What kexec handover hands over, in both byte orders. The golden files have the bytes that a
// kernel of each order writes; a mistake that writing and reading share is seen against them.
#include "registry/kho.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "tests/unit/test_files.h"
#include "tests/unit/test_ranges.h"

namespace poisonctl {
namespace {

std::string golden(const std::string& name) {
  std::ifstream file(checkout_path("tests/golden/kho/" + name), std::ios::binary);
  EXPECT_TRUE(file) << name;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string suffix(std::endian order) { return order == std::endian::little ? "le" : "be"; }

KhoRoot sample_root() {
  return {.version = std::string(kKhoVersion),
          .memory_map = PhysAddr(0x1234567000),
          .subtrees = {{"LUO", PhysAddr(0x10fffc000), 32}, {"hwpoison", PhysAddr(0x2000), 32}}};
}

TEST(Kho, TheRootTreeReadsAsAKernelOfEitherByteOrderWritesIt) {
  for (const std::endian order : {std::endian::little, std::endian::big}) {
    SCOPED_TRACE(suffix(order));
    const std::string blob = golden("root-" + suffix(order) + ".dtb");
    const auto written = write_kho_root(sample_root(), order);
    ASSERT_TRUE(written.ok());
    for (const std::string& tree : {blob, *written, blob + std::string(100, '\xff')}) {
      const auto read = read_kho_root(tree, order, "test");
      ASSERT_TRUE(read.ok()) << read.error().message;
      EXPECT_EQ(*read, sample_root());
    }
  }
}

TEST(Kho, ARootTreeThatIsNotOneIsAnError) {
  KhoRoot no_size = sample_root();
  no_size.version = "kho-v2";
  no_size.subtrees[0].size.reset();  // as before kho-v3
  const auto old = read_kho_root(write_kho_root(no_size, std::endian::little).value(),
                                 std::endian::little, "test");
  ASSERT_TRUE(old.ok());
  EXPECT_EQ(*old, no_size);

  KhoRoot other = sample_root();
  other.version = "memblock-v1";
  for (const std::string& blob : {std::string(), std::string("no tree"),
                                  write_kho_root(other, std::endian::little).value()}) {
    const auto read = read_kho_root(blob, std::endian::little, "test");
    ASSERT_FALSE(read.ok());
    EXPECT_EQ(read.error().code, ErrorCode::kUnknownForm);
  }
  const std::string whole = golden("root-le.dtb");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(read_kho_root(whole.substr(0, size), std::endian::little, "test").ok()) << size;
  }
}

TEST(Kho, TheVersionOfTheOrchestrator) {
  EXPECT_EQ(read_luo_version(std::string("luo-v5\0\0\1", 9), "test").value(), "luo-v5");
  for (const std::string& blob :
       {std::string(), std::string("memblock-v1\0", 12), "luo-" + std::string(100, '9')}) {
    EXPECT_EQ(read_luo_version(blob, "test").error().code, ErrorCode::kUnknownForm);
  }
}

MemoryReader reader_of(const HwpoisonImage& image) {
  return [&image](PhysAddr address, std::size_t bytes) -> Result<std::string> {
    const auto page = image.pages.find(address);
    if (page == image.pages.end() || page->second.size() != bytes) {
      return Error{ErrorCode::kIo, "no such page"};
    }
    return page->second;
  };
}

std::vector<Pfn> some_frames(std::size_t count) {
  std::vector<Pfn> frames;
  for (std::size_t i = 0; i < count; ++i) frames.emplace_back(0x8000 + 3 * i);
  return frames;
}

TEST(Kho, PoisonedFramesOfAKernelReadBackThroughTheirPages) {
  // Nothing; one; a page less one, a page, a page and one; more than one chunk of pages.
  for (const std::size_t count : {0U, 1U, 511U, 512U, 513U, 512U * 511U + 1U}) {
    for (const std::endian order : {std::endian::little, std::endian::big}) {
      SCOPED_TRACE(count);
      const PageShift shift = shift_of(4096);
      const auto frames = some_frames(count);
      const auto image = write_hwpoison(frames, order, shift, PhysAddr(0x100000));
      const auto metadata = read_hwpoison(image.metadata, order, shift, "test");
      ASSERT_TRUE(metadata.ok()) << metadata.error().message;
      const auto read = read_hwpoison_frames(*metadata, order, shift, reader_of(image), "test");
      ASSERT_TRUE(read.ok()) << read.error().message;
      EXPECT_EQ(*read, frames);
    }
  }
}

TEST(Kho, PoisonedFramesLieAsTheKernelHasThem) {
  for (const std::endian order : {std::endian::little, std::endian::big}) {
    SCOPED_TRACE(suffix(order));
    const auto image =
        write_hwpoison(some_frames(3), order, shift_of(65536), PhysAddr(0x1234560000));
    EXPECT_EQ(image.metadata, golden("hwpoison-" + suffix(order) + ".bin"));
    ASSERT_EQ(image.pages.size(), 2U);
    EXPECT_EQ(image.pages.begin()->second.size(), 65536U);
  }
}

TEST(Kho, AListOfFramesThatCannotBeIsAnError) {
  const PageShift shift = shift_of(4096);
  const auto order = std::endian::little;
  const auto image = write_hwpoison(some_frames(600), order, shift, PhysAddr(0x100000));
  const auto refused = [&](std::string metadata) {
    return read_hwpoison(metadata, order, shift, "test").error().code;
  };
  EXPECT_EQ(refused(image.metadata.substr(0, 31)), ErrorCode::kBadData);
  std::string other = image.metadata;
  other[0] = 2;
  EXPECT_EQ(refused(other), ErrorCode::kUnknownForm);
  std::string more = image.metadata;
  more[9] = 5;  // 600 = 0x258; 0x558 frames are more than two pages hold
  EXPECT_EQ(refused(more), ErrorCode::kBadData);
  std::string huge = image.metadata;
  huge[14] = 1;
  EXPECT_EQ(refused(huge), ErrorCode::kBadData);
  std::string block = image.metadata;
  block[30] = 40;
  EXPECT_EQ(refused(block), ErrorCode::kBadData);

  const auto metadata = read_hwpoison(image.metadata, order, shift, "test").value();
  const auto walked = [&](const HwpoisonImage& changed) {
    return read_hwpoison_frames(metadata, order, shift, reader_of(changed), "test");
  };
  HwpoisonImage short_chain = image;
  short_chain.pages.begin()->second.replace(16, 8, 8, '\0');  // the second page
  EXPECT_EQ(walked(short_chain).error().code, ErrorCode::kBadData);
  HwpoisonImage loop = image;
  auto& chunk = loop.pages.begin()->second;
  chunk.replace(8, 16, 16, '\0');
  chunk.replace(0, 8, std::string("\0\0\x10\0\0\0\0\0", 8));  // itself
  EXPECT_EQ(walked(loop).error().code, ErrorCode::kBadData);
  HwpoisonImage beyond = image;
  std::next(beyond.pages.begin())->second.replace(0, 8, 8, '\xff');
  EXPECT_EQ(walked(beyond).error().code, ErrorCode::kBadData);
  HwpoisonImage no_page = image;
  no_page.pages.erase(std::prev(no_page.pages.end()));
  EXPECT_EQ(walked(no_page).error().code, ErrorCode::kIo);
}

}  // namespace
}  // namespace poisonctl
