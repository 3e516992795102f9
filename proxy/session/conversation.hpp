// One client and one server, from the moment the client gets the server until it gives it back: every message between
// them passes through here.
//
// Task: forwards, rewrites and answers what the client sends (statement names, a deferred BEGIN, the proxy's own errors
// in their turn); passes on, swallows or replaces what the server sends; knows whether the unit in flight may run
// again, why the client keeps the server, and whether it may be given back. Puts its output on the desk, and the
// session sends it. Without sockets, clock or log. Owner: the session. Thread: the worker's. Lifetime: that of a lease;
// everything that a client loses with its server is a member here.
//
//   expect(unit) ─> from_client(frame)* ─> [session sends] ─> from_server(frame)* ─> [session sends] ─> may_end()?
//                                                └─ server_lost(), or take_back() if may_take_back()
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/block.hpp"
#include "protocol/client_errors.hpp"
#include "protocol/client_statements.hpp"
#include "protocol/framer.hpp"
#include "protocol/pending_errors.hpp"
#include "protocol/replay.hpp"
#include "protocol/resets.hpp"
#include "protocol/server_session.hpp"
#include "protocol/unreplicated.hpp"
#include "proxy/base/counters.hpp"
#include "proxy/route/unit.hpp"
#include "proxy/session/identity.hpp"
#include "proxy/session/pins.hpp"
#include "proxy/session/tables.hpp"

namespace holdfast::proxy {

// The parts of a client that a conversation uses. It and all that it refers to outlive the conversation.
struct ClientFacts {
  const Identity& identity;
  protocol::ClientStatements& statements;
  protocol::Block& block;
  protocol::ReportedRef& told;  // the parameters that it was told
  Tables& tables;
  Desk& desk;
  Counters& counters;
};

class Conversation {
 public:
  // The current role of the server's member, set at the beginning of every pass.
  enum class Role : std::uint8_t { primary, replica };
  enum class Taken : std::uint8_t {
    taken,      // forwarded or answered
    wait,       // not taken: wait for answers to what is in flight, then pass the same frame again
    later,      // not taken: its text is judged in another turn; pass the same frame again
    elsewhere,  // not taken: another thread must judge its text (Classifier::take_long_text)
    too_many,   // too many messages without a Sync
    unknown,    // a message that is not expected here
  };
  // What happened in a pass that concerns more than this conversation.
  struct Aftermath {
    bool any = false;           // at least one of the following is set
    bool began = false;         // a unit of the client began, or goes on behind a Flush, and its time is limited
    bool wrote = false;         // a unit that was answered, at least in part, or lost may have written
    bool wrote_shared = false;  // … what all databases share
    bool schema_changed = false;
    bool shared_schema_changed = false;    // … that of what all databases share
    bool may_have_changed_schema = false;  // nobody knows
    bool unreplicated = false;             // a commit was told as 08007, for its standbys may not have it
    bool plans_expired = false;            // the server refused a plan whose result type has changed
    std::uint32_t units = 0;               // units of the client that were answered
  };

  Conversation(const ClientFacts& client, protocol::ServerSession& server);
  ~Conversation();
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  void runs_on(Role role) { role_ = role; }
  // The unit at the front was routed here.
  void expect(const Unit& unit);
  // The next unit of a block that could begin again, as soon as all in front of it is answered: if a standby refuses
  // it, it runs on the primary with its block.
  void expect_next(const Unit& unit) {
    replay_.once_more();
    expect(unit);
  }

  // ---- messages from the client
  // `framer`: the client's, which returned this frame. The rest of a message that is not forwarded is dropped
  // (dropping()).
  [[nodiscard]] Taken from_client(const protocol::Frame& frame, const protocol::Framer& framer);
  // Further bytes of the message that from_client() took last.
  void more_from_client(const protocol::Frame& frame, const protocol::Framer& framer);
  // The desk's bytes for the server were sent; the client's own bytes may move from here on.
  void sent() { replay_.sent(); }
  // The pass had nothing to send to the server; the client's own bytes may move from here on.
  void pass_ended() { replay_.pass_ended(); }
  // If the send failed as a whole: whether the client's bytes may be processed again.
  [[nodiscard]] bool may_take_back() const { return replay_.take_back(); }

