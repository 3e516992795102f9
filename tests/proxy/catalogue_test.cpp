// When a database is asked for its hidden code, and what counts meanwhile.
#include "proxy/pool/catalogue.hpp"

#include <gtest/gtest.h>

namespace holdfast::proxy {
namespace {

using namespace std::chrono_literals;
using protocol::Hidden;

class CatalogueTest : public ::testing::Test {
 protected:
  Catalogue catalogue;
  TimePoint now{100s};
};

TEST_F(CatalogueTest, is_asked_before_anything_is_known) {
  EXPECT_FALSE(catalogue.known(1, now));
  EXPECT_FALSE(catalogue.known(1, now)) << "whoever comes before the answer asks as well";
  EXPECT_EQ(catalogue.hidden(), Hidden::anything);
  catalogue.learn(Hidden::nothing, 1, now, 3ms);
  EXPECT_EQ(catalogue.known(1, now), Hidden::nothing);
}

TEST_F(CatalogueTest, is_asked_again_after_ddl) {
  catalogue.learn(Hidden::nothing, 1, now, 3ms);
  EXPECT_FALSE(catalogue.known(2, now));
  catalogue.learn(Hidden::writes_leave, 1, now, 3ms);
  EXPECT_FALSE(catalogue.known(2, now)) << "that answer is from before it";
  catalogue.learn(Hidden::writes_leave, 2, now, 3ms);
  EXPECT_EQ(catalogue.known(2, now), Hidden::writes_leave);
}

TEST_F(CatalogueTest, an_answer_that_comes_late_replaces_no_newer_one) {
  catalogue.learn(Hidden::writes_leave, 2, now, 3ms);
  catalogue.learn(Hidden::nothing, 1, now, 3ms);
  EXPECT_EQ(catalogue.known(2, now), Hidden::writes_leave);
  EXPECT_EQ(catalogue.hidden(), Hidden::writes_leave);
}

TEST_F(CatalogueTest, is_asked_by_one_when_its_time_has_come) {
  catalogue.learn(Hidden::nothing, 1, now, 3ms);
  now += 999ms;
  EXPECT_TRUE(catalogue.known(1, now));
  now += 1ms;
  EXPECT_FALSE(catalogue.known(1, now));
  EXPECT_EQ(catalogue.known(1, now), Hidden::nothing) << "the others go by the last answer";
  now += 1s;
  EXPECT_FALSE(catalogue.known(1, now)) << "the first one never came back";
}

TEST_F(CatalogueTest, is_asked_less_often_where_that_is_expensive) {
  catalogue.learn(Hidden::nothing, 1, now, 50ms);
  now += 4999ms;
  EXPECT_TRUE(catalogue.known(1, now));
  now += 1ms;
  EXPECT_FALSE(catalogue.known(1, now));
}

TEST(CatalogueBookTest, has_one_for_all_users_of_a_database) {
  CatalogueBook book;
  const auto one = book.find("main", "app");
  EXPECT_EQ(book.find("main", "app"), one);
  EXPECT_NE(book.find("main", "other"), one);
  EXPECT_NE(book.find("second", "app"), one);
}

}  // namespace
}  // namespace holdfast::proxy
