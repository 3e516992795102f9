#include "proxy/session/answers.hpp"

#include <utility>

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"
#include "proxy/pool/canceller.hpp"
#include "proxy/session/client_session.hpp"
#include "proxy/session/local_replies.hpp"
#include "proxy/worker.hpp"

namespace holdfast::proxy {

namespace tag = protocol::server;
using protocol::Frame;
using protocol::Origin;
using protocol::Outcome;
using protocol::Reply;
using protocol::sql::Effect;

// One pass over received answers: composes what the client gets, for one send. Knows both sides of the link.
class AnswerPass {
 public:
  AnswerPass(ServerLink& server, Worker& worker) : server_(server), worker_(worker), client_(server.client) {}

  // False: the server broke the protocol, or is going down; close it.
  bool run() {
    worker_.composer.clear();
    for (;;) {
      const Frame frame = server_.framer.next(server_.link.received());
      switch (frame.kind) {
        case Frame::Kind::need_more: wanted = frame.wanted; return true;
        case Frame::Kind::error: return false;
        case Frame::Kind::more:
          if (forwarding) worker_.composer.forward(frame.bytes);
          break;
        case Frame::Kind::start:
          if (!message(frame)) return false;
          break;
      }
      server_.link.consume(frame.bytes.size());
    }
  }

  std::size_t wanted = 0;
  bool forwarding = false;  // the message whose body is streaming in goes to the client

 private:
  [[nodiscard]] health::MemberIndex member() const { return server_.home->member; }
  void report(health::Evidence evidence) { worker_.report(server_.home->pool.key.cluster, member(), evidence); }

  bool message(const Frame& frame) {
    switch (frame.tag) {
      case tag::parameter_status: return parameter_status(frame);
      case tag::notice_response: return notice(frame);
      case tag::notification_response: pass(frame, client_ != nullptr); return true;
      default: break;
    }
    if (frame.tag == tag::error_response && client_ != nullptr &&
        client_->begin_.owns(server_.exchange.oldest().cookie)) {
      const auto fields = protocol::parse_error(frame.body());
      if (fields && !fields->ends_session()) {
        client_->begin_refused({fields->state, std::string(fields->message)});
        return false;
      }
    }
    const Reply reply = server_.exchange.received(frame.tag, frame.body());
    for (const auto& request : server_.exchange.before()) local(request);
    switch (reply.action) {
      case Reply::Action::forward:
        if (frame.tag == tag::error_response && !error(frame, reply)) return false;
        if (frame.tag == tag::command_complete && client_ != nullptr && client_->unit_discards_) {
          if (const auto said = protocol::parse_command_complete(frame.body())) client_->command_completed(*said);
        }
        if (frame.tag != tag::error_response) pass(frame, client_ != nullptr && !client_->swallowing_unit_);
        break;
      case Reply::Action::swallow:
        if (frame.tag == tag::error_response && server_.setting_up) keep_setup_error(frame);
        pass(frame, false);
        break;
      case Reply::Action::replace: replace(reply.request.cookie); break;
      case Reply::Action::async: pass(frame, client_ != nullptr); break;
      case Reply::Action::fatal: fatal(frame); return false;
      case Reply::Action::unexpected: return false;
    }
    if (reply.finished || reply.failed) settle(reply);
    for (const auto& request : server_.exchange.after()) local(request);
    if (frame.tag == tag::ready_for_query) server_.cancel_next = true;
    if (frame.tag == tag::ready_for_query && reply.request.origin == Origin::client && client_ != nullptr) {
      client_->unit_answered(server_.exchange.transaction_status());
    }
    return true;
  }

  void pass(const Frame& frame, bool to_client) {
    forwarding = to_client;
    if (!to_client) return;
    worker_.composer.forward(frame.bytes);
  }

  void local(const protocol::Request& request) {
    if (client_ == nullptr) return;
    client_->unit_delivered_ = true;
    append_local_reply(worker_.composer.writable(), request, client_->statements_, server_.statements);
  }

  void settle(const Reply& reply) {
    const auto settle_one = [this](std::uint32_t cookie, Outcome outcome) {
      if (cookie == 0) return;
      if (client_ != nullptr) client_->statements_.settle(cookie, outcome);
      server_.statements.settle(cookie, outcome);
    };
    settle_one(reply.request.cookie, reply.failed ? Outcome::failed : Outcome::completed);
    if (!reply.failed) return;
    for (const auto& dropped : server_.exchange.dropped()) settle_one(dropped.cookie, Outcome::skipped);
  }

  bool parameter_status(const Frame& frame) {
    const auto status = protocol::parse_parameter_status(frame.body());
    if (!status) return false;
    if (status->name == "in_hot_standby") report(health::Evidence::role_changed);
    auto reported = worker_.reported.with(server_.reported, status->name, status->value);
    if (!reported) return false;
    server_.reported = std::move(*reported);
    forwarding = false;
    if (client_ != nullptr && client_->logged_in_ && !server_.setting_up) tell_reported();
    return true;
  }

