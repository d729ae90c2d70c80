#include "registry/sources/rasdaemon.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "registry/sqlite.h"
#include "tests/unit/sources/event_lines.h"
#include "tests/unit/temp_tree.h"
#include "tests/unit/unprivileged.h"

namespace poisonctl {
namespace {

class Rasdaemon : public ::testing::Test {
 protected:
  Rasdaemon() { tree_.make_folder("scratch"); }
  // Whatever happens, nothing stays behind.
  ~Rasdaemon() override { EXPECT_TRUE(std::filesystem::is_empty(tree_.path("scratch"))); }

  [[nodiscard]] Collected collect(const std::string& path, std::uint64_t page_size = 4096) const {
    return collected([&](const EventSink& sink) {
      return collect_rasdaemon(path, tree_.path("scratch"), test_settings(page_size), sink);
    });
  }
  // A database that `sql` makes.
  [[nodiscard]] std::string make(const std::string& sql) const {
    tree_.write("test.db", "");
    const auto database =
        sqlite::Database::open(tree_.path("test.db"), sqlite::OpenMode::kWrite, 0);
    EXPECT_TRUE(database) << database.error().message;
    const auto done = database->execute(sql.c_str());
    EXPECT_TRUE(done) << done.error().message;
    return tree_.path("test.db");
  }

