// What one server connection has and what is under way on it: the server's side of a conversation, and the only place
// that says whether the server may serve another client.
//
// Task: combines the exchange, the statements that the server knows, the settings put on top of its defaults, the
// parameters that it last reported, the session state left behind since it was last clean (seen in a text, or possible
// by the catalogue), and how many bytes of a client's message it still lacks. Owner: the server's link. Thread: its
// worker's. Lifetime: the connection's; a hand-over to another worker begins a new one.
#pragma once

#include <cstdint>
#include <string_view>

#include "protocol/catalogue_audit.hpp"
#include "protocol/exchange.hpp"
#include "protocol/framer.hpp"
#include "protocol/parameters.hpp"
#include "protocol/reported.hpp"
#include "protocol/server_statements.hpp"
#include "protocol/sql/verdict.hpp"
#include "protocol/traces.hpp"

namespace holdfast::protocol {

class ServerSession {
 public:
  ServerSession(PendingPool& pending, std::size_t statement_limit) : statements(pending, statement_limit) {}

  Framer framer{Direction::from_server};
  Exchange exchange;
  ServerStatements statements;
  SettingsRef settings;  // put on top of the server's defaults
  ReportedRef reported;  // the parameters that it last reported

  // The last forwarded message of the client lacks this many bytes. Until they come the server waits for them, and
  // takes whatever is sent next for them (SocketBackend, src/backend/tcop/postgres.c).
  void owes(std::uint32_t bytes) { owed_ = bytes; }
  [[nodiscard]] std::uint32_t owed() const { return owed_; }

  // The client that has it from now on; never 0.
  void serves(std::uint64_t client) {
    if (client_ == client) return;
    traces_.names.add(own_);
    traces_.names.add(hoped_);
    own_.clear();
    hoped_.clear();
    client_ = client;
  }
  // Session state was left behind, or may have been.
  void soil(sql::Effect effects) { dirt_ |= effects; }
  [[nodiscard]] sql::Effect dirt() const { return dirt_; }
  // Its client's start-up settings have some of the application's own.
  void makes_placeholder(std::string_view name) {
    traces_.placeholders.add(client_);
    own_.add(name);
  }
  void owns_placeholder(std::string_view name) { own_.add(name); }
  // It can't be made fit for somebody else: it is closed.
  void give_up() { soil(sql::Effect::load); }
  // A statement of its client goes to it. What hidden code of the database may have done behind it is judged before
  // somebody else gets the server.
  // `made`: the custom settings that its text makes, if it makes some.
  void runs(const sql::Verdict& verdict, const sql::CustomSettings* made = nullptr) {
    if (verdict.access == sql::Access::nothing) return;
    const bool writes = verdict.access == sql::Access::write;
    unproven_ |= writes ? ran_writes : ran_reads;
    if (writes) traces_.sequences.add(client_);
    if (has(verdict.effects, sql::Effect::custom_setting)) makes_settings(made);
    if (has(verdict.effects, sql::Effect::unknown_function | sql::Effect::unparsed)) makes_settings(nullptr);
  }
  // Statements ran of which it isn't known yet what they left.
  [[nodiscard]] bool unproven() const { return unproven_ != 0; }
  // What the database's hidden code can do.
  void judge(Hidden hidden) {
    const bool left = has(hidden, Hidden::reads_leave) ? unproven_ != 0
                                                       : has(hidden, Hidden::writes_leave) && unproven_ >= ran_writes;
    if (left) {
      soil(sql::Effect::discard);
      traces_.placeholders.add_unknown();
      traces_.names.add_unknown();
    }
    unproven_ = 0;
  }
  // As whoever gets it next finds them: its client's own are others' then.
  [[nodiscard]] Traces traces() const {
    Traces all = traces_;
    all.names.add(own_);
    all.names.add(hoped_);
    return all;
  }
  void inherit(const Traces& traces) { traces_ = traces; }
  // Its client would find values of other clients' sequences.
  [[nodiscard]] bool has_sequences_of_others() const { return traces_.sequences.by_others_than(client_); }
  // DISCARD SEQUENCES succeeded. What its client has done behind it is its own.
  void forgot_sequences() { traces_.sequences.only(client_); }
  // … custom settings of others' making, unless it makes these itself first.
  [[nodiscard]] bool has_placeholders_of_others(const sql::CustomNames& first = {}) const {
    return traces_.placeholders.by_others_than(client_) && !own_.cover(traces_.names) && !first.cover(traces_.names);
  }
  // What is in flight makes some of its client's own.
  [[nodiscard]] bool settings_under_way() const { return !hoped_.empty(); }
  // Its client asks for these. What is in flight may not have made its own yet, or fail: only what the same batch makes
  // in front of it exists for certain if it runs at all.
  [[nodiscard]] bool shows_placeholders_of_others(const sql::CustomNames& asked) const {
    if (!has_placeholders_of_others() || !traces_.names.meet(asked) || own_.cover(asked)) return false;
    if (hoped_.empty() || !exchange.open_batch() || exchange.answers_come()) return true;
    auto made = own_;
    made.add(hoped_);
    return !made.cover(asked);
  }
  [[nodiscard]] bool shows_others() const {
    return has_sequences_of_others() || traces_.placeholders.by_others_than(client_);
  }
  // DISCARD ALL succeeded.
  void emptied() {
    statements.clear();
    settings = {};
    dirt_ = sql::Effect::none;
    unproven_ = 0;
    traces_.sequences.clear();
  }

