// Random clients before shared model servers: each message is answered as by a server of the client's own.
#include <gtest/gtest.h>

#include <array>
#include <random>
#include <string>
#include <vector>

#include "tests/proxy/model_server.hpp"
#include "tests/proxy/talk.hpp"

namespace holdfast::proxy {
namespace {

using namespace wire;
using protocol::sql::Access;
using protocol::sql::Effect;
using protocol::sql::TransactionControl;

class ConversationModel : public PoolWorld {};

class Round {
 public:
  Round(Pool& pool, std::uint32_t seed) : random_(seed), talk_(pool) {
    talk_.choose = [this](const Unit& unit) { return choose(unit); };
    talk_.on_unlink = [this](Talk::Server& server) { clean(server); };
  }

  // Empty, or what went wrong.
  std::string play() {
    for (int step = 0; step < 60 && wrong_.empty(); ++step) {
      if (below(2) == 0) {
        say();
      } else {
        answer();
      }
    }
    say_now(sync());
    while (wrong_.empty() && talk_.linked() && more()) answer();
    if (!wrong_.empty() || refused_) return wrong_;
    // A block or a pin keeps its server; nothing else does.
    if (talk_.linked() && !talk_.conversation->pinned() && talk_.block.status() == 'I') complain("keeps its server");
    if (heard(talk_.told) != heard(direct_.out)) complain("at the end");
    if (!talk_.statements.settled()) complain("something is unsettled at the end");
    return wrong_;
  }
  // A standby's refusal was told, because something of the unit had been passed on: from there on both differ.
  [[nodiscard]] bool refused() const { return refused_; }
  [[nodiscard]] std::size_t answered() const { return talk_.after.units; }
  [[nodiscard]] bool used_standby() const { return !talk_.servers[1].got.empty(); }

 private:
  std::size_t below(std::size_t limit) { return random_() % limit; }
  template <typename Choices>
  const auto& pick(const Choices& choices) {
    return choices[below(choices.size())];
  }

  std::size_t choose(const Unit& unit) {
    const bool in_block = talk_.block.state() == protocol::Block::State::deferred;
    const auto verdict = in_block ? talk_.block.judged(unit.verdict, false) : unit.verdict;
    const bool read = verdict.control == TransactionControl::begin_read_only
                          ? verdict.access != Access::write && !has(verdict.effects, protocol::sql::pinning)
                          : verdict.repeatable() && verdict.control == TransactionControl::none;
    return read && !verdict.returns_after_commit ? below(2) : 0;
  }
  // A server that somebody left something on is cleaned before it is used again.
  void clean(Talk::Server& server) {
    if (server.session.may_serve_others()) return;
    models_[server.primary ? 0 : 1].discard();
    server.session.emptied();
  }

  void say() {
    static const std::array<std::string, 3> names{"", "a", "b"};
    static const std::array<std::string, 6> texts{"SELECT 1",   "SELECT 2",          "SELECT refused",
                                                  "SELECT 1/0", "INSERT INTO t (1)", "SELECT 3"};
    static const std::array<std::string, 10> queries{
        "SELECT 1",        "SELECT refused", "INSERT INTO t VALUES (1)", "BEGIN",        "COMMIT",
        "BEGIN READ ONLY", "ROLLBACK",       "SELECT nothere",           "DEALLOCATE a", "SELECT 1/0"};
    // In a block that has failed nothing can be parsed on another server, so there names are left alone: the answer is
    // an error in any case, not always the same one.
    if (direct_.failed()) return say_now(below(3) == 0 ? query(below(3) == 0 ? "ROLLBACK" : pick(queries)) : sync());
    switch (below(12)) {
      case 0:
      case 1: return say_now(parse(pick(names), pick(texts)));
      case 2:
      case 3: return say_now(wire::bind(pick(names)) + execute());
      case 4: return say_now(describe(pick(names)));
      case 5: return say_now(close(pick(names)));
      case 6:
      case 7: return say_now(sync());
      case 8: return say_now(flush());
      case 9: return say_now(run(pick(texts)));
      case 10: return say_now(below(6) > 0 ? query(pick(queries)) : query("SET work_mem = 1"));
      default: return discard();
    }
  }
  // With something in flight behind it, it ends neither names nor pins.
  void discard() {
    say_now(query("DISCARD ALL"));
    while (wrong_.empty() && talk_.linked() && more()) answer();
  }
  void say_now(const std::string& bytes) {
    // A batch is what a client sends up to its Sync; a Query in the midst of one is a matter of the exchange's tests.
    if (bytes[0] == 'Q' && open_batch_) say_now(sync());
    open_batch_ = bytes[0] != 'Q' && bytes[bytes.size() - 5] != 'S';
    script_ += " " + said(bytes);
    direct_.read(bytes);
    // In pieces, as a network gives them.
    const std::size_t cut = below(bytes.size() + 1);
    talk_.client(bytes.substr(0, cut));
    talk_.client(bytes.substr(cut));
    check();
  }

