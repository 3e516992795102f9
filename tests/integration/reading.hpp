// A statement that is prepared, described and run, and its answer as bytes: for tests of what a text means to whom.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/support/message_stream.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {

using Start = std::vector<std::pair<std::string, std::string>>;

inline void log_in(MessageStream& client, const Start& more) {
  Start start{{"user", "app"}, {"database", "app"}};
  start.insert(start.end(), more.begin(), more.end());
  client.send(startup_bytes(start));
  for (auto message = client.next(); message.type != 'Z'; message = client.next())
    if (message.type == 'E' || message.type == 0)
      throw ScriptError("the log-in was refused: " + wire::sqlstate(message));
}

// The answer to one statement: its messages as bytes, an error as its SQLSTATE.
inline std::string answer(MessageStream& client) {
  std::string text;
  for (;;) {
    const auto message = client.next();
    if (message.type == 0) throw ScriptError("the connection ended");
    if (message.type == '3' || message.type == 'S') continue;  // when settings are reported is not what this is about
    text += message.type;
    text += message.type == 'E' ? wire::sqlstate(message) : message.body;
    if (message.type == 'Z') return text;
  }
}

// Up to a ReadyForQuery; a parameter is 2020-01-02.
inline std::string prepare_and_run(const std::string& name, const std::string& sql) {
  using namespace std::string_literals;
  const auto bind = sql.find('$') == std::string::npos ? wire::bind(name)
                                                       : message_bytes('B', '\0' + name +
                                                                                "\0\0\0\0\1\0\0\0\12"
                                                                                "2020-01-02"
                                                                                "\0\0"s);
  return wire::parse(name, sql) + wire::describe(name) + bind + wire::execute() + wire::sync();
}

inline std::string printable(const std::string& bytes) {
  std::string text;
  for (const char byte : bytes) text += byte >= ' ' && byte <= '~' ? byte : '.';
  return text;
}

}  // namespace holdfast::testing
