// A key that is awaited, and given up on.
#include "proxy/io/derivation.hpp"

#include <gtest/gtest.h>

#include "protocol/client_errors.hpp"
#include "tests/proxy/pool_world.hpp"

namespace holdfast::proxy {
namespace {

class DerivationTest : public PoolWorld {
 protected:
  KeyService service;
};

// The service may be done already: what it posts is for a loop that does not run here.
TEST_F(DerivationTest, given_up_it_ends_in_the_log_ins_time_out_at_once) {
  Derivation derivation(reactor, service, "secret", std::vector<std::byte>(16), 1);
  EXPECT_FALSE(derivation.done().await_ready());
  derivation.give_up();
  ASSERT_TRUE(derivation.done().await_ready());
  const auto key = derivation.done().await_resume();
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().message, protocol::told(protocol::Tell::log_in_timed_out).message);
}

TEST_F(DerivationTest, without_a_place_in_line_it_ends_in_53300) {
  service.stop();
  Derivation derivation(reactor, service, "secret", std::vector<std::byte>(16), 1);
  ASSERT_TRUE(derivation.done().await_ready());
  const auto key = derivation.done().await_resume();
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().state, sqlstate::too_many_connections);
}

TEST_F(DerivationTest, who_gives_up_late_keeps_the_first_answer) {
  service.stop();
  Derivation derivation(reactor, service, "secret", std::vector<std::byte>(16), 1);
  derivation.give_up();
  EXPECT_EQ(derivation.done().await_resume().error().state, sqlstate::too_many_connections);
}

}  // namespace
}  // namespace holdfast::proxy
