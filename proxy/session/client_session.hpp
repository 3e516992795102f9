// One client, from its socket to its end: what it is linked to, what it waits for, and where its units go.
//
// Task: log-in (client_login), then unit after unit: route it, wait for a server, have the client's settings put on the
// server (aligner), and converse with it until the unit or the transaction has ended. Each of these is an object that
// lives as long as what it represents. Owner: the worker's Sessions. Thread: the worker's. Lifetime: run().
//
//   log_in ─> serving ───────────────────────────────────────────────────────> leaving, parting
//               unlinked ──unit──> routing_ ─> wait_ ─> granted_ ─> aligner_ ─> linked_
//                  ^  ^                                                            │ unlink(why)
//                  │  └──────────── answered, 'I', no pin ─────────────────────────┤
//                  └── its end ── block_ is lost <── server lost ──────────────────┘
//
// Two coroutines run here, both on its worker: its own (serve: client → server) and, while linked, the server's reader
// (answers: server → client). Neither is spawned, timed or allocated per query.
// Files: client_session (life, the loop), routing (routing, what needs no server), linked (link to unlink), parting
// (what ends a session or a unit from outside).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "protocol/block.hpp"
#include "protocol/client_errors.hpp"
#include "protocol/repeats.hpp"
#include "proxy/base/log.hpp"
#include "proxy/io/link.hpp"
#include "proxy/pool/waiter.hpp"
#include "proxy/route/router.hpp"
#include "proxy/session/accepted.hpp"
#include "proxy/session/aligner.hpp"
#include "proxy/session/client_login.hpp"
#include "proxy/session/clock.hpp"
#include "proxy/session/context.hpp"
#include "proxy/session/conversation.hpp"
#include "proxy/session/front_text.hpp"
#include "proxy/session/intake.hpp"
#include "proxy/session/signal.hpp"

namespace holdfast::proxy {

class ClientSession final : private ServerUser {
 public:
  ClientSession(SessionContext& context, std::uint64_t id, const Accepted& accepted);
  ClientSession(const ClientSession&) = delete;
  ClientSession& operator=(const ClientSession&) = delete;

  // Serves the client to its end; then the session may be destroyed.
  Task<> run(int fd);

  // A CancelRequest with this client's key came.
  void cancel();
  // The process ends: ends the session at once, or when its transaction has ended.
  void shut_down(bool at_once);
  // Applies a reloaded configuration.
  void reconfigure();
  // Memory is short, and this client has much of it: its message is refused, or it is disconnected.
  void shed();
  // What shed() would free: a message that waits, or isn't there as a whole.
  [[nodiscard]] std::size_t sheddable() const;
  [[nodiscard]] TimePoint last_received() const { return intake_.last(); }

 private:
  enum class Phase : std::uint8_t {
    log_in,
    serving,
    leaving,  // the process ends: the session does with its transaction
    last_answers,  // Terminate has come: what the client sent before it is answered
    parting,       // … and the client has gone: it is finished, and nothing more is said
  };
  enum class Step : std::uint8_t {
    go_on,          // something was processed
    take_message,   // the message at the front may be taken
    need_input,     // more bytes from the client
    need_server,    // of the member in routing_
    need_marks,     // a replica that is fresh enough
    need_pause,     // before the unit goes out again
    need_settings,  // granted_ has other settings than the client
    need_verdict,   // of the statement at the front, which another thread judges (front_)
    wait_progress,  // for answers to what is in flight
    next_turn,      // the budget for this turn is spent
    leave,
  };
  // What became of a unit so far.
  struct Attempts {
    protocol::Repeats repeats;
    health::MemberIndex lost_on = 0;  // the member that repeats.lost_at() is about
  };
  // The unit at the front, while it is on its way to a server.
  struct Routing {
    Unit unit;
    health::MemberIndex member = 0;  // the one that it waits for, if it is a read
    Waiter::Kind kind = Waiter::Kind::write;
    std::optional<TimePoint> marks_until;
    bool has_waited = false;         // long enough for a fresher replica
    bool looks_for_replica = false;  // … and goes on looking for one while it waits for the primary
    bool force_primary = false;      // a standby refused it
    bool forgets_sequences = false;  // the granted server shows sequence values of others
    Attempts attempts;
  };
  struct Linked {
    ServerLease lease;
    Conversation conversation;
    Attempts attempts;  // of the first unit
    Linked(ServerLease server, const ClientFacts& facts)
        : lease(std::move(server)), conversation(facts, lease->session) {}
  };
  enum class Why : std::uint8_t {
    finished,    // nothing is in flight, nothing pins; or a standby refused the unit, which runs again
    taken_back,  // not one byte of the unit was sent: it is at the front again
    lost,        // the server's connection has ended
    abandoned,   // the client leaves, or must not keep this server: answers in flight are discarded
  };