  // ---- messages from the server
  // A ParameterStatus, which server_.reported has.
  void parameter_reported();
  // Any other message.
  // False: the server must be closed.
  [[nodiscard]] bool from_server(const protocol::Frame& frame) {
    const auto* reply = server_.exchange.unchanged(frame.tag);
    if (reply == nullptr) return answered(frame);
    if (frame.tag == protocol::server::command_complete && dropping_names_ != 0) note_completed(frame);
    pass(frame, reply->action == protocol::Reply::Action::forward && !replay_.swallowing());
    return true;
  }
  void more_from_server(const protocol::Frame& frame);
  // Tells the client the parameters that its server reports, as far as the client doesn't know them.
  void tell_reported() {
    if (client_.told != server_.reported) tell_difference();
  }
  // The pass had bytes for the client, which are sent now.
  void delivered();

  // ---- the end
  // The client no longer needs the server: everything is answered and nothing pins, or the unit runs again on the
  // primary.
  [[nodiscard]] bool may_end() const;
  // Everything is answered; a pin or session mode may still keep the server.
  [[nodiscard]] bool at_rest() const { return server_.at_rest() && !unit_.open; }
  // What is in flight may have an effect, also if nothing more comes from the client.
  [[nodiscard]] bool takes_effect() const { return server_.exchange.takes_effect(); }
  // Something of it will be answered, also if nothing more comes from the client.
  [[nodiscard]] bool answers_come() const { return goodbye_ == Goodbye::copy_fails || server_.exchange.answers_come(); }
  // The client has sent a Terminate, and listens. Makes the server say what PostgreSQL would: an error of the batch
  // that is open, or of the COPY that now gets no end.
  [[gnu::cold]] void terminate();
  // It has said the last that there is to say: that the COPY was ended by a Terminate.
  [[nodiscard]] bool copy_was_terminated() const { return goodbye_ == Goodbye::said; }
  // Behind a Terminate: how many bytes of those on the desk for the client PostgreSQL would have sent by now. What a
  // batch without a Sync is answered waits for an error or a notice, and is lost without.
  [[nodiscard]] bool keeps_answers() const { return goodbye_ == Goodbye::batch_ends && !unit_.flushes; }
  [[nodiscard]] std::size_t take_flushed() { return std::exchange(flushed_, 0); }
  // Everything is answered and nothing pins, but the server lacks the rest of a message that it will ignore.
  [[nodiscard]] bool waits_for_rest() const {
    return server_.waits_for_rest() && server_.owed() > 0 && !unit_.open && !pinned();
  }
  // The server is lost: settles what was in flight. `cut`: the unit must not run again, since only part of a message
  // had passed in either direction, the client is pinned, or its deferred BEGIN was refused.
  [[nodiscard]] protocol::Loss server_lost(bool cut);
  // Nothing was sent: undoes what messages in flight did to the client's names and to its block.
  void take_back();

  [[nodiscard]] const protocol::Replay& replay() const { return replay_; }
  [[nodiscard]] const Pins& pins() const { return pins_; }
  [[nodiscard]] bool pinned() const { return pins_.any() || client_.identity.session_mode(); }
  // Its unit's Query or Sync has not been forwarded yet.
  [[nodiscard]] bool unit_open() const { return unit_.open; }
  // Only part of a server's message has been passed on to the client: nothing else may be sent to it.
  [[nodiscard]] bool in_answer() const { return forwarding_ && !server_.framer.at_boundary(); }
  // A statement whose end is not known may write.
  [[nodiscard]] bool may_still_write() const { return unit_.writes && !at_rest(); }
  [[nodiscard]] bool may_change_shared() const { return unit_.writes_shared; }
  // Its writes up to here were noted.
  void writes_noted() {
    if (!unit_.writes) const WriteInFlight ended = std::move(writing_);
  }
  [[nodiscard]] WriteInFlight take_write() { return std::move(writing_); }
  // The rest of the client's current message is not forwarded.
  [[nodiscard]] bool dropping() const { return dropping_; }
  [[nodiscard]] bool has_aftermath() const { return aftermath_.any; }
  [[nodiscard]] Aftermath take_aftermath() { return std::exchange(aftermath_, {}); }
  // Sends the statements of the unit that a standby refused to the primary from now on.
  void learn_needs_primary();

