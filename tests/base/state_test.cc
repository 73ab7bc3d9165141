// file, snapshot, metrics, log: what programs keep and tell of themselves.
#include <gmock/gmock.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "base/file.h"
#include "base/metrics.h"
#include "base/snapshot.h"

namespace thalweg {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

struct FileTest : ::testing::Test {
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "thalweg-file-XXXXXX";
    ASSERT_TRUE(::mkdtemp(pattern.data()));
    folder = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder); }
  std::string folder;
};

TEST_F(FileTest, WritesReplacesAndReads) {
  const std::string path = folder + "/state";
  ASSERT_TRUE(write_atomically(path, "one", 0600));
  ASSERT_TRUE(write_atomically(path, std::string("two\0too", 7), 0640));
  EXPECT_EQ(read_file(path).value(), std::string("two\0too", 7));
  struct stat file = {};
  ::stat(path.c_str(), &file);
  EXPECT_EQ(file.st_mode & 0777, 0640u);
  // Nothing temporary stays.
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

TEST_F(FileTest, ErrorsNameThePathAndLeaveTheOldContent) {
  const auto absent = read_file(folder + "/absent");
  EXPECT_EQ(absent.error().code, ENOENT);
  EXPECT_THAT(absent.error().message, HasSubstr(folder + "/absent"));
  ASSERT_TRUE(write_atomically(folder + "/big", std::string(100, 'x')));
  EXPECT_EQ(read_file(folder + "/big", 99).error().code, EFBIG);
  EXPECT_TRUE(read_file(folder + "/big", 100));
  EXPECT_FALSE(read_file(folder));
  EXPECT_FALSE(write_atomically(folder + "/no/such/folder", "x"));
  std::filesystem::create_directory(folder + "/taken");
  EXPECT_FALSE(write_atomically(folder + "/taken", "x"));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 2);
}

TEST_F(FileTest, InPartsIsOldOrNewAndNothingBetween) {
  const std::string path = folder + "/state";
  ASSERT_TRUE(write_atomically(path, "old"));
  {
    auto given_up = AtomicFile::create(path);
    ASSERT_TRUE(given_up);
    ASSERT_TRUE(given_up->append("half"));
  }
  EXPECT_EQ(read_file(path).value(), "old");
  auto file = AtomicFile::create(path, 0600);
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->append("new ") && file->append("content"));
  EXPECT_EQ(read_file(path).value(), "old");
  ASSERT_TRUE(file->commit());
  EXPECT_EQ(read_file(path).value(), "new content");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
}

TEST_F(FileTest, ReadsLineByLine) {
  const std::string path = folder + "/lines", longer_than_a_read(200'000, 'x');
  ASSERT_TRUE(write_atomically(path, "one\n\n" + longer_than_a_read + "\nlast"));
  std::vector<std::string> lines;
  ASSERT_TRUE(read_lines(path, [&](std::string_view line) { lines.emplace_back(line); }));
  EXPECT_EQ(lines, (std::vector<std::string>{"one", "", longer_than_a_read, "last"}));
  EXPECT_EQ(read_lines(folder + "/absent", [](std::string_view) {}).error().code, ENOENT);
}

TEST_F(FileTest, MakesFolders) {
  EXPECT_TRUE(make_dirs(folder + "/a/b/c"));
  EXPECT_TRUE(make_dirs(folder + "/a/b/c/"));
  EXPECT_TRUE(std::filesystem::is_directory(folder + "/a/b/c"));
  ASSERT_TRUE(write_atomically(folder + "/file", ""));
  EXPECT_FALSE(make_dirs(folder + "/file"));
  EXPECT_FALSE(make_dirs(folder + "/file/x"));
  EXPECT_TRUE(remove_file(folder + "/file"));
  EXPECT_TRUE(remove_file(folder + "/file"));
}

TEST(Snapshot, ReadersKeepWhatTheyHold) {
  Snapshot<std::string> snapshot("one");
  const auto held = snapshot.get();
  snapshot.publish("two");
  EXPECT_EQ(*held, "one");
  EXPECT_EQ(*snapshot.get(), "two");
}

TEST(Snapshot, ReadersNeverSeeAHalfWrittenValue) {
  struct Twice {
    int a = 0, b = 0;
  };
  Snapshot<Twice> snapshot;
  std::thread writer([&] {
    for (int i = 1; i <= 20000; ++i) snapshot.publish(Twice{i, i});
  });
  for (int last = 0; last < 20000;) {
    const auto now = snapshot.get();
    ASSERT_EQ(now->a, now->b);
    ASSERT_GE(now->a, last);
    last = now->a;
  }
  writer.join();
}

TEST(Metrics, TextFormat) {
  metrics::Registry registry;
  const auto drops = registry.counter("thalweg_drops_total", "Dropped packets", {{"reason", "policy"}});
  drops.add();
  drops.add(2);
  registry.counter("thalweg_drops_total", "Dropped packets", {{"reason", "policy"}}).add();
  registry.gauge("thalweg_pods", "Pods").set(3);
  registry.histogram("thalweg_sync_seconds", "Sync", {0.1, 1}).observe(0.5);
  const std::string text = registry.text();
  for (const char* line :
       {"# HELP thalweg_drops_total Dropped packets\n", "# TYPE thalweg_drops_total counter\n",
        "thalweg_drops_total{reason=\"policy\"} 4\n", "thalweg_pods 3\n",
        "thalweg_sync_seconds_bucket{le=\"0.1\"} 0\n", "thalweg_sync_seconds_bucket{le=\"1\"} 1\n",
        "thalweg_sync_seconds_count 1\n"})
    EXPECT_THAT(text, HasSubstr(line));
}

TEST(Metrics, TotalsKeptElsewhereOnlyGrow) {
  metrics::Registry registry;
  double total = 7;
  const auto counter = registry.counter("a_total", "");
  registry.before_text([&] { counter.raise_to(total); });
  EXPECT_THAT(registry.text(), HasSubstr("\na_total 7\n"));
  total = 5;
  EXPECT_THAT(registry.text(), HasSubstr("\na_total 7\n"));
}

TEST(Metrics, HostileLabelsAreBoundedAndEscaped) {
  metrics::Registry registry;
  registry.counter("a_total", "", {{"host", "x\"} 1\nforged 2"}}).add();
  for (size_t i = 0; i < metrics::Registry::kMaxSeries + 10; ++i)
    registry.counter("a_total", "", {{"host", std::to_string(i)}}).add();
  const std::string text = registry.text();
  EXPECT_THAT(text, Not(HasSubstr("\nforged")));
  EXPECT_THAT(text, HasSubstr("a_total{overflow=\"true\"} 11\n"));
  EXPECT_THAT(text, HasSubstr("thalweg_metrics_series_refused_total 11\n"));
}

TEST(Metrics, BadNamesCountNothingAndAreCounted) {
  metrics::Registry registry;
  registry.counter("not a name", "").add();
  registry.counter("good", "", {{"bad-label", "x"}}).add();
  registry.counter("twice", "").add();
  registry.gauge("twice", "").set(9);
  metrics::Counter().add();
  EXPECT_THAT(registry.text(), HasSubstr("thalweg_metrics_series_refused_total 3\n"));
}

}  // namespace
}  // namespace thalweg
