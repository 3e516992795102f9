// One client: its connection, its names and settings, and the server that it is linked to while it needs one.
//
// Two coroutines touch it, both of its worker: its own (log-in, then requests: client → server) and, while linked, the
// one of its server (answers: server → client). Neither is spawned, timed or allocated per query.
//
//   login ──> unlinked ──unit──> waiting ──server given──> linked ──answered, status I, not pinned──> unlinked
//                ^                  │ held: no primary        │ server lost
//                └── lost block ended <── lost (LostTransaction answers in the server's place) <┘
//
// Files: login.cpp (start-up to ReadyForQuery), units.cpp (where each unit goes), requests.cpp (what the client says),
// answers.cpp (what servers say), settings.cpp (start-up settings on any server), failure.cpp (lost servers, refusals,
// cancellation), lost.cpp (the rest of a transaction whose server is lost).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/model.hpp"
#include "protocol/deferred_begin.hpp"
#include "protocol/lost_transaction.hpp"
#include "protocol/prepared.hpp"
#include "protocol/reported.hpp"
#include "protocol/startup.hpp"
#include "proxy/io/link.hpp"
#include "proxy/pool/pool.hpp"
#include "proxy/route/router.hpp"
#include "proxy/shared.hpp"

namespace holdfast::proxy {

class Worker;
struct Accepted;

class ClientSession {
 public:
  ClientSession(Worker& worker, std::uint64_t id, const Accepted& accepted);
  ~ClientSession();

  // The whole life; the session may be destroyed when it ends.
  Task<> run(int fd);

  // From pools, on this worker's thread.
  void server_given(ServerLink& server);
  void hold_began();
  void hold_ended();
  // From the server's coroutine.
  void server_lost(ServerLink& server);
  void answer_cut();  // before that: a message of its answer was passed on in part
  void server_idle(ServerLink& server);  // after each pass over its answers: may it go?
  void deliver(protocol::Bytes bytes);
  [[nodiscard]] bool backlog() const;
  [[nodiscard]] Task<bool> drain();
  // A CancelRequest with this client's key.
  void cancel();
  // The process ends: at once, or when the transaction does.
  void shut_down(bool at_once);
  // A reload.
  void refresh_settings();

  [[nodiscard]] std::uint64_t id() const { return id_; }
  [[nodiscard]] const std::string& peer() const { return peer_; }
  [[nodiscard]] bool pinned() const { return pins_ != protocol::sql::Effect::none; }

 private:
  friend class AnswerPass;
  friend Task<> serve_answers(std::unique_ptr<ServerLink> owned);
  enum class Step : std::uint8_t {
    go_on,          // something was dealt with
    need_input,     // more bytes of the client
    need_server,    // unit_ waits for a server: target_ says whose
    need_marks,     // … for a replica that is fresh enough, until marks_until_
    wait_progress,  // for answers to what is in flight
    leave,
  };

  // login.cpp
  Task<bool> log_in();
  Task<bool> start_up(protocol::Startup& startup);
  Task<bool> authenticate(const protocol::StartupMessage& message);
  Task<bool> choose_database(const protocol::StartupMessage& message);
  Task<bool> welcome();
  Task<Result<protocol::scram::Verifier>> derive_verifier(const std::string& password);
  [[nodiscard]] bool take_places();
  [[nodiscard]] bool write_welcome(const protocol::ReportedRef& reported);
  Task<bool> receive_some();
  void refuse(const Error& error, std::string_view detail = {}, std::string_view hint = {});

  // units.cpp
  Step begin_unit();
  Step answer_alone();
  bool answer_block();
  bool answer_parses();
  bool answer_deallocate();
  [[nodiscard]] std::optional<std::string> name_to_deallocate(const protocol::Frame& frame,
                                                              const protocol::sql::Verdict& verdict);
  void deallocate(const std::string& name, char status);
  [[nodiscard]] bool guessed_pin_on_replica() const;
  Step leave_replica();
  [[nodiscard]] bool read_only_by_default() const;
  [[nodiscard]] Route route_unit();
  [[nodiscard]] std::uint64_t scope() const;
  Step take_server(health::MemberIndex member, Waiter::Kind kind);
  void enqueue();

  // requests.cpp
  Task<> serve();
  Step process();
  Step forward(const protocol::Frame& frame);
  protocol::StatementPlan send_ahead(const protocol::StatementMessage& understood, const protocol::Frame& frame);
  Step forward_query(const protocol::Frame& frame, bool alone);
  Step forward_statement(const protocol::Frame& frame);
  void forward_plain(const protocol::Frame& frame, protocol::Trait traits);
  void announce(protocol::Request request);
  void send_begin();
  void settle_skipped(protocol::Exchange::Fate fate, std::uint32_t cookie);
  void note_effects(const protocol::sql::Verdict& verdict);
  void remember(const protocol::Frame& frame);
  void emit_due();
  bool flush_requests();
  void arm_idle_deadline();

