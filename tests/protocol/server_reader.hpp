// Reads what a server says into its ServerSession, as the coroutine that owns a link does.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "protocol/backend.hpp"
#include "protocol/server_session.hpp"

namespace holdfast::protocol::testing {

class ServerReader {
 public:
  explicit ServerReader(ServerSession& session) : session_(session) {}

  // False: the stream is broken or the server ends, and a link would be closed. Who reads on all the same may.
  bool read(Bytes bytes) {
    received_.insert(received_.end(), bytes.begin(), bytes.end());
    std::size_t done = 0;
    while (true) {
      const Frame frame = session_.framer.next(Bytes(received_).subspan(done));
      if (frame.kind == Frame::Kind::error) good_ = false;
      if (frame.kind == Frame::Kind::error || frame.kind == Frame::Kind::need_more) break;
      if (frame.kind == Frame::Kind::start) message(frame);
      done += frame.bytes.size();
    }
    received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(done));
    return good_;
  }

  // An ErrorResponse to a message of the proxy's own came.
  [[nodiscard]] std::optional<Error> take_own_error() { return std::exchange(own_error_, std::nullopt); }
  // Bytes of a message that is not complete, or whose header is not.
  [[nodiscard]] std::size_t waiting() const { return received_.size(); }
  // A ReadyForQuery came.
  [[nodiscard]] bool take_ready() { return std::exchange(ready_, false); }

 private:
  void message(const Frame& frame) {
    const Reply reply = session_.exchange.received(frame.tag, frame.body());
    if (reply.action == Reply::Action::unexpected || reply.action == Reply::Action::fatal) good_ = false;
    if (reply.action == Reply::Action::swallow && frame.tag == server::error_response) {
      const auto fields = parse_error(frame.body());
      own_error_ = fields ? Error{fields->state, std::string(fields->message)} : fields.error();
    }
    session_.settle(reply, [](std::uint32_t, Outcome) {});
    if (frame.tag == server::ready_for_query) ready_ = true;
  }

  ServerSession& session_;
  std::vector<std::byte> received_;  // not taken by the framer yet
  std::optional<Error> own_error_;
  bool ready_ = false;
  bool good_ = true;
};

// Appends what a server says.
//   E25006 an ErrorResponse, FE57P01 one of severity FATAL, ZI ZT ZE ReadyForQuery, any other letter that message.
inline void append_answer(Out& out, std::string_view word) {
  if (word.starts_with("FE")) {
    return write_error(out, {.severity = "FATAL", .state = SqlState(word.substr(2)), .message = "f"});
  }
  if (word.front() == 'E') {
    return write_error(out, {.state = word.size() > 1 ? SqlState(word.substr(1)) : SqlState("22012"), .message = "e"});
  }
  if (word.front() == 'Z') return write_ready_for_query(out, word.size() > 1 ? word[1] : 'I');
  if (word.front() == 'C') return write_command_complete(out, "OK");
  if (word.front() == 'S') return write_parameter_status(out, "TimeZone", "UTC");
  if (word.front() == 'N')
    return write_notice(out, {.severity = "WARNING", .state = SqlState("01000"), .message = "w"});
  if (word.front() == 'A') return write_notification(out, {.pid = 1, .channel = "c", .payload = "p"});
  Writer(out).begin(word.front()).u16(0).end();
}

// answers("T D C ZI"): the bytes of all of them.
inline Out answers(std::string_view words) {
  Out out;
  while (!words.empty()) {
    const auto end = words.find(' ');
    const auto word = words.substr(0, end);
    if (!word.empty()) append_answer(out, word);
    words = end == std::string_view::npos ? std::string_view{} : words.substr(end + 1);
  }
  return out;
}

}  // namespace holdfast::protocol::testing
