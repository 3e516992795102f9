// A client, its conversations one after the other, and the servers that these are held with; scripted, without sockets.
//
// Task: does with the bytes of both sides what the session does: looks at the unit, links, passes frames, takes what is
// on the desk as sent, unlinks when the conversation may end, and puts a unit that may run again in front of what came
// since. What a server is sent and what the client is told is collected. One per script; many may use one pool.
#pragma once

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "protocol/backend.hpp"
#include "proxy/session/conversation.hpp"
#include "proxy/session/local_answers.hpp"
#include "tests/proxy/pool_world.hpp"
#include "tests/proxy/wire.hpp"

namespace holdfast::proxy {

using namespace std::string_literals;  // NOLINT: a header of tests

class Talk {
 public:
  using Taken = Conversation::Taken;
  using Again = protocol::Replay::Again;

  struct Server {
    Server(protocol::PendingPool& pool, bool is_primary) : session(pool, 500), primary(is_primary) {
      session.exchange.reset('I');
    }
    protocol::ServerSession session;
    bool primary;
    std::string got;      // all that it was sent
    std::string pending;  // that it said, of a message whose end is to come
    std::size_t read = 0;
  };

  explicit Talk(Pool& pool, std::uint32_t whole_limit = protocol::Framer::Limits{}.whole_limit)
      : framer(protocol::Direction::from_client, {.whole_limit = whole_limit}) {
    identity.pool = &pool;
    hides(protocol::Hidden::nothing);
    identity.classifier = tables.classifier("pool", {}, config::Limits{});
    configure({});
    for (const bool primary : {true, false}) servers.emplace_back(tables.pending, primary);
  }
  Talk(const Talk&) = delete;
  Talk& operator=(const Talk&) = delete;

  void configure(const config::EffectiveSettings& settings) {
    identity.settings = std::make_shared<const config::EffectiveSettings>(settings);
  }
  // The hidden code of its database, by an audit.
  void hides(protocol::Hidden hidden) {
    auto& catalogue = identity.pool->catalogue();
    catalogue.learn(hidden, catalogue.schema(), {}, {});
  }
  void wants(std::string_view name, std::string_view value) {
    identity.wanted = tables.settings.intern({{std::string(name), std::string(value)}});
    statements.set_scope({.meaning = tables.statements.scope_of(std::string(name) + '=' + std::string(value))});
  }

  // The client sends this. What became of its last message.
  Taken client(std::string_view bytes) {
    identity.classifier->turn(++turn_);
    inbox_ += bytes;
    return go();
  }
  // The linked server sends this, and it is received at once. False: the server must be closed.
  bool server(std::string_view bytes) {
    Server& from = *linked_;
    from.pending += bytes;
    desk.clear();
    const bool good = hear(from);
    if (!desk.to_client.empty()) conversation->delivered();
    flushed = conversation->take_flushed();
    flush_to_client();
    note_aftermath();
    desk.clear();
    if (!good) return false;
    unlink_if_done();
    go();
    return true;
  }
  // A Terminate came, and its client listens.
  void terminate() {
    desk.clear();
    conversation->terminate();
    flush_to_server();
    desk.clear();
  }
  // The linked server is gone, as its reader tells.
  protocol::Loss lose() {
    const bool cut = !framer.at_boundary() || conversation->pinned() || conversation->in_answer();
    auto loss = conversation->server_lost(cut);
    note_aftermath();
    return loss;
  }
  // … and the client gives it back: what may run again is in front, for another one.
  void give_up_server() {
    const auto& replay = conversation->replay();
    if (replay.again() != Again::no) {
      block.take_back();
      put_in_front(replay);
    }
    conversation.reset();
    linked_ = nullptr;
  }

  [[nodiscard]] bool linked() const { return conversation.has_value(); }
  [[nodiscard]] Server& current() const { return *linked_; }
  [[nodiscard]] const ClientFacts& facts() const { return facts_; }