  // Tells the client what it does not know yet of the parameters that its server reports.
  void tell_reported() {
    if (client_->told_ == server_.reported) return;
    protocol::difference(client_->told_, server_.reported, protocol::RoleReports::keep,
                         [this](std::string_view name, std::string_view value) {
                           protocol::write_parameter_status(worker_.composer.writable(), name, value);
                         });
    client_->told_ = server_.reported;
    told_ = true;
  }

  bool notice(const Frame& frame) {
    if (frame.last) {
      if (const auto fields = protocol::parse_error(frame.body())) {
        // An immediate shutdown and a crash are told by a notice, not an error.
        if (fields->state == sqlstate::admin_shutdown || fields->state == sqlstate::crash_shutdown) {
          report(fields->state == sqlstate::admin_shutdown ? health::Evidence::admin_shutdown
                                                           : health::Evidence::crash_shutdown);
          forwarding = false;
          return true;
        }
      }
    }
    const bool ours = server_.setting_up || client_ == nullptr || client_->swallowing_unit_;
    forwarding = !ours;
    if (forwarding) worker_.composer.forward(frame.bytes);
    return true;
  }

  // An ErrorResponse to something of the client's. False: the server must be closed.
  bool error(const Frame& frame, const Reply& reply) {
    const auto fields = protocol::parse_error(frame.body());
    if (!fields) return false;
    if (client_ == nullptr) {
      forwarding = false;
      return true;
    }
    if (fields->state == sqlstate::read_only_sql_transaction && on_primary()) report(health::Evidence::read_only);
    if (may_go_elsewhere(*fields)) {
      worker_.composer.clear();  // RowDescription and the like, not sent yet
      client_->swallowing_unit_ = true;
      const bool conflict = fields->state == sqlstate::serialization_failure || fields->state == SqlState{"40P01"};
      if (!conflict) client_->learn_needs_primary();
      forwarding = false;
      return true;
    }
    // "cached plan must not change result type": the client will prepare the same text again.
    const bool of_plan = reply.request.tag == protocol::client::bind ||
                         reply.request.tag == protocol::client::execute ||
                         reply.request.tag == protocol::client::describe;
    if (of_plan && fields->state == sqlstate::feature_not_supported) worker_.plans_changed();
    pass(frame, true);
    return true;
  }

  [[nodiscard]] bool on_primary() const { return server_.home->pool.topology().primary == member(); }

  // A standby refused what looked like a read, or had to cancel it for replay: nothing of it took effect, and nothing
  // of its answer was passed on, so that it can run again, on the primary.
  [[nodiscard]] bool may_go_elsewhere(const protocol::ErrorFields& fields) const {
    if (on_primary() || !client_->replay_valid_ || client_->unit_delivered_) return false;
    if (client_->begin_.sent()) return false;  // the block is on this standby
    // Its Sync has not come: the client may wait for this very answer before it sends one.
    if (server_.exchange.skipping()) return false;
    // What the client's names stand for has changed already, or something else of this pass is for it.
    if (told_ || (client_->unit_names_ && !worker_.composer.empty())) return false;
    if (server_.exchange.transaction_status() != 'I' || client_->settings_->route == config::Route::replica)
      return false;
    return fields.state == sqlstate::read_only_sql_transaction || fields.state == sqlstate::feature_not_supported ||
           fields.state == sqlstate::object_not_in_prerequisite_state ||
           fields.state == sqlstate::serialization_failure || fields.state == SqlState{"40P01"};
  }

  void keep_setup_error(const Frame& frame) {
    if (const auto fields = protocol::parse_error(frame.body())) {
      server_.setup_error = Error{fields->state, std::string(fields->message)};
    } else {
      server_.setup_error = fields.error();
    }
  }

  void replace(std::uint32_t cookie) {
    forwarding = false;
    if (client_ == nullptr) return;
    auto& doomed = client_->doomed_;
    for (auto it = doomed.begin(); it != doomed.end(); ++it) {
      if (it->first != cookie) continue;
      protocol::write_error(worker_.composer.writable(), {.state = it->second.state, .message = it->second.message});
      doomed.erase(it);
      return;
    }
  }

  void fatal(const Frame& frame) {
    const auto fields = protocol::parse_error(frame.body());
    if (!fields) return;
    if (fields->state == sqlstate::admin_shutdown) report(health::Evidence::admin_shutdown);
    if (fields->state == sqlstate::crash_shutdown) report(health::Evidence::crash_shutdown);
    if (fields->state == sqlstate::cannot_connect_now) report(health::Evidence::cannot_connect_now);
  }

