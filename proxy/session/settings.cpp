// A client's start-up settings on whatever server it is linked to, and what it is told of the server's own.
#include <utility>

#include "protocol/backend.hpp"
#include "protocol/frontend.hpp"
#include "protocol/sql/reset.hpp"
#include "proxy/session/answers.hpp"
#include "proxy/session/client_session.hpp"
#include "proxy/worker.hpp"

namespace holdfast::proxy {

namespace client = protocol::client;
using protocol::Frame;
using protocol::Origin;
using protocol::sql::Access;
using protocol::sql::Effect;
using protocol::sql::TransactionControl;

// Brings the server's session settings to the client's, before anything of the client's runs on it. Costs a round trip,
// only when the server served somebody with other settings before: sent along with the query, a failure would come too
// late.
Task<bool> ClientSession::apply_settings() {
  ServerLink& server = *server_;
  const auto sql = protocol::change_settings(server.settings, wanted_);
  if (sql.empty()) {
    server.settings = wanted_;
    if (logged_in_) tell_reported();
    co_return true;
  }
  server.setting_up = true;
  cancel_asked_ = false;
  server.setup_error.reset();
  server.statements.drop_unnamed();
  server.exchange.sent({.tag = client::query, .origin = Origin::proxy});
  std::vector<std::byte> out;
  protocol::write_query(out, sql);
  server.sent_at = worker_.reactor.now();
  server.link.send(out);
  while (server_ == &server && !server.exchange.idle() && link_.open()) {
    Progress progress{*this};
    co_await progress;
  }
  if (server_ != &server) co_return false;  // lost: server_lost() has seen to the client
  if (!server.exchange.idle()) {
    abandon_server();  // the client is gone, and nobody knows which settings the server has
    co_return false;
  }
  server.setting_up = false;
  if (auto error = std::exchange(server.setup_error, std::nullopt)) {
    abandon_server();
    if (logged_in_) {
      refuse_unit(*error);
    } else {
      refuse(*error);
    }
    co_return false;
  }
  server.settings = wanted_;
  if (logged_in_) tell_reported();
  if (std::exchange(cancel_asked_, false) && logged_in_) {
    abandon_server();
    refuse_unit({sqlstate::query_canceled, "canceling statement due to user request"});
    co_return false;
  }
  co_return true;
}

// Tells the client what this server reports otherwise than the last one did. Nothing is in flight.
void ClientSession::tell_reported() {
  if (told_ == server_->reported) return;
  std::vector<std::byte> out;
  protocol::difference(
      told_, server_->reported, protocol::RoleReports::keep,
      [&out](std::string_view name, std::string_view value) { protocol::write_parameter_status(out, name, value); });
  told_ = server_->reported;
  if (!out.empty()) link_.send(out);
}

// A client's RESET ends at what it asked for at its start, not at the server's default.
void ClientSession::note_reset(std::string_view sql) {
  if (wanted_.empty()) return;
  const auto name = protocol::sql::reset_setting(sql);
  if (!name.empty()) restore_ = protocol::restore_settings(wanted_, name);
}

// Behind the unit with the RESET, in the same write; a ROLLBACK undoes both.
void ClientSession::inject_restore() {
  if (restore_.empty()) return;
  server_->statements.drop_unnamed();
  announce({.tag = client::query, .origin = Origin::proxy});
  protocol::write_query(worker_.composer.writable(), restore_);
  restore_.clear();
}

}  // namespace holdfast::proxy