  // In words, what a server was sent and what the client was told since the last question.
  std::string said(std::size_t which = 0) {
    auto& server = servers[which];
    return wire::said(std::string_view(server.got).substr(std::exchange(server.read, server.got.size())));
  }
  std::string heard() { return wire::heard(std::string_view(told).substr(std::exchange(heard_, told.size()))); }
  // What the last ErrorResponse said.
  [[nodiscard]] std::string last_error() const {
    const auto at = told.rfind("SERROR");
    if (at == std::string::npos || at < protocol::header_size) return {};
    const auto fields =
        protocol::parse_error(protocol::as_bytes(told).subspan(at, told.find(std::string(2, '\0'), at) + 2 - at));
    return fields ? std::string(fields->message) : "?";
  }

  // What the last ErrorResponse or NoticeResponse said, of whoever it is.
  [[nodiscard]] std::string last_message() const {
    const auto at = told.rfind("\0M"s);
    return at == std::string::npos ? std::string() : std::string(told.c_str() + at + 2);
  }

  Tables tables{0};
  Desk desk;
  Counters counters;
  Identity identity;
  protocol::ClientStatements statements{tables.pending};
  protocol::Block block;
  protocol::ReportedRef reported;
  protocol::Framer framer;
  std::deque<Server> servers;  // 0: the primary, 1: a standby
  std::optional<Conversation> conversation;
  Conversation::Aftermath after;  // of all passes so far
  std::string told;               // all that the client got
  std::string consumed;           // of the client's, since the server was taken
  std::size_t told_before = 0;    // the size of `told` when the server was taken
  std::size_t flushed = 0;        // of what was told last, behind a Terminate
  bool answers_locally = true;
  bool unlinks = true;      // false: a conversation that may end goes on
  bool send_fails = false;  // the next send to a server reaches nobody
  std::size_t next = 0;     // whose the next unit is, if choose is not set
  std::function<std::size_t(const Unit&)> choose;
  std::function<void(Server&)> on_unlink;

 private:
  static constexpr std::size_t longest_looked_at = 64 * 1024;

  Taken go() {
    desk.clear();
    at_ = 0;
    const Taken taken = process();
    flush_to_server();
    if (conversation) note_aftermath();
    flush_to_client();
    inbox_.erase(0, at_);
    at_ = 0;
    desk.clear();
    unlink_if_done();
    // What waits behind a unit that has ended, or was put in front.
    if (!linked() && !inbox_.empty() && framer.at_boundary() && progress_) {
      progress_ = false;
      return go();
    }
    return taken;
  }

  [[nodiscard]] protocol::Bytes received() const { return protocol::as_bytes(std::string_view(inbox_).substr(at_)); }
  void consume(std::size_t count) {
    if (linked()) consumed += inbox_.substr(at_, count);
    at_ += count;
    progress_ = true;
  }

  Taken process() {
    for (;;) {
      if (!linked() && framer.at_boundary()) {
        if (received().empty()) return Taken::taken;
        if (const auto begun = begin_unit(); begun != Begun::linked) {
          if (begun == Begun::incomplete) return Taken::taken;
          continue;
        }
      }
      const auto frame = framer.next(received());
      switch (frame.kind) {
        case protocol::Frame::Kind::need_more: return Taken::taken;
        case protocol::Frame::Kind::error: ADD_FAILURE() << "the script is no protocol"; return Taken::unknown;
        case protocol::Frame::Kind::more:
          if (conversation) conversation->more_from_client(frame, framer);
          break;
        case protocol::Frame::Kind::start: {
          const Taken taken = conversation->from_client(frame, framer);
          if (taken == Taken::wait) framer.put_back();
          if (taken != Taken::taken) return taken;
          break;
        }
      }
      consume(frame.bytes.size());
    }
  }

  enum class Begun { linked, answered, incomplete };
  Begun begin_unit() {
    const Unit unit = look_ahead(received(), framer, statements, *identity.classifier, longest_looked_at);
    if (unit.shape == Unit::Shape::incomplete) return Begun::incomplete;
    if (!unit.needs_server) {
      const auto frame = framer.next(received());
      if (frame.tag == 'S') LocalAnswers(facts(), framer).sync();
      consume(frame.bytes.size());
      return Begun::answered;
    }
    if (answers_locally) {
      if (const auto done = LocalAnswers(facts(), framer).answer(unit, received()); done > 0) {
        consume(done);
        return Begun::answered;
      }
    }
    const bool forced = std::exchange(force_primary_, false);
    linked_ = &servers[forced ? 0 : choose ? choose(unit) : next];
    linked_->session.settings = identity.wanted;
    flush_to_client();
    conversation.emplace(facts(), linked_->session);
    conversation->tell_reported();
    flush_to_client();
    told_before = told.size();
    consumed.clear();
    conversation->runs_on(linked_->primary ? Conversation::Role::primary : Conversation::Role::replica);
    conversation->expect(unit);
    return Begun::linked;
  }

