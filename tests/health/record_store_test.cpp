#include "health/record_store.hpp"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <future>
#include <optional>

#include "tests/support/files.hpp"

namespace holdfast::health {
namespace {

using holdfast::testing::TempDir;

Record record_of(std::uint64_t epoch, const std::string& cluster = "main") {
  return {.cluster = cluster, .system_identifier = 7001, .timeline = 2, .epoch = epoch, .primary = "pg2", .started = 5};
}

// Keeps a record, and waits until it was written or has failed.
std::string keep(const std::string& directory, const Record& record) {
  std::string result = "never written";
  {
    RecordStore store(directory, [&](const std::string& cluster, const std::string& error) {
      EXPECT_EQ(cluster, record.cluster);
      result = error;
    });
    store.keep(record);
  }
  return result;
}
std::optional<Record> load(const std::string& directory, const std::string& cluster = "main") {
  RecordStore store(directory, [](const std::string&, const std::string&) {});
  auto loaded = store.load(cluster);
  EXPECT_TRUE(loaded) << loaded.error().message;
  return loaded ? *loaded : std::nullopt;
}

TEST(RecordStore, keeps_the_newest_over_restarts) {
  const TempDir folder;
  EXPECT_FALSE(load(folder.path()));
  EXPECT_EQ(keep(folder.path(), record_of(1)), "");
  EXPECT_EQ(load(folder.path()), record_of(1));
  EXPECT_EQ(keep(folder.path(), record_of(2)), "");
  EXPECT_EQ(load(folder.path()), record_of(2));
  EXPECT_EQ(keep(folder.path(), record_of(9, "other")), "");
  EXPECT_EQ(load(folder.path()), record_of(2));
  EXPECT_EQ(load(folder.path(), "other"), record_of(9, "other"));
}

TEST(RecordStore, leaves_nothing_else_behind) {
  const TempDir folder;
  EXPECT_EQ(keep(folder.path(), record_of(1)), "");
  std::size_t files = 0;
  for ([[maybe_unused]] const auto& file : std::filesystem::directory_iterator(folder.path())) ++files;
  EXPECT_EQ(files, 1U);
}

TEST(RecordStore, says_why_it_can_not_write) {
  const TempDir folder;
  EXPECT_EQ(keep(folder.path() / "missing", record_of(1)), "open: No such file or directory");
  EXPECT_FALSE(load(folder.path() / "missing"));
  std::filesystem::create_directory(folder.path() / "main.record");
  EXPECT_EQ(keep(folder.path(), record_of(1)), "rename: Is a directory");
}

// Written by somebody else in the directory: the target of the link stays as it is.
TEST(RecordStore, follows_no_link_when_it_writes) {
  const TempDir folder;
  std::ofstream(folder.path() / "precious") << "precious";
  std::filesystem::create_symlink(folder.path() / "precious", folder.path() / "main.record.new");
  EXPECT_NE(keep(folder.path(), record_of(1)), "");
  std::string text;
  std::getline(std::ifstream(folder.path() / "precious"), text);
  EXPECT_EQ(text, "precious");
}

TEST(RecordStore, an_unreadable_record_is_an_error) {
  const TempDir folder;
  RecordStore store(folder.path(), [](const std::string&, const std::string&) {});
  std::ofstream(folder.path() / "main.record") << "nonsense\n";
  EXPECT_FALSE(store.load("main"));
  std::ofstream(folder.path() / "main.record") << std::string(1U << 20U, '#');
  EXPECT_FALSE(store.load("main"));
  std::filesystem::remove(folder.path() / "main.record");
  std::filesystem::create_directory(folder.path() / "main.record");
  EXPECT_FALSE(store.load("main"));
}

TEST(RecordStore, notices_once_that_a_file_was_removed) {
  const TempDir folder;
  std::promise<void> written;
  RecordStore store(folder.path(), [&](const std::string&, const std::string&) { written.set_value(); });
  EXPECT_FALSE(store.removed("main")) << "there was none";
  ASSERT_EQ(keep(folder.path(), record_of(1)), "");
  ASSERT_TRUE(store.load("main"));
  EXPECT_FALSE(store.removed("main"));
  std::filesystem::rename(folder.path(), folder.path().string() + "-away");
  EXPECT_FALSE(store.removed("main")) << "the whole directory is out of sight";
  std::filesystem::rename(folder.path().string() + "-away", folder.path());
  std::filesystem::remove(folder.path() / "main.record");
  EXPECT_TRUE(store.removed("main"));
  EXPECT_FALSE(store.removed("main"));
  store.keep(record_of(2));
  written.get_future().wait();
}

TEST(RecordStore, without_a_directory_nothing_is_kept) {
  RecordStore store("", [](const std::string&, const std::string&) { ADD_FAILURE(); });
  store.keep(record_of(1));
  EXPECT_FALSE(*store.load("main"));
  EXPECT_FALSE(store.removed("main"));
}

}  // namespace
}  // namespace holdfast::health