  // client_session.cpp
  Task<> serve();
  [[nodiscard]] bool wants_input();
  void receive();
  [[nodiscard]] bool begin_wait(Step step);
  void end_wait(Waiter::Outcome outcome);
  Task<> align();
  [[nodiscard]] bool goes_to_primary_instead();
  Step read_elsewhere();
  void consume(std::size_t count);
  Step pass();
  Step process();
  Step between_units();
  void note_vintage();
  Step take(const protocol::Frame& frame);
  Step answer_lost();
  Step part();

  // routing.cpp
  Step get_server();
  Step begin_unit();
  Step answer_alone();
  Step route();
  Step repeat();
  [[nodiscard]] Route choose() const;
  void want_marks(const Route& route);
  static bool replica_is_fresh(void* self);
  [[nodiscard]] bool read_only_by_default() const;
  [[nodiscard]] bool begins_for_good() const;
  Step grant(health::MemberIndex member, Waiter::Kind kind);
  Step leave_replica();
  [[nodiscard]] bool block_on_replica() const;
  Step move_block();
  [[nodiscard]] bool guessed_pin_on_replica() const;
  void refuse_unit(const Error& error);

  // strangers.cpp
  [[nodiscard, gnu::noinline, gnu::cold]] bool sees_others_sequences();
  [[nodiscard, gnu::noinline, gnu::cold]] bool sees_others_placeholders();
  [[nodiscard]] bool begins_block() const;
  [[nodiscard]] std::string_view text_at_front();
  [[nodiscard]] protocol::sql::CustomNames custom_settings_first();
  [[nodiscard]] bool asks_for_settings_of_others();

  // linked.cpp
  void link();
  void unlink(Why why);
  void note_attempt(ServerLink& server, protocol::Replay::State before);
  bool unlink_if_done();
  bool flush_to_server();
  void flush_to_client();
  [[gnu::noinline, gnu::cold]] void flush_last_answers();
  Pass answers(ServerLink& server) override;
  void server_lost(ServerLink& server) override;
  bool from_server(ServerLink& server, const protocol::Frame& frame);
  void pass_on(const protocol::LastWord& word);
  void tell_loss(const protocol::Loss& loss, const Error& error);
  void settle_aftermath() {
    if (linked_ && linked_->conversation.has_aftermath()) carry_out_aftermath();
  }
  void carry_out_aftermath();
  void note_write(bool shared);
  [[nodiscard]] Conversation::Role role() const;
  [[nodiscard]] protocol::LostTransaction::Message message() const;

  // parting.cpp
  void disconnect(protocol::Tell what, protocol::Arguments arguments = {});
  void disconnect(const Error& error);
  void hang_up();
  void give_up_broken();
  bool watch_for_hangup();
  [[nodiscard]] bool gone();
  [[nodiscard]] bool waits_to_read() const;
  [[nodiscard]] bool muted() const { return phase_ == Phase::parting; }
  void wake();
  void arm_idle_clock() {
    if (!needs_no_clock()) time_silence();
  }
  // Between messages, and either it is the server's turn or nothing limits how long the client may be idle.
  [[nodiscard]] bool needs_no_clock() const {
    if (clock_.runs() || !framer_.at_boundary() || !link_.received().empty()) return false;
    if (linked_) return !linked_->lease->session.exchange.idle();
    return !block_.in_transaction() && settings().client_idle_timeout.count() == 0;
  }
  void time_silence();
  [[nodiscard]] bool arm_message_clock();
  static void on_hangup(void* self);
  static void on_deadline(void* self);

  [[nodiscard]] const config::EffectiveSettings& settings() const { return *logged_in_.identity.settings; }
  [[nodiscard]] Pool& pool() const { return *logged_in_.identity.pool; }
  void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) const;

  SessionContext& context_;
  LogName name_;
  Counted counted_;
  Link link_;
  protocol::Framer framer_;
  Phase phase_ = Phase::log_in;
  ClientClock clock_;
  Signal progress_;  // the server answered, or was unlinked
  Budget budget_;
  std::size_t wanted_bytes_ = 0;
  std::size_t listener_;

  LoggedIn logged_in_;
  protocol::ClientStatements statements_;
  protocol::Block block_;
  const ClientFacts facts_;
  SeenByClient seen_;

  Intake intake_;
  FrontText front_;
  bool blocked_ = false;       // one of the sockets takes no more
  bool carried_over_ = false;  // this pass is one that asked for another turn

  std::unique_ptr<ClientLogin> login_;  // by pointer, as aligner_: an idle client has no room for it
  std::optional<Routing> routing_;
  std::optional<Waiter> wait_;
  ServerLease granted_;
  std::unique_ptr<Aligner> aligner_;
  std::optional<Linked> linked_;
  std::vector<std::byte> unflushed_;  // answers behind a Terminate that PostgreSQL would not have sent yet
};

}  // namespace holdfast::proxy