 private:
  // What becomes of a Terminate.
  enum class Goodbye : std::uint8_t {
    none,
    batch_ends,  // the open batch has been made to answer
    copy_fails,  // the COPY has been made to fail
    said,        // and has; its client is told no more
  };
  struct UnitInFlight {
    bool open = false;
    bool writes = false;                           // a statement since the last ReadyForQuery may have written
    bool writes_shared = false;                    // … what all databases share
    bool closes = false;                           // it closes statements or portals
    bool flushes = false;                          // it has asked for what is answered so far
    bool refusal_read = false;                     // a standby refused it, and all its answers have come
    std::uint32_t parsed = 0;                      // Parse messages of it that have succeeded
    bool asks_sequence = false;                    // lastval or currval is among its functions
    bool ddl = false;                              // plans made before may be stale once it commits
    bool ddl_shared = false;                       // … in all databases
    bool may_be_ddl = false;                       // a DO, or text that wasn't understood
    std::optional<protocol::sql::Verdict> judged;  // of the Query that comes next
  };

  // client → server
  [[nodiscard]] bool must_wait() const;
  // The server shows something of others, and a statement with this verdict may look at it.
  [[nodiscard]] bool may_show_others(const protocol::sql::Verdict& verdict) const {
    return server_.shows_others() && may_look(verdict);
  }
  [[nodiscard]] bool may_look(const protocol::sql::Verdict& verdict) const;
  [[nodiscard]] bool may_look_at_sequences(const protocol::sql::Verdict& verdict) const;
  [[nodiscard, gnu::noinline, gnu::cold]] std::optional<Taken> hide_others(const protocol::Frame& frame,
                                                                           const protocol::sql::Verdict& verdict,
                                                                           std::string_view text);
  [[nodiscard, gnu::noinline, gnu::cold]] bool look_waits(const protocol::Frame& frame) const;
  [[nodiscard]] bool fails_anyway(const protocol::sql::Verdict& verdict) const;
  [[nodiscard]] std::optional<Taken> forget_sequences(const protocol::Frame& frame,
                                                      const protocol::sql::Verdict& verdict);
  void forget_sequences_in_batch();
  Taken refuse(const protocol::Frame& frame, protocol::Tell why);
  void begin_unit(char tag);
  void limit_time();
  [[nodiscard]] Taken judge(const protocol::Frame& frame);
  Taken query(const protocol::Frame& frame, bool alone);
  [[nodiscard]] bool deallocate(const protocol::Frame& frame, const protocol::sql::Verdict& verdict);
  [[gnu::noinline]] Taken statement(const protocol::Frame& frame);
  void bound(const protocol::Frame& frame, const protocol::StatementMessage& understood);
  Taken fail(const protocol::Frame& frame, std::uint32_t cookie, Error error);
  [[nodiscard]] bool refused_in_failed_block(const protocol::Frame& frame,
                                             const protocol::StatementMessage& understood) const;
  [[gnu::cold]] Taken malformed_flush(const protocol::Frame& frame);
  [[gnu::cold]] Taken malformed_sync(const protocol::Frame& frame);
  [[nodiscard]] bool reads_copy() const;
  Taken fail_here(const protocol::Frame& frame);
  void plain(const protocol::Frame& frame, protocol::Trait traits);
  protocol::StatementPlan send_ahead(const protocol::StatementMessage& understood, const protocol::Frame& frame);
  protocol::Exchange::Fate announce(const protocol::Request& request);
  void announce_run(protocol::Request request);
  Taken wait_for_names();
  void settle_skipped(std::uint32_t cookie);
  // `text`: null if it isn't known.
  void note_effects(const protocol::sql::Verdict& verdict, const std::string_view* text = nullptr);
  [[gnu::noinline, gnu::cold]] void note_more_effects(protocol::sql::Verdict verdict, const std::string_view* text);
  // What the text doesn't show: where views, operators and the like may run code that writes, a read on the primary is
  // a write. A standby can't write.
  void judge_as_it_runs(protocol::sql::Verdict& verdict) const {
    if (hides_a_write(verdict)) verdict.access = protocol::sql::Access::write;
  }
  [[nodiscard]] bool hides_a_write(const protocol::sql::Verdict& verdict) const {
    return verdict.access == protocol::sql::Access::read && role_ == Role::primary && reads_may_write();
  }
  [[nodiscard]] bool reads_may_write() const;
  enum class Behind : std::uint8_t { query, sync };
  [[gnu::cold]] void inject_restore(Behind unit);
  [[gnu::cold]] void restored();
  [[gnu::noinline, gnu::cold]] void restore_skipped();
  void local_answers_due();