  TempTree tree_;
};

constexpr std::string_view kFailureTable =
    "CREATE TABLE memory_failure_event (id INTEGER PRIMARY KEY, timestamp TEXT, pfn TEXT, "
    "page_type "
    "TEXT, action_result TEXT);";
constexpr std::string_view kEdacTable =
    "CREATE TABLE mc_event (id INTEGER PRIMARY KEY, timestamp TEXT, err_count INTEGER, err_type "
    "TEXT, err_msg TEXT, label TEXT, mc INTEGER, top_layer INTEGER, middle_layer INTEGER, "
    "lower_layer INTEGER, address INTEGER, grain INTEGER, syndrome INTEGER, driver_detail TEXT);";
constexpr std::string_view kMceTable =
    "CREATE TABLE mce_record (id INTEGER PRIMARY KEY, timestamp TEXT, mcgcap INTEGER, status "
    "INTEGER, addr INTEGER, misc INTEGER, cpuid INTEGER, socketid INTEGER, bank INTEGER, cpuvendor "
    "INTEGER, mc_location TEXT);";
constexpr std::string_view kExtlogTable =
    "CREATE TABLE extlog_event (id INTEGER PRIMARY KEY, timestamp TEXT, etype INTEGER, error_count "
    "INTEGER, severity INTEGER, address INTEGER, fru_id BLOB, fru_text TEXT, cper_data BLOB);";
constexpr std::string_view kArmTable =
    "CREATE TABLE arm_event (id INTEGER PRIMARY KEY, error_count INTEGER, error_type TEXT, "
    "error_info INTEGER, phy_fault_addr INTEGER);";
constexpr std::string_view kPoisonTable =
    "CREATE TABLE cxl_poison_event (id INTEGER PRIMARY KEY, timestamp TEXT, memdev TEXT, host "
    "TEXT, "
    "serial INTEGER, trace_type TEXT, region TEXT, hpa INTEGER, dpa INTEGER, dpa_length INTEGER, "
    "source TEXT, flags INTEGER, hpa_alias0 INTEGER);";
constexpr std::string_view kDramTable =
    "CREATE TABLE cxl_dram_event (id INTEGER PRIMARY KEY, serial INTEGER, dpa INTEGER, descriptor "
    "INTEGER, type INTEGER, transaction_type INTEGER, channel INTEGER, rank INTEGER, bank_group "
    "INTEGER, bank INTEGER, row INTEGER, \"column\" INTEGER, hpa INTEGER, hpa_alias0 INTEGER);";

TEST_F(Rasdaemon, ReadsWhatVersion084Recorded) {
  tree_.write("0.8.4.db", file_content(golden_path("rasdaemon/0.8.4.db")));
  std::string lines = collect(tree_.path("0.8.4.db")).lines;
  // Where the test runs is of no interest.
  if (const auto at = lines.find(tree_.path()); at != std::string::npos) {
    lines.erase(at, tree_.path().size() + 1);
  }
  expect_golden(lines, "rasdaemon/0.8.4.events");
}

TEST_F(Rasdaemon, ReadsTheEmptyTablesOfVersion068) {
  EXPECT_EQ(collect(golden_path("rasdaemon/0.6.8.db")).lines, "");
}

// rasdaemon stores the kernel's frame number; its own page of 4 KiB has no part in it.
TEST_F(Rasdaemon, TakesFrameNumbersInPagesOfTheKernel) {
  const std::string path =
      make(std::string(kFailureTable) +
           "INSERT INTO memory_failure_event VALUES (1, '', '0x20', 'x', 'Ignored');");
  const Collected all = collect(path, 65536);
  ASSERT_EQ(all.events.size(), 1U) << all.lines;
  EXPECT_EQ(to_text(*all.events[0].range), "0x200000-0x20ffff");
}

// One row of a table and the start of its event, up to the evidence.
struct RowCase {
  std::string_view name;
  std::string_view table;
  std::string row;  // SQL values
  std::string event;
  std::string warning;  // a part of the only one, or empty for none
};

void PrintTo(const RowCase& shown, std::ostream* out) { *out << shown.name; }

std::string table_name(std::string_view create) {
  const auto begin = create.find("TABLE ") + 6;
  return std::string(create.substr(begin, create.find(' ', begin) - begin));
}

class RasdaemonRow : public Rasdaemon, public ::testing::WithParamInterface<RowCase> {};

TEST_P(RasdaemonRow, BecomesAnEvent) {
  const RowCase& row = GetParam();
  const std::string name = table_name(row.table);
  const Collected all =
      collect(make(std::string(row.table) + "INSERT INTO " + name + " VALUES (" + row.row + ");"));
  ASSERT_EQ(all.error, "");
  std::string lines;
  for (const Event& event : all.events) {
    const std::string line = event_line(event);
    lines += line.substr(0, line.find(" evidence=[" + name + " id=7"));
    lines += '\n';
  }
  EXPECT_EQ(lines, row.event);
  ASSERT_EQ(all.report.warnings.size(), row.warning.empty() ? 0U : 1U) << all.lines;
  if (row.warning.empty()) return;
  EXPECT_NE(all.report.warnings[0].find(row.warning), std::string::npos) << all.lines;
}

std::string mce(std::string_view status, std::string_view misc, std::string_view cpuid, int bank,
                int vendor) {
  return "7, '', 0, " + std::string(status) + ", 0x123456789, " + std::string(misc) + ", " +
         std::string(cpuid) + ", 1, " + std::to_string(bank) + ", " + std::to_string(vendor) +
         ", ''";
}

INSTANTIATE_TEST_SUITE_P(
    All, RasdaemonRow,
    ::testing::Values(
        RowCase{"failure", kFailureTable,
                "7, '2026-01-02 03:04:05 +0100', '0xABCDE', 'dirty LRU page', 'Recovered'",
                "ue 0xabcde000-0xabcdefff granularity=4096 time=2026-01-02T02:04:05Z "
                "result=[Recovered]\n",
                ""},
        RowCase{"failure_of_an_mmio_address_is_handed_over", kFailureTable,
                "7, '', '0xfed00', 'unknown page', 'Ignored'",
                "ue 0xfed00000-0xfed00fff granularity=4096 result=[Ignored]\n", ""},
        RowCase{"failure_pfn_without_0x", kFailureTable, "7, '', '1000', '', 'Ignored'",
                "ue nowhere result=[Ignored]\n", "memory_failure_event row 7: pfn '1000'"},
        RowCase{"failure_pfn_beyond_any_memory", kFailureTable,
                "7, '', '0xffffffffffffffff', '', 'Ignored'", "ue nowhere result=[Ignored]\n",
                "row 7: pfn '0xffffffffffffffff'"},
        RowCase{"failure_time_out_of_the_calendar", kFailureTable,
                "7, '2026-02-30 03:04:05 +0100', '0x1', '', ''",
                "ue 0x1000-0x1fff granularity=4096\n", ""},
        RowCase{"failure_time_not_known", kFailureTable,
                "7, '1970-01-01 00:00:00 +0000', '0x1', '', ''",
                "ue 0x1000-0x1fff granularity=4096\n", ""},
        RowCase{"edac_grain_is_a_number_of_bits", kEdacTable,
                "7, '', 3, 'Corrected', 'read error', 'DIMM_A1', 2, 0, 1, -1, 0x12345678, 6, 0, ''",
                "ce 0x12345640-0x1234567f granularity=64 count=3 label=[DIMM_A1] "
                "dram=[controller=2]\n",
                ""},
        RowCase{"edac_without_a_grain", kEdacTable,
                "7, '', 1, 'Uncorrected', '', '', 0, 0, 0, 0, 0x5001, 0, 0, ''",
                "ue 0x5001-0x5001 dram=[controller=0]\n", ""},
        RowCase{"edac_grain_that_cannot_be", kEdacTable,
                "7, '', 1, 'Fatal', '', '', 0, 0, 0, 0, 0x5001, 64, 0, ''",
                "ue 0x5001-0x5001 dram=[controller=0]\n", ""},
        RowCase{"edac_deferred", kEdacTable,
                "7, '', 1, 'Deferred', '', '', 0, 0, 0, 0, 0x5001, 12, 0, ''",
                "deferred 0x5000-0x5fff granularity=4096 dram=[controller=0]\n", ""},
        RowCase{"edac_without_an_address", kEdacTable,
                "7, '', -1, 'Corrected', '', 'any memory', 0, 0, 0, 0, 0, 12, 0, ''",
                "ce nowhere label=[any memory] dram=[controller=0]\n", ""},
        RowCase{"edac_info_is_no_error", kEdacTable,
                "7, '', 1, 'Info', '', '', 0, 0, 0, 0, 0x5001, 12, 0, ''",
                "ce nowhere dram=[controller=0]\n", ""},
        RowCase{"edac_type_not_known", kEdacTable,
                "7, '', 1, 'Bad\x1b[2J', '', '', 0, 0, 0, 0, 0x5001, 12, 0, ''",
                "ce nowhere dram=[controller=0]\n", "err_type 'Bad\\x1b[2J'"},
        RowCase{"edac_address_is_text", kEdacTable,
                "7, '', 1, 'Corrected', '', '', 0, 0, 0, 0, 'zero', 12, 0, ''",
                "ce nowhere dram=[controller=0]\n", "row 7: column address"},
        RowCase{"edac_address_beyond_any_memory", kEdacTable,
                "7, '', 1, 'Corrected', '', '', 0, 0, 0, 0, -1, 12, 0, ''",
                "ce nowhere dram=[controller=0]\n", ""},
        // Bits 63, 61, 60, 59, 58: valid, uncorrected, enabled, MISC and ADDR valid.
        RowCase{"intel_patrol_scrub", kMceTable, mce("0xbd000000000000c0", "0x8c", "0x50654", 9, 0),
                "ue 0x123456000-0x123456fff granularity=4096 dram=[socket=1]\n", ""},
        RowCase{"intel_line_of_a_cache", kMceTable,
                mce("0xbd00000000000134", "0x86", "0x50654", 1, 0),
                "ue 0x123456780-0x1234567bf granularity=64 dram=[socket=1]\n", ""},
        RowCase{"intel_counts_corrected_errors", kMceTable,
                "7, '', 1024, 0x8c00014000010090, 0x123456789, 0x86, 0x50654, 0, 7, 0, ''",
                "ce 0x123456780-0x1234567bf granularity=64 count=5 dram=[socket=0]\n", ""},
        RowCase{"intel_bus_error_is_not_of_memory", kMceTable,
                mce("0xbd00000000000e0b", "0x86", "0x50654", 4, 0), "ue nowhere dram=[socket=1]\n",
                ""},
        RowCase{"intel_linear_address", kMceTable,
                mce("0xbd00000000000134", "0x46", "0x50654", 1, 0), "ue nowhere dram=[socket=1]\n",
                ""},
        RowCase{"intel_without_misc", kMceTable, mce("0xb500000000000134", "0x86", "0x50654", 1, 0),
                "ue nowhere dram=[socket=1]\n", ""},
        RowCase{"intel_without_addr", kMceTable, mce("0xb900000000000134", "0x86", "0x50654", 1, 0),
                "ue nowhere dram=[socket=1]\n", ""},
        RowCase{"intel_all_of_memory", kMceTable,
                mce("0xbd00000000000134", "0xbf", "0x50654", 1, 0), "ue nowhere dram=[socket=1]\n",
                ""},
        RowCase{"amd_poison_was_consumed", kMceTable,
                mce("0xbc00080000000135", "0", "0xa00f11", 0, 2),
                "ue 0x123456789-0x123456789 dram=[socket=1]\n", ""},
        RowCase{"amd_normalized_address", kMceTable,
                mce("0x9c20000000000000", "0", "0xa00f11", 17, 2), "ce nowhere dram=[socket=1]\n",
                ""},
        RowCase{"amd_deferred", kMceTable, mce("0x9c20100000000000", "0", "0xa00f11", 17, 2),
                "deferred nowhere dram=[socket=1]\n", ""},
        RowCase{"amd_northbridge_dram", kMceTable, mce("0x9c00000000080a13", "0", "0x100f22", 4, 2),
                "ce 0x123456789-0x123456789 dram=[socket=1]\n", ""},
        RowCase{"mce_of_an_unknown_maker", kMceTable,
                mce("0xbd000000000000c0", "0x8c", "0x50654", 9, 77), "ue nowhere dram=[socket=1]\n",
                ""},
        RowCase{"extlog_sequence_is_no_count", kExtlogTable,
                "7, '', 2, 900, 2, 0x4440, x'00', 'DIMM 3', NULL",
                "ce 0x4440-0x4440 label=[DIMM 3]\n", ""},
        RowCase{"extlog_fatal", kExtlogTable, "7, '', 3, 1, 1, 0x4440, x'00', '', NULL",
                "ue 0x4440-0x4440\n", ""},
        RowCase{"extlog_without_an_address", kExtlogTable, "7, '', 3, 1, 0, -1, x'00', '', NULL",
                "ue nowhere\n", ""},
        RowCase{"extlog_invalid_address", kExtlogTable, "7, '', 10, 1, 0, 0x99, x'00', '', NULL",
                "ue nowhere\n", ""},
        RowCase{"extlog_informational", kExtlogTable, "7, '', 15, 1, 3, 0x99, x'00', '', NULL",
                "ce nowhere\n", ""},
        RowCase{"arm_cache_error", kArmTable, "7, 2, 'cache error', 0x10, 0x8000",
                "ue 0x8000-0x8000 count=2\n", ""},
        RowCase{"arm_corrected", kArmTable, "7, 1, 'cache error', 0x4000010, 0x8000",
                "ce nowhere\n", ""},
        RowCase{"arm_tlb_error", kArmTable, "7, 1, 'TLB error', 0x10, 0x8000", "ue nowhere\n", ""},
        RowCase{
            "poison", kPoisonTable,
            "7, '', 'mem0', 'h', 0xabcd, 'List', 'region0', 0x4d0004040, 0x4040, 64, 'Internal', "
            "0, -1",
            "media 0x4d0004040-0x4d000407f granularity=64 label=[cxl serial 0xabcd]\n", ""},
        RowCase{"poison_without_a_region", kPoisonTable,
                "7, '', 'mem0', 'h', 0xabcd, 'List', '', -1, 0x4040, 64, 'External', 0, -1",
                "media nowhere label=[cxl serial 0xabcd dpa 0x4040+0x40]\n", ""},
        RowCase{"poison_injected", kPoisonTable,
                "7, '', 'mem0', 'h', 0xabcd, 'List', 'region0', 0x1000, 0, 64, 'Injected', 0, -1",
                "injected 0x1000-0x103f granularity=64 label=[cxl serial 0xabcd]\n", ""},
        RowCase{"poison_over_granules", kPoisonTable,
                "7, '', 'mem0', 'h', 0xabcd, 'List', 'region0', 0x10080, 0x80, 0x8000, 'Internal', "
                "0, -1",
                "media 0x10080-0x100ff granularity=64 label=[cxl serial 0xabcd]\n",
                "1 rows tell of more bytes than the 256"},
        RowCase{"poison_cleared", kPoisonTable,
                "7, '', 'mem0', 'h', 0xabcd, 'Clear', 'region0', 0x1000, 0, 64, 'Unknown', 0, -1",
                "", "1 rows tell that poison was cleared"},
        RowCase{"poison_list_overflowed", kPoisonTable,
                "7, '', 'mem0', 'h', 0xabcd, 'List', 'region0', 0x1000, 0, 64, 'Vendor', 2, -1",
                "media 0x1000-0x103f granularity=64 label=[cxl serial 0xabcd]\n", "overflowed"},
        RowCase{
            "poison_with_an_alias", kPoisonTable,
            "7, '', 'mem0', 'h', 0xabcd, 'List', 'region0', 0x9000, 0, 64, 'External', 0, 0x1000",
            "media 0x9000-0x903f granularity=64 label=[cxl serial 0xabcd]\n"
            "media 0x1000-0x103f granularity=64 label=[cxl serial 0xabcd]\n",
            ""},
        RowCase{"poison_length_wraps", kPoisonTable,
                "7, '', 'mem0', 'h', 0xabcd, 'List', 'region0', 0x9000, 0, -1, 'External', 0, -1",
                "media nowhere label=[cxl serial 0xabcd]\n", "dpa_length is not what"},
        RowCase{"dram", kDramTable,
                "7, 0xabcd, 0x3000, 1, 0, 1, 3, 1, 7, 11, 2, 77, 0x4d0003000, -1",
                "ue 0x4d0003000-0x4d000303f granularity=64 label=[cxl serial 0xabcd] "
                "dram=[channel=3 rank=1 bank_group=7 bank=11 row=2 column=77]\n",
                ""},
        RowCase{
            "dram_0_is_not_known", kDramTable,
            "7, 0xabcd, 0x3000, 2, 0, 1, 0, 0, 0, 0, 9, 0, 0x4d0003000, -1",
            "ce 0x4d0003000-0x4d000303f granularity=64 label=[cxl serial 0xabcd] dram=[row=9]\n",
            ""},
        RowCase{"dram_invalid_address", kDramTable,
                "7, 0xabcd, 0x3000, 1, 2, 1, 0, 0, 0, 0, 0, 0, 0x4d0003000, -1",
                "ue nowhere label=[cxl serial 0xabcd]\n", ""},
        RowCase{"dram_injected", kDramTable,
                "7, 0xabcd, 0x3000, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0x4d0003000, -1",
                "injected 0x4d0003000-0x4d000303f granularity=64 label=[cxl serial 0xabcd]\n", ""}),
    [](const auto& tested) { return std::string(tested.param.name); });

// What is no database, or a damaged one, is an error that names the file.
TEST_F(Rasdaemon, RefusesWhatIsNoDatabase) {
  EXPECT_EQ(collect(tree_.path("none.db")).code, ErrorCode::kNoInput);
  tree_.write("empty.db", "");
  EXPECT_EQ(collect(tree_.path("empty.db")).error,
            tree_.path("empty.db") + ": empty, not an SQLite database");
  tree_.write("text.db", "memmap=0x1000%0x8000000-1+5\n");
  EXPECT_EQ(collect(tree_.path("text.db")).error,
            tree_.path("text.db") + ": not an SQLite database");
  tree_.write("header.db", std::string("SQLite format 3\0\x10\0\x01\x01\0\x40\x20\x20", 24));
  EXPECT_EQ(collect(tree_.path("header.db")).code, ErrorCode::kBadData);
  EXPECT_EQ(collect(tree_.path()).error, tree_.path() + ": not a regular file");
}

TEST_F(Rasdaemon, NamesTheTableOfADamagedDatabase) {
  std::string rows;
  for (int i = 1; i <= 500; ++i) {
    rows += "INSERT INTO memory_failure_event VALUES (" + std::to_string(i) +
            ", '2026-01-02 03:04:05 +0000', '0x1000', 'a page', 'Recovered');";
  }
  const std::string path = make(std::string(kFailureTable) + "BEGIN;" + rows + "COMMIT;");
  std::string content = tree_.content("test.db");
  for (std::size_t at = 4 * 4096; at < 6 * 4096; ++at) content[at] = '\xff';
  tree_.write("test.db", content);
  const Collected damaged = collect(path);
  EXPECT_EQ(damaged.code, ErrorCode::kBadData);
  EXPECT_EQ(damaged.error.rfind(path, 0), 0U) << damaged.error;
  EXPECT_NE(damaged.error.find("table memory_failure_event, after "), std::string::npos);
  // Cut in the middle.
  tree_.write("test.db", content.substr(0, 3 * 4096 + 100));
  EXPECT_EQ(collect(path).code, ErrorCode::kBadData);
}

// A view runs what its maker wrote, and a generated column too.
TEST_F(Rasdaemon, ReadsNoViewAndNoGeneratedColumn) {
  const Collected view = collect(make(
      "CREATE VIEW memory_failure_event AS SELECT 1 AS id, '' AS timestamp, '0x1' AS pfn, '' AS "
      "page_type, '' AS action_result;"));
  EXPECT_EQ(view.lines, "");
  std::filesystem::remove(tree_.path("test.db"));
  const Collected generated =
      collect(make("CREATE TABLE memory_failure_event (id INTEGER PRIMARY KEY, pfn TEXT AS "
                   "(printf('0x%x', id)));"
                   "INSERT INTO memory_failure_event (id) VALUES (9);"));
  ASSERT_EQ(generated.events.size(), 1U) << generated.lines;
  EXPECT_FALSE(generated.events[0].range);
}

TEST_F(Rasdaemon, KeepsTextsBoundedAndFitForATerminal) {
  const Collected all = collect(
      make(std::string(kEdacTable) +
           "INSERT INTO mc_event VALUES (1, zeroblob(400000), 1, 'Corrected', printf('%.400000c', "
           "'x'), CAST(x'ff1b5b324a' AS TEXT), 0, 0, 0, 0, 4096, 6, 0, char(27, 0x202e, 10));"));
  ASSERT_EQ(all.events.size(), 1U) << all.lines.substr(0, 1000);
  const Event& event = all.events[0];
  EXPECT_LE(event.evidence.size(), Event::kEvidenceLimit);
  EXPECT_EQ(event.label, "\\xff\\x1b[2J");
  EXPECT_EQ(printable(event.evidence, event.evidence.size()), event.evidence);
}

// Memory is not allocated by the length that a row says.
TEST_F(Rasdaemon, ARowThatIsTooLargeIsBadData) {
  const std::string path = make(std::string(kEdacTable));
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &database), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(database,
                         "INSERT INTO mc_event (id, label) VALUES (1, printf('%.2000000c', 'x'))",
                         nullptr, nullptr, nullptr),
            SQLITE_OK);
  sqlite3_close(database);
  const Collected all = collect(path);
  EXPECT_TRUE(all.events.empty());
  EXPECT_EQ(all.code, ErrorCode::kBadData) << all.error;
  EXPECT_EQ(all.error.rfind(path, 0), 0U) << all.error;
}