  bool more() {
    feed();
    return !models_[model()].out.empty();
  }
  [[nodiscard]] std::size_t model() const { return talk_.current().primary ? 0 : 1; }
  void feed() {
    for (std::size_t i = 0; i < 2; ++i) {
      models_[i].read(std::string_view(talk_.servers[i].got).substr(fed_[i]));
      fed_[i] = talk_.servers[i].got.size();
    }
  }
  void answer() {
    if (!talk_.linked() || !more()) return;
    auto& out = models_[model()].out;
    const std::size_t size = below(2) == 0 ? out.size() : 1 + below(out.size());
    const auto piece = out.substr(0, size);
    out.erase(0, size);
    if (!talk_.server(piece)) complain("closes the server");
    check();
  }

  // What the client has heard is what its own server would have said, as far as it goes.
  void check() {
    if (refused_ || !wrong_.empty()) return;
    const auto told = heard(talk_.told);
    if (refusals(told) > refusals(heard(direct_.out))) {
      refused_ = true;
      return;
    }
    const auto whole = told.ends_with("(cut)") ? told.substr(0, told.size() - 5) : told;
    if (!heard(direct_.out).starts_with(whole)) complain("");
  }
  static std::size_t refusals(const std::string& text) {
    std::size_t count = 0;
    for (auto at = text.find("E25006"); at != std::string::npos; at = text.find("E25006", at + 1)) ++count;
    return count;
  }
  void complain(const std::string& what) {
    if (!wrong_.empty()) return;
    wrong_ = what + "\n  script:" + script_ + "\n  told:   " + heard(talk_.told) + "\n  direct: " + heard(direct_.out);
  }

  std::minstd_rand random_;
  Talk talk_;
  ModelServer direct_;
  std::array<ModelServer, 2> models_{ModelServer(false), ModelServer(true)};
  std::array<std::size_t, 2> fed_{};
  bool open_batch_ = false;
  bool refused_ = false;
  std::string script_;
  std::string wrong_;
};

TEST_F(ConversationModel, every_message_is_answered_as_by_a_server_of_the_clients_own) {
  std::size_t answered = 0;
  int refused = 0;
  int on_standby = 0;
  int failures = 0;
  constexpr int rounds = 1500;
  for (std::uint32_t seed = 1; seed <= rounds && failures < 3; ++seed) {
    Round round(pool(), seed);
    const auto wrong = round.play();
    if (!wrong.empty()) {
      ADD_FAILURE() << "seed " << seed << ": " << wrong;
      ++failures;
    }
    answered += round.answered();
    refused += round.refused() ? 1 : 0;
    on_standby += round.used_standby() ? 1 : 0;
  }
  if (failures > 0) return;
  EXPECT_GT(answered, rounds);
  EXPECT_LT(refused, rounds / 4);
  EXPECT_GT(on_standby, rounds / 2);
}

}  // namespace
}  // namespace holdfast::proxy
