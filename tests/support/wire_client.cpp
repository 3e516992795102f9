#include "tests/support/wire_client.hpp"

namespace holdfast::testing::wire {

using namespace std::string_literals;

std::string query(const std::string& sql) {
  return message_bytes('Q', sql + '\0');
}
std::string parse(const std::string& name, const std::string& sql) {
  return message_bytes('P', name + '\0' + sql + '\0' + "\0\0"s);
}
std::string bind(const std::string& name) {
  return message_bytes('B', "\0"s + name + "\0\0\0\0\0\0\0"s);
}
std::string describe(const std::string& name) {
  return message_bytes('D', "S" + name + '\0');
}
std::string execute() {
  return message_bytes('E', "\0\0\0\0\0"s);
}
std::string copy_data(const std::string& bytes) {
  return message_bytes('d', bytes);
}
std::string copy_done() {
  return message_bytes('c');
}
std::string copy_fail(const std::string& reason) {
  return message_bytes('f', reason + '\0');
}
std::string sync() {
  return message_bytes('S');
}
std::string flush() {
  return message_bytes('H');
}

std::unique_ptr<PeerConnection> log_in(int port, const std::vector<std::pair<std::string, std::string>>& more) {
  std::vector<std::pair<std::string, std::string>> parameters{{"user", "app"}, {"database", "app"}};
  parameters.insert(parameters.end(), more.begin(), more.end());
  auto peer = std::make_unique<PeerConnection>(connect_to(port));
  peer->send(startup_bytes(parameters));
  for (;;) {
    const auto message = peer->read_message();
    if (message.type == 'E') throw ScriptError("the log-in was refused: " + sqlstate(message));
    if (message.type == 'Z') return peer;
  }
}

std::string sqlstate(const PeerMessage& message) {
  if (message.type != 'E' && message.type != 'N') return {};
  const auto at = message.body.find("\0C"s);
  return at == std::string::npos ? "" : message.body.substr(at + 2, 5);
}

std::string read_error(PeerConnection& peer) {
  for (;;) {
    const auto message = peer.read_message();
    if (message.type == 'E') return sqlstate(message);
  }
}

std::string read_value(PeerConnection& peer) {
  std::string value;
  for (;;) {
    const auto message = peer.read_message();
    if (message.type == 'E') throw ScriptError("an error instead of a value: " + sqlstate(message));
    // A row of one column: the number of columns, the value's length, the value.
    if (message.type == 'D' && message.body.size() > 6) value = message.body.substr(6);
    if (message.type == 'Z') return value;
  }
}

}  // namespace holdfast::testing::wire
