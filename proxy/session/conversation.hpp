// One client and one server, from the moment the client gets the server until it lets go of it: every message of the
// one is taken here for the other.
//
// Task: forwards, rewrites and answers what the client says (statement names, a BEGIN that was deferred, errors of the
// proxy's own in their place); passes on, swallows or replaces what the server says; knows whether the unit in flight
// may run again, why the client keeps the server, and whether it may let go. Puts its output on the desk: its driver
// sends it. Without sockets, clock or log. Thread: the worker's. Lifetime: of a lease; everything that a client loses
// with its server is a member here.
//
//   expect(unit) ─> from_client(frame)* ─> [driver sends] ─> from_server(frame)* ─> [driver sends] ─> may_end()?
//                                                └─ server_lost(), send_failed()
#pragma once

#include <cstdint>
#include <optional>
#include <utility>

#include "protocol/block.hpp"
#include "protocol/client_statements.hpp"
#include "protocol/framer.hpp"
#include "protocol/own_errors.hpp"
#include "protocol/replay.hpp"
#include "protocol/server_session.hpp"
#include "proxy/base/counters.hpp"
#include "proxy/route/unit.hpp"
#include "proxy/session/identity.hpp"
#include "proxy/session/pins.hpp"
#include "proxy/session/tables.hpp"

namespace holdfast::proxy {

// What of the client a conversation works on. It and all that it refers to outlive the conversation.
struct ClientFacts {
  const Identity& identity;
  protocol::ClientStatements& statements;
  protocol::Block& block;
  protocol::ReportedRef& told;  // what it knows of the reported parameters
  Tables& tables;
  Desk& desk;
  Counters& counters;
};

class Conversation {
 public:
  // What its member is at this moment. Said at the beginning of every pass.
  enum class Role : std::uint8_t { primary, replica };
  enum class Taken : std::uint8_t {
    taken,     // also: answered here
    wait,      // nothing was taken: for answers to what is in flight; then the same frame again
    too_many,  // messages without a Sync
    unknown,   // a message that has no place here
  };
  // What happened in a pass that is not this conversation's business alone.
  struct Aftermath {
    bool any = false;            // one of the following
    bool began = false;          // a unit of the client's began, and its time is limited
    bool wrote = false;          // one that was answered, or is lost, may have written
    bool schema_changed = false;
    bool plans_expired = false;  // the server refused a plan whose result type has changed
    std::uint32_t units = 0;     // of the client's that were answered
  };

  Conversation(const ClientFacts& client, protocol::ServerSession& server);
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;

  void runs_on(Role role) { role_ = role; }
  // The unit at the front was routed here.
  void expect(const Unit& unit);

  // ---- the client says
  // `framer`: the client's, which gave this frame. What is not forwarded whole is dropped (dropping()).
  [[nodiscard]] Taken from_client(const protocol::Frame& frame, const protocol::Framer& framer);
  // Further bytes of the message that from_client() took last.
  void more_from_client(const protocol::Frame& frame, const protocol::Framer& framer);
  // The desk's bytes for the server were sent; the client's own may move from here on.
  void sent() { replay_.sent(); }
  // There was nothing to send.
  void pass_ended() { replay_.pass_ended(); }
  // They were not, and none of them left: may the client's bytes be shown again?
  [[nodiscard]] bool may_take_back() const { return replay_.take_back(); }

  // ---- the server says; not ParameterStatus
  // False: the server must be closed.
  [[nodiscard]] bool from_server(const protocol::Frame& frame);
  void more_from_server(const protocol::Frame& frame);
  // Tells the client what it does not know yet of the parameters that its server reports.
  void tell_reported();
  // The pass's bytes for the client were sent.
  void delivered();

  // ---- the end
  // The client needs the server no more, as far as what was asked is answered and nothing pins.
  [[nodiscard]] bool may_end() const;
  // … if it were not for a pin, or session mode.
  [[nodiscard]] bool at_rest() const { return server_.at_rest() && !unit_.open; }
  // … and for the rest of a message that the server will ignore.
  [[nodiscard]] bool waits_for_rest() const {
    return server_.waits_for_rest() && server_.owed() > 0 && !unit_.open && !pinned();
  }
  // The server is gone: settles what was in flight. `cut`: half a message of the client's had been sent.
  [[nodiscard]] protocol::Loss server_lost(bool cut);
  // The names that messages in flight would have made or closed stay as they were; nothing of them ran.
  void take_back();

  [[nodiscard]] const protocol::Replay& replay() const { return replay_; }
  [[nodiscard]] const Pins& pins() const { return pins_; }
  [[nodiscard]] bool pinned() const { return pins_.any() || client_.identity.session_mode(); }
  // Its unit's Query or Sync has not been forwarded yet.
  [[nodiscard]] bool unit_open() const { return unit_.open; }
  // A message whose body is passing through to the client is unfinished: nothing else may be said to it.
  [[nodiscard]] bool in_answer() const { return forwarding_ && !server_.framer.at_boundary(); }
  // The rest of the client's message is not forwarded.
  [[nodiscard]] bool dropping() const { return dropping_; }
  [[nodiscard]] bool has_aftermath() const { return aftermath_.any; }
  [[nodiscard]] Aftermath take_aftermath() { return std::exchange(aftermath_, {}); }
  // The texts of the unit that a standby refused go to the primary from now on.
  void learn_needs_primary();

 private:
  struct UnitInFlight {
    bool open = false;
    bool writes = false;  // since the last ReadyForQuery something may have written
    bool names = false;   // it makes or closes named statements
    bool ddl = false;     // plans made before may be stale once it commits
    std::optional<protocol::sql::Verdict> judged;  // of its only Query, by the router
  };

  // client → server
  [[nodiscard]] bool must_wait() const;
  void begin_unit(char tag);
  Taken query(const protocol::Frame& frame, bool alone);
  [[nodiscard]] bool deallocate(const protocol::Frame& frame, const protocol::sql::Verdict& verdict);
  Taken statement(const protocol::Frame& frame);
  void bound(const protocol::Frame& frame, const protocol::StatementMessage& understood);
  Taken fail(const protocol::Frame& frame, const protocol::StatementMessage& understood);
  void plain(const protocol::Frame& frame, protocol::Trait traits);
  protocol::StatementPlan send_ahead(const protocol::StatementMessage& understood, const protocol::Frame& frame);
  protocol::Exchange::Fate announce(const protocol::Request& request);
  void settle_skipped(std::uint32_t cookie);
  void note_effects(const protocol::sql::Verdict& verdict);
  void inject_restore();
  void local_answers_due();

  // server → client
  [[nodiscard]] bool error(const protocol::Frame& frame, const protocol::Reply& reply);
  void note_completed(const protocol::Frame& frame);
  void replace(std::uint32_t cookie);
  void local(const protocol::Request& request);
  void settle(const protocol::Reply& reply);
  void unit_answered();
  void pass(const protocol::Frame& frame, bool to_client);

  const ClientFacts& client_;
  protocol::ServerSession& server_;
  protocol::Replay replay_;
  protocol::OwnErrors own_errors_;
  Pins pins_;
  UnitInFlight unit_;
  Aftermath aftermath_;
  protocol::Replay::Repeatable may_repeat_ = protocol::Replay::Repeatable::no;
  Role role_ = Role::primary;
  bool dropping_ = false;    // the client's message that is passing
  bool forwarding_ = false;  // the server's message that is passing
  bool told_ = false;        // parameters were told in this pass
};

}  // namespace holdfast::proxy
