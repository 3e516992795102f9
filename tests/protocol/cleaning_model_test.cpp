// Cleaning against a model of PostgreSQL: a client sends something at random and goes away at any point; whatever it
// left, the server is closed or brought back to where a stranger may have it, and the model must agree.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "tests/protocol/cleaning_driver.hpp"
#include "tests/protocol/model_backend.hpp"

namespace holdfast::protocol::testing {
namespace {

const Operation rollback{"Qrollback", 'Q', "C", CopyEnd::none, Origin::proxy, false, 'C'};
const Operation discard{"Qdiscard", 'Q', "C", CopyEnd::none, Origin::proxy};
const Operation close_nothing{"Cproxy", 'C', "3", CopyEnd::none, Origin::proxy};
const Operation sync_of_ours{"Sproxy", 'S', "", CopyEnd::none, Origin::proxy};

const Operation& operation(std::string_view name) {
  for (const Operation& operation : operations())
    if (operation.name == name) return operation;
  throw std::invalid_argument(std::string(name));
}

class ModelRun {
 public:
  using Step = Cleaning::Step;

  explicit ModelRun(std::minstd_rand& random) : random_(random) {}

  // The client's next message, and some of the answers.
  void send(const Operation& next) {
    if (next.local && model_.copying()) return;
    Operation message = next;
    if (it_.session.exchange.doubtful()) message.local = false;
    script_ += std::string(message.name) + " ";
    to_model(message);
    if (message.local) {
      it_.session.exchange.answered_locally(message.tag, 0);
    } else {
      it_.session.exchange.sent({.tag = message.tag, .origin = message.origin});
    }
    if (random_() % 4 == 0) {
      it_.session.soil(sql::Effect::set);
      dirty_ = true;
    }
    while (random_() % 2 == 0 && receive()) {
    }
  }

  // The client is gone: how it ends.
  Step clean() {
    script_ += "| ";
    // A cancel request of the client's own may still be on its way.
    it_.cancels = {.under_way = random_() % 4 == 0, .possible = random_() % 2 == 0};
    for (int pass = 0; pass < 1000; ++pass) {
      const std::string step = it_.ask();
      script_ += step + ", ";
      if (step.contains("cancel") && !runs_for_client()) complain("a cancel where nothing of the client's runs");
      if (it_.last == Step::release || it_.last == Step::close) return it_.last;
      if (it_.last == Step::send) pass_on();
      if (random_() % 2 == 0) it_.cancels.under_way = false;
      receive();
      // A reader would close the connection.
      if (!it_.good) return Step::close;
    }
    complain("it never ends");
    return Step::wait;
  }

  // What must hold of a server that was released.
  void check_released() {
    while (received_ < model_.answers().size() && owners_[model_.answers()[received_].owner].local) ++received_;
    if (received_ != model_.answers().size() || !coming_.empty()) complain("released with answers under way");
    if (!model_.free()) complain("released while not free");
    if (dirty_) complain("released with what was left behind");
    if (it_.cancels.under_way) complain("released with a cancel under way");
  }
  [[nodiscard]] const std::string& fault() const { return fault_; }
  [[nodiscard]] const Cleaning& cleaning() const { return it_.cleaning; }
  // There was a doubt, and it was settled.
  [[nodiscard]] bool proved() const { return proved_; }

 private:
  void complain(const std::string& what) {
    if (fault_.empty()) fault_ = what + ": " + script_;
  }
  void to_model(const Operation& operation) {
    model_.read(operation, owners_.size());
    owners_.push_back(operation);
  }
  // Something that the client itself sent is not answered in full, as far as can be seen: of what the server skips that
  // is known when the error has come.
  [[nodiscard]] bool runs_for_client() const {
    for (auto at = received_ - (coming_.empty() ? 0 : 1); at < model_.answers().size(); ++at) {
      const Operation& owner = owners_[model_.answers()[at].owner];
      if (model_.answers()[at].tag == 'E' || (owner.origin == Origin::client && !owner.local)) return true;
    }
    return false;
  }
  // What Cleaning sends reaches the model.
  void pass_on() {
    Framer framer(Direction::from_client);
    for (Bytes rest = it_.out; !rest.empty();) {
      const Frame frame = framer.next(rest);
      rest = rest.subspan(frame.bytes.size());
      switch (frame.tag) {
        case client::copy_fail: to_model(operation("f")); break;
        case client::bind: to_model(operation("Pfailing")); break;
        case client::sync:
          if (model_.open_batch() && owners_.back().origin != Origin::failing && owners_.back().tag != client::close) {
            complain("a Sync that may commit");
          }
          to_model(sync_of_ours);
          break;
        case client::close:
          if (model_.open_batch() || model_.copying()) complain("a Close in the middle of something");
          if (model_.status() != 'I') complain("a Close inside a block");
          if (it_.cancels.under_way) complain("a Close that a cancel may hit");
          to_model(close_nothing);
          proved_ = true;
          break;
        default: {
          const auto sql = *parse_query(frame.body());
          const bool discards = sql == "DISCARD ALL";
          if (!discards && sql != "ROLLBACK") complain("an unheard-of statement");
          if (model_.open_batch() || model_.copying()) complain("a statement in the middle of something");
          if (discards && model_.status() != 'I') complain("DISCARD ALL inside a block");
          if (it_.cancels.under_way) complain("a statement that a cancel may hit");
          to_model(discards ? discard : rollback);
          if (discards) dirty_ = false;
        }
      }
    }
  }
  // Some bytes of what the model says; false if it has said all.
  bool receive() {
    while (coming_.empty() && received_ < model_.answers().size()) {
      const auto& answer = model_.answers()[received_++];
      if (!owners_[answer.owner].local) coming_ = bytes_of(answer);
    }
    if (coming_.empty()) return false;
    const std::size_t size = 1 + random_() % coming_.size();
    it_.receive(Bytes(coming_).first(size));
    coming_.erase(coming_.begin(), coming_.begin() + static_cast<std::ptrdiff_t>(size));
    return true;
  }
  static Out bytes_of(const ModelBackend::Answer& answer) {
    if (answer.tag == 'E') return answers(answer.fatal ? "FE08P01" : answer.violation ? "E08P01" : "EXX000");
    if (answer.tag == 'Z') return answers(std::string("Z") + answer.status);
    return answers(std::string(1, answer.tag));
  }