TEST_F(Rasdaemon, BoundsAWideTableOfStrangeNames) {
  std::string columns = "id INTEGER PRIMARY KEY, \"a\"\"; DROP TABLE x; --\" TEXT DEFAULT 'y'";
  for (int i = 0; i < 1500; ++i) {
    columns += ", c" + std::to_string(i) + " TEXT DEFAULT '" + std::string(300, 'z') + "'";
  }
  const Collected all = collect(
      make("CREATE TABLE mc_event (" + columns + ");INSERT INTO mc_event (id) VALUES (1);"));
  ASSERT_EQ(all.events.size(), 1U) << all.error;
  EXPECT_LE(all.events[0].evidence.size(), Event::kEvidenceLimit);
}

TEST_F(Rasdaemon, SaysEachOfManyWarningsOnceAndNotForEver) {
  const Collected all =
      collect(make(std::string(kFailureTable) +
                   "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) "
                   "INSERT INTO memory_failure_event SELECT i, '', 'bad', '', '' FROM n;"));
  EXPECT_EQ(all.events.size(), 5000U);
  EXPECT_EQ(all.report.warnings.size(), SourceReport::kWarnings);
}

TEST_F(Rasdaemon, StopsWhenTheSinkFails) {
  const auto result =
      collect_rasdaemon(golden_path("rasdaemon/0.8.4.db"), tree_.path("scratch"), test_settings(),
                        [](const Event&, const SourceReport&) -> Result<void> {
                          return Error{ErrorCode::kCannotWrite, "full"};
                        });
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "full");
}

