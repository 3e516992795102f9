#include "proxy/pool/server_reader.hpp"

#include <utility>

#include "protocol/backend.hpp"
#include "protocol/invariant.hpp"
#include "protocol/message.hpp"
#include "proxy/pool/pool.hpp"

namespace holdfast::proxy {

namespace tag = protocol::server;
using protocol::Frame;
using protocol::Reply;

bool note_evidence(const PoolContext& context, ServerLink& server, const Frame& frame) {
  if (!frame.last) return false;
  const auto fields = protocol::parse_error(frame.body());
  if (!fields) return false;
  const bool by_primary = server.home->pool().topology().primary == server.home->member();
  const auto by = by_primary ? protocol::By::primary : protocol::By::standby;
  if (const auto ended = protocol::last_word(frame.tag, *fields, by)) {
    auto& word = server.last_word.emplace(protocol::LastWord{.state = fields->state, .ended = *ended});
    if (*ended != protocol::Ended::the_server) word.message.assign(frame.bytes.begin(), frame.bytes.end());
  }
  const auto report = [&](health::Evidence evidence) {
    context.report(server.home->pool().key().cluster, server.home->member(), evidence);
  };
  // An immediate shutdown and a crash of another backend are reported by a notice, not an error.
  const bool notice = frame.tag == tag::notice_response;
  if (notice || fields->ends_session()) {
    if (fields->state == sqlstate::admin_shutdown) {
      report(health::Evidence::admin_shutdown);
    } else if (fields->state == sqlstate::crash_shutdown) {
      report(health::Evidence::crash_shutdown);
    } else if (fields->state == sqlstate::cannot_connect_now && !notice) {
      report(health::Evidence::cannot_connect_now);
    } else {
      return false;
    }
    return notice;
  }
  if (fields->state == sqlstate::read_only_sql_transaction && by_primary) report(health::Evidence::read_only);
  return false;
}

bool note_parameter(const PoolContext& context, ServerLink& server, const Frame& frame) {
  const auto status = protocol::parse_parameter_status(frame.body());
  if (!status) return false;
  if (status->name == "in_hot_standby") {
    context.report(server.home->pool().key().cluster, server.home->member(), health::Evidence::role_changed);
  }
  auto reported = context.reported.with(server.session.reported, status->name, status->value);
  if (!reported) return false;
  server.session.reported = std::move(*reported);
  return true;
}

class ServerReader {
 public:
  ServerReader(PoolContext& context, ServerLink& server) : context_(context), server_(server) {}

  Task<> read() {
    Link& link = server_.link;
    std::size_t wanted = 0;
    Budget budget;
    while (link.open()) {
      if (!link.may_receive()) {
        co_await link.watch().readable();
        budget.renew();
      } else if (budget.spent()) {
        co_await context_.reactor.next_turn();
        budget.renew();
      }
      if (!link.open()) break;
      const auto before = link.received().size();
      const Io got = link.receive(wanted);
      if (got == Io::would_block) continue;
      if (got == Io::closed) {
        context_.report(server_.home->pool().key().cluster, server_.home->member(), health::Evidence::connection_lost);
        break;
      }
      budget.spend_bytes(link.received().size() - before);
      const InvariantWatch watch;
      const Pass pass = server_.user != nullptr ? server_.user->answers(server_) : unattended();
      link.keep_rest();  // after sending: this may free the bytes that were forwarded in place
      wanted = pass.wanted;
      if (!pass.good || watch.broken()) break;
      if (pass.behind != nullptr) {
        server_.reader_waits_ = true;
        co_await pass.behind->drain();
        server_.reader_waits_ = false;
      }
    }
    co_await end();
  }

 private:
  // For a server without a user: it is idle, being cleaned, or on its way to a client.
  Pass unattended() {
    const Pass pass = read_frames(
        server_, [this](const Frame& frame) { return message(frame); }, [](const Frame&) {});
    if (pass.good && server_.state_ == ServerLink::State::cleaning) server_.home->clean(server_);
    return pass;
  }

  bool message(const Frame& frame) {
    if (frame.tag == tag::parameter_status) return note_parameter(context_, server_, frame);
    if (frame.tag == tag::data_row && server_.cleaning_ && frame.last) server_.cleaning_->row(frame.body());
    if (frame.tag == tag::notice_response || frame.tag == tag::error_response) note_evidence(context_, server_, frame);
    const Reply reply = server_.session.exchange.received(frame.tag, frame.body());
    if (reply.action == Reply::Action::fatal || reply.action == Reply::Action::unexpected) return false;
    if (frame.tag == tag::error_response && reply.action == Reply::Action::swallow && server_.cleaning_) {
      server_.cleaning_->failed(frame.last ? frame.body() : protocol::Bytes());
    }
    server_.session.settle(reply, [](std::uint32_t, protocol::Outcome) {});
    if (frame.tag == tag::ready_for_query) server_.unit_ended();
    return true;
  }

  Task<> end() {
    server_.close();
    if (server_.user != nullptr && server_.last_word && server_.last_word->ended == protocol::Ended::either) {
      // Its user may leave meanwhile.
      auto question = server_.home->postmaster().ask();
      const auto answer = co_await question;
      const bool lives = answer == protocol::Postmaster::lives;
      server_.last_word->ended = lives ? protocol::Ended::the_session : protocol::Ended::the_server;
    }
    if (server_.user != nullptr) server_.user->server_lost(server_);
    if (!server_.handed_over_) context_.counters.servers_closed.add();
    server_.counted_ = {};
    server_.home->gone(server_);
    co_await server_.link.quiet();
    struct Farewell {
      ServerLink& server;
      [[nodiscard]] bool await_ready() const { return server.cancels_ == 0 && !server.leased_; }
      void await_suspend(std::coroutine_handle<> handle) const { server.farewell_ = handle; }
      void await_resume() const {}
    };
    Farewell farewell{server_};
    co_await farewell;
  }

  PoolContext& context_;
  ServerLink& server_;
};

Task<> read_server(PoolContext& context, std::unique_ptr<ServerLink> server) {
  ServerReader reader(context, *server);
  co_await reader.read();
}

void serve(PoolContext& context, std::unique_ptr<ServerLink> server) {
  ServerLink& fresh = *server;
  fresh.mark_connected(context.counters.servers);
  // Before its reader starts: if the connection has ended on its way, the reader destroys the link.
  fresh.home->ready(fresh);
  spawn(context.gate, read_server(context, std::move(server)));
}

}  // namespace holdfast::proxy