  // server → client
  [[nodiscard]] bool answered(const protocol::Frame& frame);
  void tell_difference();
  [[nodiscard, gnu::cold]] bool error(const protocol::Frame& frame, const protocol::Reply& reply);
  [[gnu::cold]] void notice(const protocol::Frame& frame);
  [[gnu::noinline, gnu::cold]] void note_flush(char tag);
  [[nodiscard, gnu::noinline, gnu::cold]] bool tell_own_name(const protocol::Frame& frame,
                                                             const protocol::ErrorFields& fields, char answers);
  [[nodiscard, gnu::noinline, gnu::cold]] bool tell_terminated(const protocol::Frame& frame,
                                                               const protocol::ErrorFields& fields);
  [[gnu::cold]] void note_completed(const protocol::Frame& frame);
  [[gnu::cold]] void replace(std::uint32_t cookie);
  void local(const protocol::Request& request);
  void settle(const protocol::Reply& reply);
  void unit_answered();
  void may_write();
  void note_written();
  void take_back_refused();
  [[gnu::always_inline]] void pass(const protocol::Frame& frame, bool to_client) {
    forwarding_ = to_client && !unreplicated_.hides(frame.tag);
    if (forwarding_) client_.desk.to_client.forward(frame.bytes);
  }

  const ClientFacts& client_;
  protocol::ServerSession& server_;
  protocol::Replay replay_;
  protocol::PendingErrors pending_errors_;
  Pins pins_;
  protocol::Unreplicated unreplicated_;
  UnitInFlight unit_;
  WriteInFlight writing_;  // while unit_.writes, and until that was noted
  Aftermath aftermath_;
  std::vector<protocol::Request> postponed_;  // local answers that are due behind the server's message that is passing
  protocol::Replay::Repeatable may_repeat_ = protocol::Replay::Repeatable::no;
  Role role_ = Role::primary;
  Goodbye goodbye_ = Goodbye::none;
  std::size_t flushed_ = 0;  // of the bytes on the desk, behind a Terminate
  bool dropping_ = false;    // the rest of the client's current message
  bool forwarding_ = false;  // the server's current message, to the client
  bool told_ = false;        // parameters were told in this pass
  protocol::Resets resets_;
  // What restores the settings that the client brought.
  struct Restore {
    std::uint32_t unit = 0;   // the cookie of the request whose ReadyForQuery waits
    std::uint32_t query = 0;  // the cookie of what restores; 0: none is in flight
    char ready = 0;           // the status of that ReadyForQuery once it has come
  };
  Restore restore_;
  // What hides sequence values of others from the client (strangers.cpp).
  struct Forgetting {
    std::uint32_t cookie = 0;  // of the DISCARD SEQUENCES in flight; 0: none
    bool in_batch = false;     // it is in the batch that is open
    bool awaited = false;      // the message at the front waits for it, or for what it has led to
    bool failed = false;       // the one before
  };
  Forgetting forgetting_;
  // Requests in flight, by their cookies, the last of each kind; 0: none.
  std::uint32_t dropping_names_ = 0;  // may take statement names along
  std::uint32_t copying_ = 0;         // may be a COPY FROM STDIN, whose end was not sent
  bool flushes_drop_ = false;         // nothing has asked for the answer of dropping_names_ yet
  bool path_in_doubt_ = false;        // the search_path may be another than at the start
};

}  // namespace holdfast::proxy