TEST_F(Rasdaemon, SaysWhereItCannotCopyTo) {
  const auto result = collect_rasdaemon(
      golden_path("rasdaemon/0.8.4.db"), tree_.path("no-such-folder"), test_settings(),
      [](const Event&, const SourceReport&) -> Result<void> { return {}; });
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("no-such-folder"), std::string::npos);
}

// A journal that names another file would have SQLite look for that file and remove it.
TEST_F(Rasdaemon, RefusesAJournalOfSeveralDatabases) {
  const std::string path = make(std::string(kFailureTable));
  const std::string magic("\xd9\xd5\x05\xf9\x20\xa1\x63\xd7", 8);
  tree_.write("test.db-journal", magic + std::string(504, '\0') + "/etc/passwd" + magic);
  const Collected refused = collect(path);
  EXPECT_EQ(refused.code, ErrorCode::kBadData);
  EXPECT_NE(refused.error.find("test.db-journal: "), std::string::npos) << refused.error;
}

// A child process that commits groups of ten rows, as fast as it can and without waiting for a
// lock, until it is told to stop.
class Writer {
 public:
  static constexpr int kGroup = 10;

  Writer(std::string path, std::string mode) : path_(std::move(path)), mode_(std::move(mode)) {
    if (::pipe(stop_) != 0 || ::pipe(started_) != 0) std::abort();
    child_ = ::fork();
    if (child_ == 0) ::_exit(write_until_told());
    ::close(stop_[0]);
    ::close(started_[1]);
    char byte = 0;
    static_cast<void>(::read(started_[0], &byte, 1));
  }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;
  ~Writer() { ::close(started_[0]); }
  // 0 when every commit succeeded.
  int stop() {
    ::close(stop_[1]);
    int status = -1;
    ::waitpid(child_, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  int write_until_told() {
    ::close(stop_[1]);
    const auto database = sqlite::Database::open(path_, sqlite::OpenMode::kWrite, 0);
    if (!database || !database->execute(("PRAGMA journal_mode = " + mode_).c_str())) return 2;
    // In WAL mode a checkpoint every few commits, to move pages while they are copied.
    if (!database->execute("PRAGMA wal_autocheckpoint = 7; PRAGMA cache_size = 20;")) return 3;
    for (;;) {
      std::string group = "BEGIN IMMEDIATE;";
      for (int i = 0; i < kGroup; ++i) {
        group +=
            "INSERT INTO memory_failure_event (timestamp, pfn, page_type, action_result) SELECT "
            "'', printf('0x%x', count(*) + 1), printf('%.300c', 'x'), 'Recovered' FROM "
            "memory_failure_event;";
      }
      if (!database->execute((group + "COMMIT;").c_str())) return 1;
      ::close(started_[1]);
      pollfd told{.fd = stop_[0], .events = POLLIN, .revents = 0};
      if (::poll(&told, 1, 0) != 0) return 0;
    }
  }

  std::string path_;
  std::string mode_;
  int stop_[2] = {-1, -1};
  int started_[2] = {-1, -1};
  pid_t child_ = -1;
};

class RasdaemonLive : public Rasdaemon, public ::testing::WithParamInterface<const char*> {};

TEST_P(RasdaemonLive, SeesWholeCommitsAndNeverFailsTheWriter) {
  const std::string path = make(kFailureTable.data());
  Writer writer(path, GetParam());
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(3);
  std::size_t last = 0;
  int reads = 0;
  for (; std::chrono::steady_clock::now() < end; ++reads) {
    const Collected seen = collect(path);
    ASSERT_EQ(seen.error, "");
    ASSERT_EQ(seen.events.size() % Writer::kGroup, 0U);
    ASSERT_GE(seen.events.size(), last);
    last = seen.events.size();
    for (std::size_t i = 0; i < last; ++i) {
      ASSERT_EQ(seen.events[i].range->begin().value(), (i + 1) * 4096) << "row " << i;
    }
  }
  EXPECT_EQ(writer.stop(), 0) << "the writer found the database locked";
  EXPECT_GT(last, 0U);
  RecordProperty("reads", reads);
  RecordProperty("rows", static_cast<int>(last));
  std::printf("%s: %d reads, %zu rows at last\n", GetParam(), reads, last);
}

INSTANTIATE_TEST_SUITE_P(Modes, RasdaemonLive,
                         ::testing::Values("DELETE", "WAL", "TRUNCATE", "PERSIST", "MEMORY"),
                         [](const auto& tested) { return std::string(tested.param); });

// A writer that died in the middle of a commit leaves its journal: the commit never was.
TEST_F(Rasdaemon, RollsBackWhatADeadWriterLeft) {
  const std::string path = make(std::string(kFailureTable) +
                                "INSERT INTO memory_failure_event VALUES (1, '', '0x1', '', '');");
  const pid_t child = ::fork();
  if (child == 0) {
    const auto database = sqlite::Database::open(path, sqlite::OpenMode::kWrite, 0);
    // A cache of one page spills into the file before the commit.
    const auto done = database->execute(
        "PRAGMA cache_size = 1; BEGIN; WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 "
        "FROM n "
        "WHERE i < 5000) INSERT INTO memory_failure_event SELECT i, '', '0x2', '', '' FROM n;");
    ::_exit(done ? 0 : 1);
  }
  int status = -1;
  ::waitpid(child, &status, 0);
  ASSERT_EQ(status, 0);
  ASSERT_TRUE(std::filesystem::exists(path + "-journal"));
  const Collected all = collect(path);
  EXPECT_EQ(all.events.size(), 1U) << all.error;
  EXPECT_TRUE(std::filesystem::exists(path + "-journal")) << "the original is only read";
}

}  // namespace
}  // namespace poisonctl
