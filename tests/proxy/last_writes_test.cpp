// When something was last written: per database of a cluster, and for all of them.
#include "proxy/pool/last_writes.hpp"

#include <gtest/gtest.h>

#include <thread>
#include <utility>
#include <vector>

namespace holdfast::proxy {
namespace {

using namespace std::chrono_literals;

class LastWritesTest : public ::testing::Test {
 protected:
  const TimePoint start{1h};
  LastWritesBook book{start};
};

TEST_F(LastWritesTest, begin_with_the_process) {
  EXPECT_EQ(book.find("main", "a")->last(), start) << "what an earlier process wrote";
}

TEST_F(LastWritesTest, of_one_database_are_not_anothers) {
  const auto a = book.find("main", "a");
  a->wrote(start + 1s);
  EXPECT_EQ(a->last(), start + 1s);
  EXPECT_EQ(book.find("main", "a")->last(), start + 1s) << "through whichever pool";
  EXPECT_EQ(book.find("main", "b")->last(), start);
  EXPECT_EQ(book.find("other", "a")->last(), start);
}

TEST_F(LastWritesTest, of_shared_objects_are_those_of_all_databases_of_the_cluster) {
  book.find("main", "a")->wrote_shared(start + 1s);
  EXPECT_EQ(book.find("main", "b")->last(), start + 1s);
  EXPECT_EQ(book.find("main", "new")->last(), start + 1s);
  EXPECT_EQ(book.find("other", "a")->last(), start);
}

TEST_F(LastWritesTest, never_go_back) {
  const auto a = book.find("main", "a");
  a->wrote(start + 2s);
  a->wrote(start + 1s);
  EXPECT_EQ(a->last(), start + 2s);
}

// Names come from clients. What is forgotten counts for the whole cluster.
TEST_F(LastWritesTest, of_names_that_nobody_uses_are_bounded_and_none_is_lost) {
  const auto kept = book.find("main", "kept");
  book.find("main", "gone")->wrote(start + 1s);
  for (int i = 0; i < 5000; ++i) static_cast<void>(book.find("main", std::to_string(i)));
  EXPECT_LE(book.size(), 1001U);
  EXPECT_EQ(book.find("main", "kept"), kept);
  EXPECT_EQ(book.find("main", "gone")->last(), start + 1s);
  EXPECT_EQ(book.find("main", "never")->last(), start + 1s);
}

TEST_F(LastWritesTest, are_in_flight_while_one_of_them_is) {
  const auto a = book.find("main", "a");
  WriteInFlight first(*a);
  {
    WriteInFlight second(*a);
    const WriteInFlight moved = std::move(second);
    EXPECT_TRUE(moved);
    EXPECT_FALSE(second);  // NOLINT: a moved one holds nothing
  }
  EXPECT_TRUE(a->in_flight());
  EXPECT_FALSE(book.find("main", "b")->in_flight());
  { const WriteInFlight ended = std::move(first); }
  EXPECT_FALSE(a->in_flight());
}

TEST_F(LastWritesTest, are_the_latest_of_all_threads) {
  const auto a = book.find("main", "a");
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 10'000; ++i) a->wrote(start + std::chrono::nanoseconds(i * 4 + t));
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(a->last(), start + std::chrono::nanoseconds(39'999));
}

}  // namespace
}  // namespace holdfast::proxy
