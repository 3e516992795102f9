// Permits and places: limits of the process, and who is next across workers.
#include "proxy/pool/permits.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "proxy/base/places.hpp"
#include "proxy/session/cancel_keys.hpp"
#include "proxy/session/places_book.hpp"

namespace holdfast::proxy {
namespace {

using namespace std::chrono_literals;

// Permits compare the workers that want one, they don't look into them.
Handover* worker(std::uintptr_t number) {
  return reinterpret_cast<Handover*>(number * 64);
}  // NOLINT

const health::TimePoint noon{1000s};

TEST(Permits, limit_holds_between_threads) {
  Permits permits(10);
  std::atomic<std::uint32_t> most{0};
  std::atomic<std::uint32_t> inside{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20'000; ++i) {
        if (!permits.try_take()) continue;
        const auto now = ++inside;
        auto known = most.load();
        while (known < now && !most.compare_exchange_weak(known, now)) {
        }
        --inside;
        permits.give_back();
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_LE(most, 10U);
  EXPECT_EQ(permits.used(), 0U);
}

TEST(Permits, lower_limit_is_too_many_until_some_come_back) {
  Permits permits(2);
  ASSERT_TRUE(permits.try_take());
  ASSERT_TRUE(permits.try_take());
  EXPECT_FALSE(permits.try_take());
  permits.set_limit(1);
  EXPECT_TRUE(permits.too_many());
  permits.give_back();
  EXPECT_FALSE(permits.too_many());
  EXPECT_FALSE(permits.try_take());
}

TEST(Permits, longest_waiting_worker_is_next) {
  Permits permits(1);
  EXPECT_FALSE(permits.wanted());
  permits.want(worker(1), noon + 2s);
  permits.want(worker(2), noon + 1s);
  permits.want(worker(3), noon + 3s);
  EXPECT_EQ(permits.take_want(worker(9), std::nullopt), worker(2));
  EXPECT_EQ(permits.take_want(worker(9), std::nullopt), worker(1));
  EXPECT_EQ(permits.take_want(worker(9), std::nullopt), worker(3));
  EXPECT_EQ(permits.take_want(worker(9), std::nullopt), nullptr);
  EXPECT_FALSE(permits.wanted());
}

TEST(Permits, own_older_waiter_comes_first_and_oneself_is_nobody_else) {
  Permits permits(1);
  permits.want(worker(1), noon + 2s);
  EXPECT_EQ(permits.take_want(worker(2), noon + 1s), nullptr);
  EXPECT_EQ(permits.take_want(worker(1), std::nullopt), nullptr);
  EXPECT_TRUE(permits.wanted());
  EXPECT_EQ(permits.take_want(worker(2), noon + 3s), worker(1));
}

TEST(Permits, second_want_replaces_the_first_and_unwant_takes_it_back) {
  Permits permits(1);
  EXPECT_TRUE(permits.want(worker(1), noon));
  EXPECT_FALSE(permits.want(worker(1), noon + 5s));
  EXPECT_EQ(permits.take_want(worker(2), noon + 1s), nullptr);
  permits.unwant(worker(1));
  EXPECT_FALSE(permits.wanted());
  permits.unwant(worker(1));
}

TEST(PermitBook, same_key_and_member_share_and_take_the_new_limit) {
  PermitBook book;
  const PoolKey key{"main", "app", "user"};
  const auto first = book.find(key, "pg1", 3);
  const auto other = book.find(key, "pg2", 3);
  EXPECT_NE(first, other);
  EXPECT_EQ(book.find(key, "pg1", 5), first);
  EXPECT_EQ(first->limit(), 5U);
}

TEST(Places, limit_holds_but_for_those_who_must) {
  Places places(1);
  EXPECT_TRUE(places.try_take());
  EXPECT_FALSE(places.try_take());
  places.take();
  EXPECT_EQ(places.used(), 2U);
  places.give_back();
  EXPECT_FALSE(places.try_take());
  places.give_back();
  EXPECT_TRUE(places.try_take());
}

// Names of databases come from clients before they have proven who they are.
TEST(PlacesBook, names_without_clients_are_forgotten) {
  PlacesBook book;
  const auto held = book.find("held", 5);
  ASSERT_TRUE(held->try_take());
  for (int i = 0; i < 5000; ++i) static_cast<void>(book.find("name " + std::to_string(i), 5));
  EXPECT_LE(book.size(), 1001U);
  EXPECT_EQ(book.find("held", 5), held);
}

// Keys lead there, nothing is asked of it.
Sessions* sessions(std::uintptr_t number) {
  return reinterpret_cast<Sessions*>(number * 64);  // NOLINT
}

TEST(CancelKeys, key_leads_to_its_session_until_it_is_removed) {
  CancelKeys keys;
  const auto one = keys.add({sessions(1), 11});
  const auto two = keys.add({sessions(2), 22});
  ASSERT_TRUE(one && two);
  EXPECT_NE(*one, *two);
  EXPECT_EQ(keys.find(*one).session, 11U);
  EXPECT_EQ(keys.find(*two).sessions, sessions(2));
  EXPECT_EQ(keys.find({one->first, one->second + 1}).sessions, nullptr);
  keys.remove(*one);
  EXPECT_EQ(keys.find(*one).sessions, nullptr);
}

}  // namespace
}  // namespace holdfast::proxy
