#include "protocol/alignment.hpp"

#include "protocol/frontend.hpp"

namespace holdfast::protocol {

Alignment::State Alignment::begin(std::vector<std::byte>& out) {
  const auto sql = change_settings(server_.settings, wanted_);
  if (sql.empty()) {
    server_.settings = wanted_;
    return state_ = State::aligned;
  }
  server_.statements.drop_unnamed();
  server_.exchange.sent({.tag = client::query, .origin = Origin::proxy});
  write_query(out, sql);
  return state_;
}

Alignment::State Alignment::answered() {
  if (state_ != State::asking || !server_.exchange.idle()) return state_;
  if (error_) return state_ = State::refused;
  server_.settings = wanted_;
  return state_ = State::aligned;
}

}  // namespace holdfast::protocol