  std::minstd_rand& random_;
  CleaningDriver it_;
  ModelBackend model_;
  std::vector<Operation> owners_;
  std::size_t received_ = 0;
  Out coming_;  // of the answer that is on its way
  bool dirty_ = false;
  bool proved_ = false;
  std::string script_;
  std::string fault_;
};

TEST(CleaningModel, whatever_a_client_left_is_cleaned_or_closed) {
  const auto& all = operations();
  std::minstd_rand random(23);
  std::size_t released = 0;
  std::size_t discarded = 0;
  std::size_t closed = 0;
  int failures = 0;
  for (int round = 0; round < 60000 && failures < 5; ++round) {
    ModelRun run(random);
    const bool copies = round % 3 == 0;
    for (auto left = random() % 8; left > 0; --left) {
      const Operation& next = all[random() % all.size()];
      if (!copies && next.copy != CopyEnd::none) continue;
      run.send(next);
    }
    const auto end = run.clean();
    if (end == Cleaning::Step::release) {
      ++released;
      discarded += run.cleaning().discarded() ? 1 : 0;
      run.check_released();
    } else {
      ++closed;
    }
    if (!run.fault().empty()) {
      ADD_FAILURE() << run.fault();
      ++failures;
    }
  }
  EXPECT_GT(released, 30000U);
  EXPECT_GT(discarded, 5000U);
  RecordProperty("released", static_cast<int>(released));
  RecordProperty("closed", static_cast<int>(closed));
}

// A Sync in the midst of a COPY FROM of a Query, which then fails: it was read over or is answered. Both are seen, and
// of what a doubt was settled of nothing is left to come.
TEST(CleaningModel, a_server_whose_doubt_was_settled_has_said_all) {
  const char* const steps[] = {"S", "S", "d", "d", "c", "f", "H", "Q", "Qcopyin", "Qcopyin!", "Qcopyin!d", "Qcopyin!c"};
  std::minstd_rand random(37);
  std::size_t proved = 0;
  std::size_t closed = 0;
  int failures = 0;
  for (int round = 0; round < 20000 && failures < 5; ++round) {
    ModelRun run(random);
    for (auto left = 1 + random() % 6; left > 0; --left) run.send(operation(steps[random() % std::size(steps)]));
    if (run.clean() == Cleaning::Step::release) {
      proved += run.proved() ? 1 : 0;
      run.check_released();
    } else {
      closed += run.proved() ? 1 : 0;
    }
    if (!run.fault().empty()) {
      ADD_FAILURE() << run.fault();
      ++failures;
    }
  }
  EXPECT_GT(proved, 1000U);
  EXPECT_EQ(closed, 0U) << "closed though the doubt could be settled";
}

// Without COPY nothing that a client sends by itself leaves a doubt: then the connection is kept, too.
TEST(CleaningModel, without_a_copy_no_connection_is_closed) {
  const auto& all = operations();
  std::minstd_rand random(29);
  int failures = 0;
  for (int round = 0; round < 20000 && failures < 5; ++round) {
    ModelRun run(random);
    std::string script;
    for (auto left = random() % 8; left > 0; --left) {
      const Operation& next = all[random() % all.size()];
      // An error in answer to a message that was injected counts as one to Cleaning's own.
      if (next.copy != CopyEnd::none || next.origin != Origin::client) continue;
      script += std::string(next.name) + " ";
      run.send(next);
    }
    if (run.clean() != Cleaning::Step::release) {
      ADD_FAILURE() << "closed: " << script << run.fault();
      ++failures;
    }
  }
}

}  // namespace
}  // namespace holdfast::protocol::testing
