// Ed25519: a key of this host's own that nobody else can use, and signatures that fit one message.
#include "registry/signing.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "registry/chain.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/unprivileged.h"

namespace poisonctl {
namespace {

std::string pem(std::string_view kind, std::string_view base64) {
  const std::string words = std::string(kind) + "-----\n";
  return "-----BEGIN " + words + std::string(base64) + "\n-----END " + words;
}

std::string from_hex(std::string_view hex) {
  std::string bytes;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    bytes += static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16));
  }
  return bytes;
}

// A folder in which a key may be.
class SigningTest : public ::testing::Test {
 protected:
  [[nodiscard]] std::string path() const { return tree_.path("key"); }
  void write(std::string_view content, mode_t mode = 0600) const {
    tree_.write("key", content);
    ASSERT_EQ(::chmod(path().c_str(), mode), 0);
  }
  TempTree tree_;
};

// RFC 8032, 7.1.
TEST_F(SigningTest, SignsAsTheSpecificationDoes) {
  struct Case {
    std::string_view key;
    std::string_view public_key;
    std::string_view message;
    std::string_view signature;
  };
  const Case cases[] = {
      {"MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g",
       "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
       "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf"
       "9"
       "b46bd25bf5f0595bbe24655141438e7a100b"},
      {"MC4CAQAwBQYDK2VwBCIEIEzNCJso/5banbbDRuwRTg9bijGfNaumJNqM9u1PuKb7",
       "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "\x72",
       "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f"
       "1"
       "1d8c387b2eaeb4302aeeb00d291612bb0c00"},
  };
  for (const Case& c : cases) {
    write(pem("PRIVATE KEY", c.key));
    const auto key = SigningKey::load(path());
    ASSERT_TRUE(key.ok()) << key.error().message;
    EXPECT_EQ(to_hex_text(key->public_key()), c.public_key);
    EXPECT_EQ(to_hex_text(key->sign(c.message).value()), c.signature);
    EXPECT_TRUE(is_signed_by(from_hex(c.public_key), c.message, from_hex(c.signature)));
  }
}

TEST_F(SigningTest, MakesAKeyOnceForItsOwnerOnlyWhateverTheUmask) {
  const mode_t before = ::umask(0);
  const auto made = SigningKey::load_or_make(path());
  ::umask(before);
  ASSERT_TRUE(made.ok()) << made.error().message;
  struct stat status {};
  ASSERT_EQ(::stat(path().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0600U);
  const std::string content = tree_.content("key");
  const auto again = SigningKey::load_or_make(path());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->public_key(), made->public_key());
  EXPECT_EQ(tree_.content("key"), content);
  // Each host has its own.
  const auto other = SigningKey::load_or_make(tree_.path("other"));
  ASSERT_TRUE(other.ok());
  EXPECT_NE(other->public_key(), made->public_key());
}

TEST_F(SigningTest, ToLoadMakesNone) {
  const auto key = SigningKey::load(path());
  ASSERT_FALSE(key.ok());
  EXPECT_EQ(key.error().code, ErrorCode::kNoInput);
  EXPECT_FALSE(std::filesystem::exists(path()));
}

TEST_F(SigningTest, AKeyThatOthersMayUseIsRefused) {
  ASSERT_TRUE(SigningKey::load_or_make(path()).ok());
  for (const mode_t bit : {0040U, 0020U, 0010U, 0004U, 0002U, 0001U}) {
    ASSERT_EQ(::chmod(path().c_str(), 0600 | bit), 0);
    const std::string before = tree_.content("key");
    for (const auto load : {&SigningKey::load, &SigningKey::load_or_make}) {
      const auto key = load(path());
      ASSERT_FALSE(key.ok()) << std::oct << bit;
      EXPECT_EQ(key.error().code, ErrorCode::kRefused);
      EXPECT_NE(key.error().message.find(path()), std::string::npos) << key.error().message;
    }
    EXPECT_EQ(tree_.content("key"), before);
  }
  ASSERT_EQ(::chmod(path().c_str(), 0400), 0);
  EXPECT_TRUE(SigningKey::load(path()).ok());
}

TEST_F(SigningTest, WhatIsNoKeyIsBadDataAndStays) {
  const std::string cases[] = {
      "",
      "not a key",
      pem("PRIVATE KEY", "AAAA"),
      pem("PUBLIC KEY", "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="),
      // Another algorithm: P-256.
      pem("PRIVATE KEY",
          "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBOKx+ABS+rO7/QVb\n"
          "9rUHsb8fJ1KOfTWIDI/5gkyAhbGhRANCAAR34Nrj8hThTg1hnzT/x308h+4L3E2Y\n"
          "ih4Z3j1FEc6ApqvrjLbkCXztJFMQajgGoTAnhFaItU3ZvLdfMJjRFynU"),
      // With a password, which nobody is asked for.
      pem("ENCRYPTED PRIVATE KEY",
          "MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgIDBmxe4tFEAICCAAw\n"
          "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEAQIEENcUhZuUxGgJ2Yb+yOoF9AkEQJGH\n"
          "6GEnK6GLCMGIjkRAkJJIJEvBRZ1kXRvZK/YCOaRz6n95dW1uiiBHO15EazKgx/py\n"
          "FuHfoE4g1idRCwrT/Ys="),
      std::string(100000, 'x'),
  };
  for (const std::string& content : cases) {
    write(content);
    const auto key = SigningKey::load_or_make(path());
    ASSERT_FALSE(key.ok()) << content;
    EXPECT_EQ(key.error().code, ErrorCode::kBadData) << key.error().message;
    EXPECT_NE(key.error().message.find(path()), std::string::npos);
    EXPECT_EQ(tree_.content("key"), content);
  }
}

