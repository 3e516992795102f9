#include "proxy/base/key_service.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <latch>
#include <thread>

#include "tests/support/wait.hpp"

namespace holdfast::proxy {
namespace {

using holdfast::testing::wait_until;

using protocol::scram::Key;

std::vector<std::byte> salt(char first) {
  std::vector<std::byte> bytes(16, std::byte{7});
  bytes[0] = static_cast<std::byte>(first);
  return bytes;
}

Result<Key> derive(KeyService& service, const std::string& password, char first, std::uint32_t iterations) {
  std::promise<Result<Key>> promise;
  if (!service.derive(password, salt(first), iterations,
                      [&promise](Result<Key> key) { promise.set_value(std::move(key)); }))
    return fail(sqlstate::too_many_connections, "refused");
  return promise.get_future().get();
}

TEST(KeyService, derives_as_scram_does_also_the_second_time) {
  KeyService service;
  for (int i = 0; i < 2; ++i) {
    for (const char first : {'a', 'b'}) {
      for (const std::uint32_t iterations : {1U, 4096U}) {
        const auto key = derive(service, "secret", first, iterations);
        ASSERT_TRUE(key);
        EXPECT_EQ(*key, *protocol::scram::salted_password("secret", salt(first), iterations));
      }
    }
  }
  EXPECT_NE(*derive(service, "secret", 'a', 1), *derive(service, "Secret", 'a', 1));
}

TEST(KeyService, says_no_when_too_many_wait_and_serves_those_that_it_took) {
  KeyService service;
  std::latch held(1);
  std::latch begun(1);
  ASSERT_TRUE(service.derive("first", salt('a'), 1, [&](const Result<Key>&) {
    begun.count_down();
    held.wait();
  }));
  begun.wait();
  std::atomic<int> done = 0;
  int taken = 0;
  while (service.derive("next", salt('b'), 1, [&](const Result<Key>& key) { done += key.has_value(); })) {
    ASSERT_LT(++taken, 1'000'000) << "a storm of log-ins is not bounded";
  }
  EXPECT_GT(taken, 1000);
  held.count_down();
  ASSERT_TRUE(wait_until(std::chrono::seconds(10), [&] { return done == taken; })) << done << " of " << taken;
  EXPECT_TRUE(derive(service, "last", 'c', 1)) << "there is room again";
}

TEST(KeyService, takes_requests_of_many_threads) {
  KeyService service;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&service, i] {
      const auto password = "password " + std::to_string(i);
      for (int round = 0; round < 50; ++round) {
        EXPECT_EQ(*derive(service, password, 'x', 10), *protocol::scram::salted_password(password, salt('x'), 10));
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

TEST(KeyService, takes_nothing_once_stopped) {
  KeyService service;
  service.stop();
  EXPECT_FALSE(service.derive("late", salt('a'), 1, [](const Result<Key>&) { FAIL(); }));
}

}  // namespace
}  // namespace holdfast::proxy