  ServerLink& server_;
  Worker& worker_;
  ClientSession* client_;
  bool told_ = false;  // parameters were composed in this pass
};

void settle_down(ServerLink& server) {
  auto& exchange = server.exchange;
  auto& pool = *server.home;
  if (!server.link.open()) return;
  if (server.state == ServerState::active) server.state = ServerState::draining;
  if (exchange.broken() || has(server.dirt, Effect::load)) {
    server.link.close();
    return;
  }
  std::vector<std::byte> out;
  const auto run = [&](std::string_view sql) {
    server.statements.drop_unnamed();  // as any simple Query does
    exchange.sent({.tag = protocol::client::query, .origin = Origin::proxy});
    protocol::write_query(out, sql);
  };
  if (exchange.copy() == protocol::Copy::in || exchange.copy() == protocol::Copy::both) {
    exchange.sent({.tag = protocol::client::copy_fail, .origin = Origin::proxy});
    protocol::write_copy_fail(out, "the client is gone");
  }
  if (exchange.open_batch()) {
    // A Sync alone would commit what the client never asked to commit: the batch has to fail first.
    constexpr std::string_view nothing = "hf_gone";
    exchange.sent({.tag = protocol::client::bind, .origin = Origin::failing});
    protocol::write_bind(out, "", nothing);
    exchange.sent({.tag = protocol::client::sync, .origin = Origin::proxy});
    protocol::write_sync(out);
  } else if (exchange.idle()) {
    if (server.cancels > 0) return;  // a late cancellation would hit what comes next
    if (server.state == ServerState::cleaning) {
      // What was sent for cleaning is answered.
      if (std::exchange(server.setup_error, std::nullopt)) {
        server.link.close();
        return;
      }
      if (exchange.transaction_status() == 'I') {
        server.state = ServerState::draining;
        if (std::exchange(server.setting_up, false)) {
          server.statements.clear();
          server.settings = {};
          server.dirt = Effect::none;
          pool.pool.worker.counters.servers_cleaned.add();
        }
      }
    }
    if (exchange.transaction_status() != 'I') {
      server.state = ServerState::cleaning;
      run("ROLLBACK");
    } else if (server.dirt != Effect::none) {
      server.state = ServerState::cleaning;
      server.setting_up = true;
      server.statements.doubt_all();
      run("DISCARD ALL");
    } else {
      if (exchange.doubtful()) {
        server.link.close();
      } else {
        pool.release(server);
      }
      return;
    }
  } else if (server.state == ServerState::draining && server.cancels == 0 && server.cancel_next) {
    // A cancellation ended the last unit; the client had sent more behind it.
    cancel_query(server);
  }
  if (!out.empty()) {
    server.sent_at = pool.pool.worker.reactor.now();
    server.link.send(out);
    if (server.link.unsent()) server.link.close();  // it takes nothing any more, and nobody would send the rest
  }
}

Task<> serve_answers(std::unique_ptr<ServerLink> owned) {
  ServerLink& server = *owned;
  Worker& worker = server.home->pool.worker;
  bool forwarding = false;
  std::size_t wanted = 0;
  while (server.link.open()) {
    if (!server.link.may_receive()) co_await server.link.watch().readable();
    if (!server.link.open()) break;
    const Io got = server.link.receive(wanted);
    if (got == Io::would_block) continue;
    if (got == Io::closed) {
      if (server.state != ServerState::closed) {
        worker.report(server.home->pool.key.cluster, server.home->member, health::Evidence::connection_lost);
      }
      break;
    }
    AnswerPass pass(server, worker);
    pass.forwarding = forwarding;
    const bool good = pass.run();
    forwarding = pass.forwarding;
    wanted = pass.wanted;
    ClientSession* client = server.client;
    auto& composer = worker.composer;
    const bool delivered = client != nullptr && !composer.empty();
    if (delivered) {
      worker.counters.bytes_to_clients.add(composer.bytes().size());
      client->unit_delivered_ = true;
      client->deliver(composer.bytes());
    }
    composer.clear();
    server.link.keep_rest();  // after the sending: this may free what the composer shows
    if (!good) break;
    if (client == nullptr) {
      settle_down(server);
    } else {
      client->server_idle(server);
    }
    if (delivered && server.client == client && client->backlog()) {
      // A client that reads slowly: no more is read for it until it has taken this. Others are served meanwhile,
      // because a server that is released never waits here.
      server.waits_for_client = true;
      co_await client->drain();
      server.waits_for_client = false;
    }
  }
  server.link.close();
  if (server.client != nullptr) {
    if (forwarding && !server.framer.at_boundary()) server.client->answer_cut();
    server.client->server_lost(server);
  }
  if (server.state != ServerState::closed) server.state = ServerState::closed;
  worker.counters.servers.subtract();
  worker.counters.servers_closed.add();
  server.home->gone(server);
  co_await server.link.quiet();
  struct LastCancel {
    ServerLink& server;
    [[nodiscard]] bool await_ready() const { return server.cancels == 0; }
    void await_suspend(std::coroutine_handle<> handle) const { server.farewell = handle; }
    void await_resume() const {}
  };
  LastCancel last_cancel{server};
  co_await last_cancel;
}

}  // namespace holdfast::proxy
