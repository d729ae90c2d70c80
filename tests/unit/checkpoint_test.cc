// The signed checkpoint: it shows what the chain alone cannot, and is never covered up or led back.
#include "registry/checkpoint.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "registry/signing.h"
#include "tests/unit/sample_events.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/test_store.h"

namespace poisonctl {
namespace {

using enum EventKind;

class CheckpointTest : public ::testing::Test {
 protected:
  // Six entries, in two imports.
  void SetUp() override { fill("registry.db", "a"); }

  void fill(std::string_view name, const std::string& evidence) const {
    for (int second : {1, 2}) {
      std::vector<Event> events;
      for (std::uint64_t i = 0; i < 3; ++i) {
        events.push_back(event_of(kUncorrected, frame_at(i), evidence));
      }
      append_at(tree_.path(name), provenance_of("kernel", "boot-1", at_second(second)), events);
    }
  }

  [[nodiscard]] std::string path() const { return tree_.path("registry.db"); }
  [[nodiscard]] std::string head() const { return tree_.content("registry.db.head"); }

  [[nodiscard]] AuditResult audited() const {
    auto store = Store::open(path(), Store::Mode::kRead);
    if (!store) {
      ADD_FAILURE() << store.error().message;
      return {};
    }
    const auto result = audit(*store, path());
    if (!result) {
      ADD_FAILURE() << result.error().message;
      return {};
    }
    return *result;
  }
  // As around a commit of `head` to a log in which `hash_of` looks.
  [[nodiscard]] Result<void> update(const ChainHead& head, const HashLookup& hash_of,
                                    Time time) const {
    const auto update = CheckpointUpdate::begin(path(), hash_of);
    return update ? update->finish(head, time) : Result<void>(update.error());
  }
  // The same in a log that has what the checkpoint pins.
  [[nodiscard]] Result<void> update(const ChainHead& head, Time time) const {
    const auto present = read_checkpoint(path());
    const auto pinned = [&](std::int64_t id) -> Result<std::optional<Digest>> {
      if (!present || !*present || (*present)->head.id != id) return std::optional<Digest>();
      return std::optional((*present)->head.hash);
    };
    return update(head, pinned, time);
  }
  // All findings in one text.
  [[nodiscard]] std::string findings() const {
    std::string all;
    for (const std::string& finding : audited().findings) all += finding + "\n";
    return all;
  }

