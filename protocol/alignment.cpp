#include "protocol/alignment.hpp"

#include "protocol/frontend.hpp"

namespace holdfast::protocol {

Alignment::State Alignment::begin(std::vector<std::byte>& out) {
  auto sql = change_settings(server_.settings, wanted_);
  if (sequences_ == Sequences::forget) sql += sql.empty() ? "DISCARD SEQUENCES" : "; DISCARD SEQUENCES";
  if (sql.empty()) {
    server_.settings = wanted_;
    return state_ = State::aligned;
  }
  for (const auto& parameter : wanted_.parameters()) {
    if (parameter.name.find('.') != std::string::npos) server_.makes_placeholder(parameter.name);
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
  if (sequences_ == Sequences::forget) server_.forgot_sequences();
  return state_ = State::aligned;
}

}  // namespace holdfast::protocol
