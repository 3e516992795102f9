// Drives a Cleaning as whoever reads the server does, and tells its steps as text: "cancel", "send f B S",
// "send Q:ROLLBACK", "wait", "release", "close".
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "protocol/cleaning.hpp"
#include "protocol/framer.hpp"
#include "protocol/frontend.hpp"
#include "tests/protocol/server_reader.hpp"

namespace holdfast::protocol::testing {

// Client messages as text: tags, a Query with its statement.
inline std::string requests_of(Bytes bytes) {
  std::string text;
  Framer framer(Direction::from_client);
  while (!bytes.empty()) {
    const Frame frame = framer.next(bytes);
    if (frame.kind != Frame::Kind::start || !frame.last) return text + "(broken)";
    text += (text.empty() ? "" : " ") + std::string(1, frame.tag);
    if (frame.tag == client::query) text += ":" + std::string(*parse_query(frame.body()));
    bytes = bytes.subspan(frame.bytes.size());
  }
  return text;
}

class CleaningDriver {
 public:
  using Step = Cleaning::Step;

  // What a client's conversation leaves: messages that were sent, answers that came.
  void sent(std::string_view tags, Origin origin = Origin::client) {
    for (const char tag : tags) session.exchange.sent({.tag = tag, .origin = origin});
  }
  bool receive(std::string_view words) { return receive(Bytes(answers(words))); }
  // False: a link would be closed.
  bool receive(Bytes bytes) {
    good = reader.read(bytes) && good;
    if (const auto error = reader.take_own_error()) {
      using namespace std::string_literals;
      cleaning.failed(as_bytes("SERROR\0C"s + std::string(error->state.view()) + "\0Mno\0\0"s));
    }
    if (reader.take_ready()) cancels.possible = true;
    return good;
  }
  bool receive(const Out& bytes) { return receive(Bytes(bytes)); }

  // One pass: asks, and again behind a cancel request, until there is something to wait for.
  std::string ask() {
    std::string text;
    for (int asked = 0; asked < 10; ++asked) {
      out.clear();
      last = cleaning.next(session, cancels, out);
      text += (text.empty() ? "" : ", ") + name();
      if (last != Step::cancel) return text;
      cancels = {.under_way = true, .possible = false};
    }
    return text + " (for ever)";
  }
  std::string cancel_ended() {
    cancels.under_way = false;
    return ask();
  }

  PendingPool pending;
  SettingsTable settings;
  StatementTable statements;
  ServerSession session{pending, 10};
  ServerReader reader{session};
  Cleaning cleaning;
  Cleaning::Cancels cancels;
  Out out;  // of the last step
  Step last = Step::wait;
  bool good = true;

 private:
  std::string name() {
    EXPECT_EQ(last == Step::send, !out.empty());
    switch (last) {
      case Step::wait: return "wait";
      case Step::send: return "send " + requests_of(out);
      case Step::cancel: return "cancel";
      case Step::release: return "release";
      case Step::close: return "close";
    }
    return "?";
  }
};

}  // namespace holdfast::protocol::testing
