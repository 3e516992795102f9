#include "protocol/last_word.hpp"

#include "protocol/framer.hpp"
#include "protocol/message.hpp"

namespace holdfast::protocol {

std::optional<Ended> last_word(char tag, const ErrorFields& fields, By by) {
  const SqlState& state = fields.state;
  if (tag == server::notice_response) {
    const bool ends = state == sqlstate::admin_shutdown || state == sqlstate::crash_shutdown;
    return ends ? std::optional(Ended::the_server) : std::nullopt;
  }
  if (!fields.ends_session()) return std::nullopt;
  if (fields.severity_nonlocal == "PANIC") return Ended::the_server;
  if (state == sqlstate::crash_shutdown || state == sqlstate::cannot_connect_now) return Ended::the_server;
  if (state == sqlstate::serialization_failure && by == By::standby) return Ended::the_server;
  return state == sqlstate::admin_shutdown ? Ended::either : Ended::the_session;
}

std::optional<Postmaster> postmaster_says(Bytes received) {
  if (received.empty()) return std::nullopt;
  const char tag = static_cast<char>(received.front());
  if (tag == server::authentication || tag == server::negotiate_protocol_version) return Postmaster::lives;
  if (tag != server::error_response) return Postmaster::no_answer;  // it isn't PostgreSQL
  Framer framer(Direction::from_server);
  const Frame frame = framer.next(received);
  if (frame.kind == Frame::Kind::need_more) return std::nullopt;
  if (frame.kind != Frame::Kind::start || !frame.last) return Postmaster::no_answer;
  const auto fields = parse_error(frame.body());
  if (!fields) return Postmaster::no_answer;
  const SqlState& state = fields->state;
  const bool going = state == sqlstate::cannot_connect_now || state == sqlstate::admin_shutdown ||
                     state == sqlstate::crash_shutdown;
  return going ? Postmaster::not_now : Postmaster::lives;
}

const char* name_of(Ended ended) {
  switch (ended) {
    case Ended::the_server: return "the_server";
    case Ended::the_session: return "the_session";
    case Ended::either: return "either";
  }
  return "?";
}

const char* name_of(Postmaster answer) {
  switch (answer) {
    case Postmaster::lives: return "lives";
    case Postmaster::not_now: return "not_now";
    case Postmaster::no_answer: return "no_answer";
  }
  return "?";
}

}  // namespace holdfast::protocol