  bool hear(Server& from) {
    std::size_t at = 0;
    bool good = true;
    while (good) {
      const auto frame = from.session.framer.next(protocol::as_bytes(std::string_view(from.pending).substr(at)));
      if (frame.kind == protocol::Frame::Kind::need_more) break;
      if (frame.kind == protocol::Frame::Kind::more) {
        conversation->more_from_server(frame);
      } else if (frame.kind == protocol::Frame::Kind::error) {
        good = false;
      } else if (frame.tag == 'S') {
        const auto status = *protocol::parse_parameter_status(frame.body());
        from.session.reported = *tables.reported.with(from.session.reported, status.name, status.value);
        conversation->parameter_reported();
      } else {
        conversation->runs_on(from.primary ? Conversation::Role::primary : Conversation::Role::replica);
        good = conversation->from_server(frame);
      }
      at += frame.bytes.size();
    }
    hear_end_ = {&from, at};
    return good;
  }

  void flush_to_server() {
    if (desk.to_server.empty()) {
      if (conversation) conversation->pass_ended();
      return;
    }
    ASSERT_TRUE(conversation) << "bytes for a server that nobody has";
    if (std::exchange(send_fails, false) && conversation->may_take_back()) {
      desk.to_server.clear();
      conversation->take_back();
      const auto& replay = conversation->replay();
      const auto passing = replay.passing();
      // It lies where it was received, in front of what is taken next.
      if (!passing.empty()) {
        ASSERT_LE(passing.size(), at_);
        ASSERT_EQ(passing.data(), protocol::as_bytes(inbox_).data() + (at_ - passing.size()));
      }
      at_ -= passing.size();
      inbox_.insert(at_, protocol::as_text(replay.bytes()));
      framer.put_back();
      conversation.reset();
      linked_ = nullptr;
      return;
    }
    linked_->got += protocol::as_text(desk.to_server.bytes());
    conversation->sent();
    desk.to_server.clear();
  }
  void flush_to_client() {
    told += protocol::as_text(desk.to_client.bytes());
    desk.to_client.clear();
    // Only now: what was forwarded lay there.
    if (auto [server, at] = std::exchange(hear_end_, {nullptr, 0}); server != nullptr) server->pending.erase(0, at);
  }
  void note_aftermath() {
    const auto pass = conversation->take_aftermath();
    after.units += pass.units;
    after.began |= pass.began;
    after.wrote |= pass.wrote;
    after.schema_changed |= pass.schema_changed;
    after.shared_schema_changed |= pass.shared_schema_changed;
    after.plans_expired |= pass.plans_expired;
  }
  void unlink_if_done() {
    if (!linked() || !unlinks || !conversation->may_end()) return;
    const auto& replay = conversation->replay();
    if (replay.again() != Again::no) {
      force_primary_ = replay.again() == Again::on_primary;
      put_in_front(replay);
      progress_ = true;
    }
    conversation.reset();
    if (on_unlink) on_unlink(*linked_);
    linked_ = nullptr;
  }
  void put_in_front(const protocol::Replay& replay) {
    inbox_.insert(0, protocol::as_text(replay.bytes()));
    statements.end_batch();
  }

  std::int64_t turn_ = 0;
  std::string inbox_;
  std::size_t at_ = 0;  // how much of it was taken in this pass
  const ClientFacts facts_{.identity = identity,
                           .statements = statements,
                           .block = block,
                           .told = reported,
                           .tables = tables,
                           .desk = desk,
                           .counters = counters};
  std::size_t heard_ = 0;
  std::pair<Server*, std::size_t> hear_end_{nullptr, 0};
  Server* linked_ = nullptr;
  bool force_primary_ = false;
  bool progress_ = false;
};

// Each test has a fresh client with two servers.
class ConversationWorld : public PoolWorld {
 protected:
  Talk talk{pool()};
};

}  // namespace holdfast::proxy