  // Nothing is in flight, no transaction is open, and no message is half sent or half received: its client may give it
  // back.
  [[nodiscard]] bool at_rest() const { return waits_for_rest() && owed_ == 0; }
  // The same, except that the server may still lack the rest of a message that no longer matters.
  [[nodiscard]] bool waits_for_rest() const { return exchange.quiet() && framer.at_boundary(); }
  // Certainly at rest, and without traces of the client that it served: any client may have it.
  [[nodiscard]] bool may_serve_others() const {
    return at_rest() && exchange.may_release() && dirt_ == sql::Effect::none && unproven_ == 0;
  }

  // Settles the statement operations of the request that `reply` finished or failed, and of those dropped because of
  // its error. `also`(cookie, outcome) is called for each, for the client's names.
  template <typename Also>
  void settle(const Reply& reply, Also&& also) {
    if (!reply.finished && !reply.failed) return;
    if (!hoped_.empty() && (reply.failed || exchange.idle())) [[unlikely]]
      settle_settings(reply.failed);
    settle_one(reply.request.cookie, reply.failed ? Outcome::failed : Outcome::completed, also);
    if (!reply.failed) return;
    for (const auto& dropped : exchange.dropped()) settle_one(dropped.cookie, Outcome::skipped, also);
  }

 private:
  // Custom settings that its client makes, by names that may not be known: they are its own.
  [[gnu::noinline, gnu::cold]] void makes_settings(const sql::CustomSettings* made) {
    if (exchange.skipping()) return;  // it doesn't run
    traces_.placeholders.add(client_);
    if (made != nullptr) hoped_.add(made->names);
    if (made == nullptr || !made->whole) hoped_.add_unknown();
  }
  // What was in flight is answered: it made them, or it is not known which of them it made.
  [[gnu::noinline, gnu::cold]] void settle_settings(bool failed) {
    (failed ? traces_.names : own_).add(hoped_);
    hoped_.clear();
  }
  template <typename Also>
  void settle_one(std::uint32_t cookie, Outcome outcome, Also& also) {
    if (cookie == 0) return;
    also(cookie, outcome);
    statements.settle(cookie, outcome);
  }

  static constexpr std::uint8_t ran_reads = 1;
  static constexpr std::uint8_t ran_writes = 2;

  std::uint32_t owed_ = 0;
  sql::Effect dirt_ = sql::Effect::none;
  std::uint8_t unproven_ = 0;  // what has run since it was last judged
  std::uint64_t client_ = 0;
  Traces traces_;
  // Custom settings that this client has made since it got the server, and those that what is in flight makes.
  sql::CustomNames own_;
  sql::CustomNames hoped_;
};

}  // namespace holdfast::protocol
