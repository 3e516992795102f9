// Whose verdicts DDL concerns.
#include "proxy/session/tables.hpp"

#include <gtest/gtest.h>

#include "proxy/pool/pool_key.hpp"

namespace holdfast::proxy {
namespace {

using protocol::sql::Access;

constexpr const char* text = "SELECT a FROM locking_view";

class TablesTest : public ::testing::Test {
 protected:
  // The classifier of a pool whose standby has refused the text.
  std::shared_ptr<protocol::sql::Classifier> taught(const PoolKey& pool) {
    auto classifier = tables.classifier(pool.text(), {}, config::Limits{});
    classifier->learn_needs_primary(text);
    return classifier;
  }
  static bool remembers(protocol::sql::Classifier& classifier) {
    return classifier.verdict(text).access == Access::write;
  }

  Tables tables{0};
};

TEST_F(TablesTest, forget_the_verdicts_of_one_database_or_of_one_cluster) {
  const auto joe = taught({"main", "app", "joe"});
  const auto bob = taught({"main", "app", "bob"});
  const auto longer = taught({"main", "app2", "joe"});
  const auto elsewhere = taught({"main2", "app", "joe"});
  tables.forget_verdicts(PoolKey::all_of("main", "app"));
  EXPECT_FALSE(remembers(*joe));
  EXPECT_FALSE(remembers(*bob));
  EXPECT_TRUE(remembers(*longer));
  EXPECT_TRUE(remembers(*elsewhere));
  joe->learn_needs_primary(text);
  tables.forget_verdicts(PoolKey::all_of("main"));
  EXPECT_FALSE(remembers(*joe));
  EXPECT_FALSE(remembers(*longer));
  EXPECT_TRUE(remembers(*elsewhere));
  tables.forget_verdicts();
  EXPECT_FALSE(remembers(*elsewhere));
}

}  // namespace
}  // namespace holdfast::proxy
