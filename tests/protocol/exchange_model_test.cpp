// The exchange against a model of PostgreSQL: every script of up to three messages, many of four, and long random ones,
// each with several orders in which what is sent and what is received may interleave.
#include <gtest/gtest.h>

#include <random>

#include "tests/protocol/exchange_script.hpp"

namespace holdfast::protocol::testing {
namespace {

const Operation& operation(std::string_view name) {
  for (const Operation& operation : operations())
    if (operation.name == name) return operation;
  throw std::invalid_argument(std::string(name));
}

enum class Order { all_sent_first, one_by_one, mixed };

// Empty, or what went wrong.
template <typename Random>
std::string play(const std::vector<const Operation*>& script, Order order, Random& random) {
  ScriptPlayer player;
  for (const Operation* next : script) {
    player.send(*next);
    while (order != Order::all_sent_first && player.can_receive() && (order == Order::one_by_one || random() % 2 == 0))
      player.receive();
  }
  while (player.can_receive()) player.receive();
  player.check_quiet();
  // A doubt is gone when the proxy's Close is answered.
  if (player.doubtful() && !player.broken() && player.exchange().idle() && !player.exchange().open_batch()) {
    static const Operation close{"Cproxy", 'C', "3", CopyEnd::none, Origin::proxy};
    static const Operation sync{"Sproxy", 'S', "", CopyEnd::none, Origin::proxy};
    player.send(close);
    player.send(sync);
    while (player.can_receive()) player.receive();
    if (player.doubtful()) return "still in doubt: " + player.fault();
    player.check_quiet();
  }
  return player.fault();
}

TEST(ExchangeModel, every_short_script_gives_each_answer_to_its_request) {
  const auto& all = operations();
  std::minstd_rand random(1);
  std::vector<const Operation*> script;
  std::size_t played = 0;
  int failures = 0;
  for (std::size_t length = 1; length <= 4; ++length) {
    std::vector<std::size_t> digits(length, 0);
    bool more = true;
    while (more && failures < 10) {
      script.clear();
      for (const std::size_t digit : digits) script.push_back(&all[digit]);
      const auto chosen = static_cast<Order>(random() % 3);
      for (const Order order : {Order::all_sent_first, Order::one_by_one, Order::mixed}) {
        // Of the longest every eleventh (11 shares no factor with the number of operations), in one order.
        if (length == 4 && (played % 11 != 0 || order != chosen)) continue;
        const std::string fault = play(script, order, random);
        if (!fault.empty()) {
          ADD_FAILURE() << fault << " order " << static_cast<int>(order);
          ++failures;
        }
      }
      ++played;
      more = false;
      for (std::size_t i = 0; i < length && !more; ++i) {
        more = ++digits[i] < all.size();
        if (!more) digits[i] = 0;
      }
    }
  }
  RecordProperty("scripts", static_cast<int>(played));
}

TEST(ExchangeModel, long_random_pipelines_give_each_answer_to_its_request) {
  const auto& all = operations();
  std::minstd_rand random(7);
  int failures = 0;
  for (int round = 0; round < 30000 && failures < 10; ++round) {
    std::vector<const Operation*> script(4 + random() % 40);
    // Most pipelines without copies, or nothing but broken ones would be seen.
    const bool copies = round % 4 == 0;
    for (auto& next : script) {
      do next = &all[random() % all.size()];
      while (!copies && next->copy != CopyEnd::none);
    }
    const std::string fault = play(script, static_cast<Order>(round % 3), random);
    if (!fault.empty()) {
      ADD_FAILURE() << fault << " order " << round % 3;
      ++failures;
    }
  }
}

// libpq's way: Execute and Sync, then the data, CopyDone and Sync; each end of the copy at each interleaving.
TEST(ExchangeModel, copies_as_libpq_sends_them_never_break) {
  std::minstd_rand random(3);
  for (const char* copy : {"Ecopyin", "Ecopyin!", "Ecopyin!d", "Ecopyin!c"}) {
    for (const char* end : {"c", "f"}) {
      for (int round = 0; round < 300; ++round) {
        std::vector<const Operation*> script;
        for (const char* name : {"P", "B", "Dp", copy, "S", "d", "d", end, "S", "P", "B", "E", "S"})
          script.push_back(&operation(name));
        ScriptPlayer player;
        for (std::size_t i = 0; i < script.size(); ++i) {
          // libpq waits for ReadyForQuery before it begins anew.
          if (i == 9)
            while (player.can_receive()) player.receive();
          player.send(*script[i]);
          while (player.can_receive() && random() % 2 == 0) player.receive();
        }
        while (player.can_receive()) player.receive();
        player.check_quiet();
        ASSERT_EQ(player.fault(), "") << copy << end;
        ASSERT_FALSE(player.doubtful()) << copy << end;
        ASSERT_TRUE(player.exchange().may_release()) << copy << end;
      }
    }
  }
}

}  // namespace
}  // namespace holdfast::protocol::testing