  // settings.cpp
  Task<bool> apply_settings();
  void note_reset(std::string_view sql);
  void inject_restore();
  void tell_reported();

  // lost.cpp
  Step process_lost();

  // failure.cpp
  void refuse_unit(const Error& error);
  void tell_loss(const protocol::Loss& loss, const Error& error);
  void disconnect(const Error& error);
  void abandon_server();
  void begin_refused(const Error& error);
  void settle_wait(std::optional<Error> error);
  void hold_over();
  void replay();
  void learn_needs_primary();
  static void on_hangup(void* self);
  static void on_deadline(void* self);
  static void on_wait_deadline(void* self);

  void unit_answered(char status);
  void command_completed(std::string_view tag);
  void note_write();
  void wake();

  Worker& worker_;
  Link link_;
  protocol::Framer framer_;
  std::uint64_t id_;
  std::size_t listener_;
  std::string peer_;
  std::string user_;
  std::string database_;  // as the client calls it
  std::shared_ptr<const config::EffectiveSettings> settings_;
  protocol::sql::Classifier* classifier_ = nullptr;
  Pool* pool_ = nullptr;
  std::vector<std::shared_ptr<Places>> places_;
  std::optional<CancelKeys::Key> cancel_key_;
  Pool::Credentials credentials_;

  protocol::ClientStatements statements_;
  protocol::SettingsRef wanted_;         // from start-up
  std::optional<bool> read_only_asked_;  // default_transaction_read_only among them
  protocol::ReportedRef told_;           // what it knows of the reported parameters
  protocol::sql::Effect pins_ = protocol::sql::Effect::none;
  ServerLink* server_ = nullptr;
  Waiter waiter_;
  Unit unit_;  // the one that waits for a server
  SeenByClient seen_;
  Deadline deadline_;  // log-in, idle, idle in transaction, query: one at a time
  SqlState deadline_state_;
  std::coroutine_handle<> progress_;  // who waits for the server to answer or to be released
  struct Progress {
    ClientSession& session;
    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) const { session.progress_ = handle; }
    void await_resume() const {}
  };
  std::optional<protocol::LostTransaction> lost_;
  protocol::DeferredBegin begin_;
  std::optional<Error> begin_error_;  // the server refused the BEGIN: what the client is told of its block

  std::string restore_;  // puts start-up settings back behind a RESET in the unit that is being sent
  protocol::sql::TransactionControl bound_ = protocol::sql::TransactionControl::none;  // of the unnamed portal
  protocol::Trait bound_traits_ = protocol::Trait::none;
  std::optional<protocol::Trait> named_traits_;  // of all named portals of this transaction: any of them may be meant
  std::vector<std::pair<std::uint32_t, Error>> doomed_;  // errors of our own that wait for their turn
  std::vector<std::byte> replay_;  // the unit in flight as the client sent it, while it may have to be sent again
  bool replay_valid_ = false;
  bool replay_now_ = false;       // it is to be sent again
  bool force_primary_ = false;    // …to the primary: a standby refused it
  bool swallowing_unit_ = false;  // the rest of a refused unit's answers is dropped
  bool unit_writes_ = false;      // since the last ReadyForQuery something may have written
  bool unit_delivered_ = false;   // something of the unit's answer was passed on
  bool unit_open_ = false;        // its Query or Sync has not been forwarded yet
  bool unit_names_ = false;       // it makes or closes named statements
  bool unit_discards_ = false;    // its command tags say what is thrown away
  bool names_discarded_ = false;
  bool all_discarded_ = false;
  bool unit_ddl_ = false;    // plans made before may be stale once it commits
  bool unit_fresh_ = false;  // the unit began in this pass: unit_start_ still shows all of it
  protocol::Bytes unit_start_;
  bool dropping_body_ = false;  // the rest of a message that isn't forwarded
  bool logged_in_ = false;
  bool refused_ = false;  // told a FATAL error
  bool leaving_ = false;  // closed at the end of the transaction
  bool waited_for_marks_ = false;
  bool held_ = false;
  bool blind_ = false;         // its encoding hides what its statements say
  bool cancel_asked_ = false;  // while settings were on their way: nothing of the client's ran yet
  health::MemberIndex target_ = 0;
  bool target_primary_ = true;
  TimePoint marks_until_{};
  std::size_t wanted_bytes_ = 0;
};

}  // namespace holdfast::proxy