  TempTree tree_;
};

ChainHead head_of(std::int64_t id, unsigned char fill) {
  ChainHead head{id, {}};
  head.hash.fill(fill);
  return head;
}

TEST_F(CheckpointTest, IsAboutTheLastEntryAndSignedByTheKeyOfTheHost) {
  const AuditResult result = audited();
  EXPECT_EQ(result.findings, std::vector<std::string>());
  EXPECT_FALSE(result.defect);
  EXPECT_EQ(result.head.id, 6);
  ASSERT_TRUE(result.checkpoint);
  EXPECT_EQ(result.checkpoint->head.id, 6);
  EXPECT_EQ(result.checkpoint->head.hash, result.head.hash);
  EXPECT_EQ(result.checkpoint->time, at_second(2));
  EXPECT_EQ(result.checkpoint->public_key, SigningKey::load(key_path(path())).value().public_key());
  struct stat status {};
  ASSERT_EQ(::stat(checkpoint_path(path()).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0640U);
  ASSERT_EQ(::stat(key_path(path()).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777U, 0600U);
}

// Other programs read it: the form is fixed.
TEST_F(CheckpointTest, TheFileIsSixLines) {
  const AuditResult result = audited();
  const std::string expected = fmt::format(
      "poisonctl-checkpoint-v1\nevents 6\nhash {}\ntime 2026-01-01T00:00:02Z\npublic-key {}\n"
      "signature ",
      to_hex_text(as_bytes(result.head.hash)), to_hex_text(result.checkpoint->public_key));
  EXPECT_TRUE(head().starts_with(expected)) << head();
  EXPECT_EQ(head().size(), expected.size() + 128 + 1);
  EXPECT_EQ(head().back(), '\n');
}

TEST_F(CheckpointTest, FindsACutEnd) {
  edit(path(), "DELETE FROM event WHERE id > 4");
  const AuditResult result = audited();
  EXPECT_FALSE(result.defect);
  EXPECT_EQ(result.head.id, 4);
  ASSERT_EQ(result.findings.size(), 1U);
  EXPECT_NE(result.findings[0].find("ends at entry 4"), std::string::npos) << result.findings[0];
  EXPECT_NE(result.findings[0].find("the last 2 were cut off"), std::string::npos);
  // Of all entries too.
  edit(path(), "DELETE FROM event");
  EXPECT_NE(findings().find("the last 6 were cut off"), std::string::npos) << findings();
}

TEST_F(CheckpointTest, FindsALogThatWasWrittenAgain) {
  fill("other.db", "b");
  tree_.write("registry.db", tree_.content("other.db"));
  EXPECT_FALSE(audited().defect);
  EXPECT_NE(findings().find("written again"), std::string::npos) << findings();
  // Longer than the one that it is in place of, too.
  append_at(tree_.path("other.db"), provenance_of("kernel", "boot-1", at_second(3)),
            {event_of(kUncorrected, frame_at(9))});
  tree_.write("registry.db", tree_.content("other.db"));
  EXPECT_NE(findings().find("written again"), std::string::npos) << findings();
}

TEST_F(CheckpointTest, FindsACheckpointOfAnotherKey) {
  fill("other.db", "a");  // the same log, and a key of its own
  tree_.write("registry.db.head", tree_.content("other.db.head"));
  EXPECT_EQ(audited().findings.size(), 1U);
  EXPECT_NE(findings().find("another key"), std::string::npos) << findings();
}

TEST_F(CheckpointTest, FindsThatTheFilesAreGone) {
  std::filesystem::remove(key_path(path()));
  EXPECT_NE(findings().find("cannot be told"), std::string::npos) << findings();
  std::filesystem::remove(checkpoint_path(path()));
  EXPECT_NE(findings().find("is not there"), std::string::npos) << findings();
}

TEST_F(CheckpointTest, AnEmptyRegistryNeedsNone) {
  auto store = Store::open(tree_.path("new.db"), Store::Mode::kCreate);
  ASSERT_TRUE(store.ok());
  EXPECT_EQ(audit(*store, tree_.path("new.db")).value().findings, std::vector<std::string>());
}

TEST_F(CheckpointTest, NamesTheFirstBadEntryBesides) {
  edit(path(), "UPDATE event SET evidence = 'x' WHERE id = 2");
  const AuditResult result = audited();
  ASSERT_TRUE(result.defect);
  EXPECT_EQ(result.defect->id, 2);
  EXPECT_EQ(result.findings.size(), 1U);
}

// Whatever byte of the file changes, it is found, and no later import covers it up.
TEST_F(CheckpointTest, AChangedFileIsFoundAndNotWrittenOver) {
  const std::string good = head();
  for (std::size_t i = 0; i < good.size(); ++i) {
    std::string changed = good;
    changed[i] = static_cast<char>(static_cast<unsigned char>(changed[i]) ^ 1U);
    tree_.write("registry.db.head", changed);
    const auto read = read_checkpoint(path());
    ASSERT_FALSE(read.ok()) << i;
    EXPECT_EQ(read.error().code, ErrorCode::kBadData);
  }
  for (const std::string& content : {std::string(), good.substr(0, good.size() / 2),
                                     good + "more\n", good + good, std::string(100000, 'x')}) {
    tree_.write("registry.db.head", content);
    EXPECT_NE(findings(), "");
    const auto updated = update(head_of(1000, 1), at_second(9));
    ASSERT_FALSE(updated.ok());
    EXPECT_EQ(updated.error().code, ErrorCode::kBadData) << updated.error().message;
    EXPECT_EQ(head(), content);
  }
}

TEST_F(CheckpointTest, AnImportIsStoredAndSaysThatItsCheckpointIsNot) {
  tree_.write("registry.db.head", "damaged");
  auto store = Store::open(path(), Store::Mode::kWrite);
  ASSERT_TRUE(store.ok());
  const Event event[] = {event_of(kUncorrected, frame_at(7))};
  const auto summary = append(*store, provenance_of("kernel", "boot-1", at_second(5)), event);
  ASSERT_TRUE(summary.ok());
  ASSERT_TRUE(summary->checkpoint_problem);
  EXPECT_NE(summary->checkpoint_problem->find(checkpoint_path(path())), std::string::npos);
  EXPECT_EQ(store->head().value().id, 7);
  EXPECT_EQ(head(), "damaged");
}

TEST_F(CheckpointTest, AKeyThatOthersMayReadSignsNothing) {
  const std::string before = head();
  ASSERT_EQ(::chmod(key_path(path()).c_str(), 0644), 0);
  const auto updated = update(head_of(1000, 1), at_second(9));
  ASSERT_FALSE(updated.ok());
  EXPECT_EQ(updated.error().code, ErrorCode::kRefused);
  EXPECT_EQ(head(), before);
}

TEST_F(CheckpointTest, AnOlderOneNeverTakesThePlaceOfANewer) {
  ASSERT_TRUE(update(head_of(9, 9), at_second(9)).ok());
  const std::string newer = head();
  for (const std::int64_t id : {0, 1, 8, 9}) {
    ASSERT_TRUE(update(head_of(id, 1), at_second(10)).ok());
    EXPECT_EQ(head(), newer) << id;
  }
  ASSERT_TRUE(update(head_of(10, 2), at_second(3)).ok());
  const auto now = read_checkpoint(path());
  ASSERT_TRUE(now.ok() && now->has_value());
  EXPECT_EQ((*now)->head.id, 10);
  EXPECT_EQ((*now)->head.hash, head_of(10, 2).hash);
  EXPECT_EQ((*now)->time, at_second(3));
}

// It is evidence: a newer one would cover up what it shows.
TEST_F(CheckpointTest, OneThatDoesNotFitTheLogStaysAsItIs) {
  const std::string before = head();
  using Lookup = Result<std::optional<Digest>>;
  struct Case {
    std::string_view what;
    HashLookup hash_of;
    ErrorCode code;
  };
  const Case cases[] = {
      {"cut off", [](std::int64_t) -> Lookup { return std::optional<Digest>(); },
       ErrorCode::kRefused},
      {"written again", [](std::int64_t) -> Lookup { return std::optional(head_of(6, 0xee).hash); },
       ErrorCode::kRefused},
      {"not to be read",
       [](std::int64_t) -> Lookup {
         return Error{ErrorCode::kIo, "cut"};
       },
       ErrorCode::kIo},
  };
  for (const Case& c : cases) {
    for (const std::int64_t id : {3, 6, 1000}) {
      const auto updated = update(head_of(id, 1), c.hash_of, at_second(9));
      ASSERT_FALSE(updated.ok()) << c.what;
      EXPECT_EQ(updated.error().code, c.code) << c.what;
      EXPECT_EQ(head(), before);
    }
  }
  // And through an import, after the end was cut off.
  edit(path(), "DELETE FROM event WHERE id > 4");
  auto store = Store::open(path(), Store::Mode::kWrite);
  ASSERT_TRUE(store.ok());
  std::vector<Event> events(5, event_of(kUncorrected, frame_at(7)));
  const auto summary = append(*store, provenance_of("kernel", "boot-1", at_second(5)), events);
  ASSERT_TRUE(summary.ok()) << summary.error().message;
  EXPECT_TRUE(summary->checkpoint_problem);
  EXPECT_EQ(head(), before);
  EXPECT_NE(findings().find("written again"), std::string::npos) << findings();
}

TEST_F(CheckpointTest, AKeyThatIsGoneOrAnotherDoesNotTakeOver) {
  const std::string before = head();
  const std::string key = tree_.content("registry.db.key");
  std::filesystem::remove(key_path(path()));
  const auto gone = update(head_of(1000, 1), at_second(9));
  ASSERT_FALSE(gone.ok());
  EXPECT_EQ(gone.error().code, ErrorCode::kRefused) << gone.error().message;
  EXPECT_FALSE(std::filesystem::exists(key_path(path()))) << "a new key would hide that";
  EXPECT_EQ(head(), before);

  ASSERT_TRUE(SigningKey::load_or_make(key_path(path())).ok());
  const auto another = update(head_of(1000, 1), at_second(9));
  ASSERT_FALSE(another.ok());
  EXPECT_EQ(another.error().code, ErrorCode::kRefused) << another.error().message;
  EXPECT_EQ(head(), before);
  // Both moved away: it begins anew.
  std::filesystem::remove(key_path(path()));
  std::filesystem::remove(checkpoint_path(path()));
  EXPECT_TRUE(update(head_of(1000, 1), at_second(9)).ok());
  EXPECT_EQ(read_checkpoint(path()).value()->head.id, 1000);
}

TEST_F(CheckpointTest, ReadsWhatItWrote) {
  const auto parsed = parse_checkpoint(head(), "shown");
  ASSERT_TRUE(parsed.ok()) << parsed.error().message;
  EXPECT_EQ(parsed->head.id, 6);
  EXPECT_FALSE(read_checkpoint(tree_.path("none.db")).value().has_value());
}

// Signed as it should be, but not one that this program writes.
TEST_F(CheckpointTest, HostileTextIsBadDataThatNamesTheFile) {
  const auto key = SigningKey::load(key_path(path()));
  ASSERT_TRUE(key.ok());
  const std::string hash(64, 'a');
  const std::string time = "2026-01-01T00:00:02Z";
  const std::string public_key = to_hex_text(key->public_key());
  const auto made = [&](const std::string& first, const std::string& events,
                        const std::string& hash_text, const std::string& time_text,
                        const std::string& key_text) {
    const std::string text = fmt::format("{}\nevents {}\nhash {}\ntime {}\npublic-key {}\n", first,
                                         events, hash_text, time_text, key_text);
    return text + fmt::format("signature {}\n", to_hex_text(key->sign(text).value()));
  };
  const std::string first = "poisonctl-checkpoint-v1";
  ASSERT_TRUE(parse_checkpoint(made(first, "6", hash, time, public_key), "shown").ok());
  ASSERT_TRUE(
      parse_checkpoint(made(first, "9223372036854775807", hash, time, public_key), "shown").ok());
  const std::string good = made(first, "6", hash, time, public_key);
  // Written otherwise than what was signed, with the same meaning.
  const auto otherwise = [&](std::string_view from, std::string_view to) {
    std::string text = good;
    return text.replace(text.find(from), from.size(), to);
  };
  const std::string cases[] = {
      otherwise("events 6", "events 06"),
      otherwise("events 6", "events  6"),
      otherwise("events 6\n", "events 6 \n"),
      otherwise("events 6\n", "events 6\r\n"),
      otherwise("hash aa", "hash AA"),
      otherwise("02Z", "02+00:00"),
      otherwise("02Z", "02.0Z"),
      "",
      "\n\n\n\n\n\n",
      first,
      made("poisonctl-checkpoint-v2", "6", hash, time, public_key),
      made(first, "", hash, time, public_key),
      made(first, "-1", hash, time, public_key),
      made(first, "+6", hash, time, public_key),
      made(first, "06", hash, time, public_key),
      made(first, "0x6", hash, time, public_key),
      made(first, "9223372036854775808", hash, time, public_key),
      made(first, "99999999999999999999999", hash, time, public_key),
      made(first, "6", "", time, public_key),
      made(first, "6", std::string(62, 'a'), time, public_key),
      made(first, "6", std::string(66, 'a'), time, public_key),
      made(first, "6", std::string(63, 'a'), time, public_key),
      made(first, "6", std::string(64, 'A'), time, public_key),
      made(first, "6", std::string(63, 'a') + "g", time, public_key),
      made(first, "6", hash, "yesterday", public_key),
      made(first, "6", hash, "2026-01-01T00:00:02+00:00", public_key),
      made(first, "6", hash, time, ""),
      made(first, "6", hash, time, public_key.substr(2)),
      made(first, "6", hash, time, public_key + "00"),
      made(first, "6", hash, time, std::string(64, '0')),
      made(first, "6", hash, time, public_key) + "more\n",
      made(first, "6", hash, time, public_key + "\nmore 1"),
      " " + good,
      "\n" + good,
      good.substr(0, good.size() - 3),
      std::string(5000, '\0'),
      "\x1b[2J",
  };
  for (const std::string& text : cases) {
    const auto parsed = parse_checkpoint(text, "shown");
    ASSERT_FALSE(parsed.ok()) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kBadData);
    EXPECT_TRUE(parsed.error().message.starts_with("shown:")) << parsed.error().message;
    for (const char c : parsed.error().message) EXPECT_GE(static_cast<unsigned char>(c), 0x20);
  }
}

TEST_F(CheckpointTest, FollowsNoLink) {
  std::filesystem::rename(checkpoint_path(path()), tree_.path("elsewhere"));
  tree_.link("registry.db.head", "elsewhere");
  const std::string before = tree_.content("elsewhere");
  EXPECT_FALSE(read_checkpoint(path()).ok());
  EXPECT_FALSE(update(head_of(1000, 1), at_second(9)).ok());
  EXPECT_EQ(tree_.content("elsewhere"), before);
}

}  // namespace
}  // namespace poisonctl
