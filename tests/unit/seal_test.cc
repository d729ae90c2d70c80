// The signature of a report: every byte of the page counts.
#include "cli/report/seal.h"

#include <gtest/gtest.h>

#include "tests/unit/sample_events.h"
#include "tests/unit/temp_tree.h"

namespace poisonctl {
namespace {

class SealTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::string sealed(const std::string& page) const {
    ChainHead head{.id = 8, .hash = {}};
    head.hash.fill(0xab);
    return sealed_page(page, head, at_second(5), key_).value();
  }
  TempTree tree_;
  SigningKey key_ = SigningKey::load_or_make(tree_.path("key")).value();
};

TEST_F(SealTest, SaysWhatWasSigned) {
  const auto seal = check_seal(sealed("<html>page\n"), "FILE");
  ASSERT_TRUE(seal.ok()) << seal.error().message;
  EXPECT_EQ(seal->bytes, 11U);
  EXPECT_EQ(seal->head.id, 8);
  EXPECT_EQ(seal->head.hash.at(31), 0xab);
  EXPECT_EQ(seal->time, at_second(5));
  EXPECT_EQ(seal->public_key, key_.public_key());
}

TEST_F(SealTest, NoByteCanBeChangedAddedOrRemoved) {
  const std::string page = sealed("<html>page\n");
  for (std::size_t i = 0; i < page.size(); ++i) {
    std::string changed = page;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    ASSERT_FALSE(check_seal(changed, "FILE").ok()) << i;
  }
  for (const std::string& changed :
       {page + "x", "x" + page, page.substr(1), page.substr(0, page.size() - 1), std::string(),
        page + page, sealed(page) + "<p>more</p>"}) {
    const auto seal = check_seal(changed, "FILE");
    ASSERT_FALSE(seal.ok());
    EXPECT_EQ(seal.error().code, ErrorCode::kBadData);
    EXPECT_EQ(seal.error().message.find("FILE: "), 0U) << seal.error().message;
  }
}

// Text in the page that looks like a statement is not taken for the one that counts.
TEST_F(SealTest, AQuotedStatementChangesNothing) {
  const std::string page = sealed(sealed("inner"));
  const auto seal = check_seal(page, "FILE");
  ASSERT_TRUE(seal.ok()) << seal.error().message;
  EXPECT_GT(seal->bytes, 1000U);
}

TEST_F(SealTest, APageWithoutASignatureSaysWhy) {
  const std::string page = unsealed_page("page", "the key <is> gone");
  EXPECT_NE(page.find("not signed: the key &lt;is&gt; gone."), std::string::npos);
  EXPECT_FALSE(check_seal(page, "FILE").ok());
}

}  // namespace
}  // namespace poisonctl