TEST_F(SigningTest, FollowsNoLink) {
  ASSERT_TRUE(SigningKey::load_or_make(path()).ok());
  tree_.link("link", "key");
  tree_.link("dangling", "made-elsewhere");
  EXPECT_FALSE(SigningKey::load_or_make(tree_.path("link")).ok());
  EXPECT_FALSE(SigningKey::load_or_make(tree_.path("dangling")).ok());
  EXPECT_FALSE(std::filesystem::exists(tree_.path("made-elsewhere")));
}

TEST_F(SigningTest, SaysThatItMayNot) {
  ASSERT_TRUE(SigningKey::load_or_make(path()).ok());
  const Unprivileged nobody;
  const auto read = SigningKey::load(path());
  ASSERT_FALSE(read.ok());
  EXPECT_EQ(read.error().code, ErrorCode::kNoPrivilege) << read.error().message;
  const auto made = SigningKey::load_or_make(tree_.path("new"));
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.error().code, ErrorCode::kCannotWrite) << made.error().message;
}

// Several processes at the first import of a host: all of them use the one key.
TEST_F(SigningTest, ProcessesThatMakeItTogetherShareOne) {
  constexpr int kProcesses = 8;
  int told[2] = {-1, -1};
  ASSERT_EQ(::pipe(told), 0);
  for (int i = 0; i < kProcesses; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      const auto key = SigningKey::load_or_make(path());
      const std::string said = key ? key->public_key() : std::string(32, '\0');
      ::_exit(::write(told[1], said.data(), said.size()) == 32 ? 0 : 1);
    }
  }
  ::close(told[1]);
  for (int i = 0; i < kProcesses; ++i) {
    int status = -1;
    ASSERT_GT(::wait(&status), 0);
    EXPECT_EQ(status, 0);
  }
  const auto key = SigningKey::load(path());
  ASSERT_TRUE(key.ok());
  for (int i = 0; i < kProcesses; ++i) {
    std::string said(32, '\0');
    ASSERT_EQ(::read(told[0], said.data(), said.size()), 32);
    EXPECT_EQ(to_hex_text(said), to_hex_text(key->public_key()));
  }
  ::close(told[0]);
  // And leave nothing else.
  std::size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(tree_.path())) {
    EXPECT_EQ(entry.path().filename(), "key");
    ++files;
  }
  EXPECT_EQ(files, 1U);
}

// Not every 32 bytes are a point of the curve (RFC 8032, 5.1.3): a signature by them fits nothing,
// and that is no want of memory.
TEST_F(SigningTest, BytesThatAreNoKeySignNothing) {
  for (unsigned fill = 0; fill < 256; ++fill) {
    const std::string key(32, static_cast<char>(fill));
    EXPECT_FALSE(is_signed_by(key, "message", std::string(64, '\1'))) << fill;
    EXPECT_FALSE(is_signed_by(key, "message", std::string(64, static_cast<char>(fill)))) << fill;
  }
}

TEST_F(SigningTest, ASignatureFitsOneMessageAndOneKey) {
  const auto key = SigningKey::load_or_make(path());
  const auto other = SigningKey::load_or_make(tree_.path("other"));
  ASSERT_TRUE(key.ok() && other.ok());
  const std::string message = "poisonctl-checkpoint-v1\nevents 3\n";
  const std::string signature = key->sign(message).value();
  ASSERT_EQ(signature.size(), 64U);
  EXPECT_TRUE(is_signed_by(key->public_key(), message, signature));
  EXPECT_FALSE(is_signed_by(other->public_key(), message, signature));
  const auto flip = [](std::string bytes, std::size_t bit) {
    bytes[bit / 8] = static_cast<char>(static_cast<unsigned char>(bytes[bit / 8]) ^ 1U << bit % 8);
    return bytes;
  };
  for (std::size_t bit = 0; bit < 8 * message.size(); ++bit) {
    EXPECT_FALSE(is_signed_by(key->public_key(), flip(message, bit), signature)) << bit;
  }
  for (std::size_t bit = 0; bit < 8 * signature.size(); ++bit) {
    EXPECT_FALSE(is_signed_by(key->public_key(), message, flip(signature, bit))) << bit;
  }
  for (std::size_t bit = 0; bit < 8 * key->public_key().size(); ++bit) {
    EXPECT_FALSE(is_signed_by(flip(key->public_key(), bit), message, signature)) << bit;
  }
  for (const std::string& bad :
       {std::string(), signature.substr(1), signature + "x", std::string(64, '\0')}) {
    EXPECT_FALSE(is_signed_by(key->public_key(), message, bad));
  }
  for (const std::string& bad : {std::string(), key->public_key().substr(1),
                                 key->public_key() + "x", std::string(32, '\xff')}) {
    EXPECT_FALSE(is_signed_by(bad, message, signature));
  }
  EXPECT_FALSE(is_signed_by(key->public_key(), message + "x", signature));
  EXPECT_FALSE(is_signed_by(key->public_key(), "", signature));
}

}  // namespace
}  // namespace poisonctl
