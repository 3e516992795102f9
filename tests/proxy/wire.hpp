// Messages of both sides as byte strings for scripts, and byte strings as words for expectations:
// "P:hf_1:SELECT 1 B:hf_1 E S" of a client, "1 2 D:one C:SELECT 1 ZI" of a server.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "protocol/backend.hpp"
#include "protocol/framer.hpp"
#include "protocol/frontend.hpp"
#include "protocol/message.hpp"

namespace holdfast::proxy::wire {

using protocol::Bytes;
using protocol::Frame;
using protocol::Framer;
using protocol::Reader;
using protocol::Writer;

template <typename Write>
std::string bytes_of(Write&& write) {
  std::vector<std::byte> out;
  write(out);
  return std::string(protocol::as_text(out));
}
inline std::string message(char tag, std::string_view body = {}) {
  return bytes_of([&](auto& out) {
    Writer writer(out);
    writer.begin(tag).bytes(protocol::as_bytes(body));
    writer.end();
  });
}

// ---- what clients say
inline std::string query(std::string_view sql) {
  return bytes_of([&](auto& out) { protocol::write_query(out, sql); });
}
inline std::string parse(std::string_view name, std::string_view sql) {
  return bytes_of([&](auto& out) { protocol::write_parse(out, name, sql); });
}
inline std::string bind(std::string_view statement, std::string_view portal = {}) {
  return bytes_of([&](auto& out) { protocol::write_bind(out, portal, statement); });
}
inline std::string describe(std::string_view statement) {
  return bytes_of([&](auto& out) { protocol::write_describe(out, {.kind = 'S', .name = statement}); });
}
inline std::string execute(std::string_view portal = {}) {
  return bytes_of([&](auto& out) { protocol::write_execute(out, portal); });
}
inline std::string close(std::string_view statement) {
  return bytes_of([&](auto& out) { protocol::write_close(out, {.kind = 'S', .name = statement}); });
}
inline std::string sync() {
  return message('S');
}
inline std::string flush() {
  return message('H');
}
// Of lo_open, or of another function.
inline std::string call(char oid_high = 0x03, char oid_low = static_cast<char>(0xb8)) {
  return message('F', std::string(2, '\0') + oid_high + oid_low + std::string(6, '\0'));
}
inline std::string copy_data(std::string_view body) {
  return message('d', body);
}
inline std::string copy_done() {
  return message('c');
}
// Parse, Bind, Execute of the unnamed statement, and Sync.
inline std::string run(std::string_view sql) {
  return parse("", sql) + bind("") + execute() + sync();
}
// The same of a statement that was prepared.
inline std::string run_named(std::string_view name) {
  return bind(name) + execute() + sync();
}

// ---- what servers say
inline const std::string parsed = message('1');
inline const std::string bound = message('2');
inline const std::string closed = message('3');
inline const std::string no_data = message('n');
inline const std::string description = message('T', std::string_view("\0\0", 2));
inline const std::string parameters = message('t', std::string_view("\0\0", 2));
inline const std::string copy_in = message('G', std::string_view("\0\0\0", 3));
inline const std::string copy_out = message('H', std::string_view("\0\0\0", 3));
inline const std::string call_result = message('V', std::string_view("\xff\xff\xff\xff", 4));

inline std::string row(std::string_view text) {
  return message('D', text);
}
inline std::string complete(std::string_view tag) {
  return bytes_of([&](auto& out) { protocol::write_command_complete(out, tag); });
}
inline std::string ready(char status = 'I') {
  return bytes_of([&](auto& out) { protocol::write_ready_for_query(out, status); });
}
inline std::string report(char tag, std::string_view severity, std::string_view state, std::string_view routine = {}) {
  std::string body;
  const auto field = [&body](char kind, std::string_view text) {
    body += kind;
    body += text;
    body += '\0';
  };
  field('S', severity);
  field('V', severity);
  field('C', state);
  field('M', "as the server says it");
  if (!routine.empty()) field('R', routine);
  body += '\0';
  return message(tag, body);
}
inline std::string error(std::string_view state, std::string_view routine = {}) {
  return report('E', "ERROR", state, routine);
}
inline std::string fatal(std::string_view state) {
  return report('E', "FATAL", state);
}
inline std::string notice() {
  return report('N', "NOTICE", "00000");
}
inline std::string parameter(std::string_view name, std::string_view value) {
  return bytes_of([&](auto& out) { protocol::write_parameter_status(out, name, value); });
}
// A Query's or an Execute's answer to a SELECT of one row.
inline std::string one_row(std::string_view text = "one") {
  return row(text) + complete("SELECT 1");
}

// ---- as words
template <typename Word>
std::string words(std::string_view stream, protocol::Direction direction, Word&& word) {
  std::string text;
  Framer framer(direction);
  for (Bytes rest = protocol::as_bytes(stream); !rest.empty();) {
    const Frame frame = framer.next(rest);
    if (frame.kind != Frame::Kind::start || !frame.last) return text + (text.empty() ? "" : " ") + "(cut)";
    rest = rest.subspan(frame.bytes.size());
    text += (text.empty() ? "" : " ") + std::string(1, frame.tag) + word(frame);
  }
  return text;
}
inline std::string colon(std::string_view text) {
  return text.empty() ? std::string() : ":" + std::string(text);
}

// What a server has received.
inline std::string said(std::string_view stream) {
  return words(stream, protocol::Direction::from_client, [](const Frame& frame) -> std::string {
    Reader reader(frame.body());
    std::string text;
    switch (frame.tag) {
      case 'Q':
      case 'E': return colon(reader.text());
      case 'P': text = colon(reader.text()); return text + colon(reader.text());
      case 'B': text = colon(reader.text()); return text + colon(reader.text());
      case 'D':
      case 'C': text = std::string(":") + reader.letter(); return text + std::string(reader.text());
      case 'd': return ":" + std::to_string(frame.body().size());
      default: return {};
    }
  });
}

// What a client has received.
inline std::string heard(std::string_view stream) {
  return words(stream, protocol::Direction::from_server, [](const Frame& frame) -> std::string {
    switch (frame.tag) {
      case 'E': return std::string(protocol::parse_error(frame.body())->state.view());
      case 'Z': return std::string(1, *protocol::parse_ready_for_query(frame.body()));
      case 'C': return ":" + std::string(*protocol::parse_command_complete(frame.body()));
      case 'S': {
        const auto status = *protocol::parse_parameter_status(frame.body());
        return ":" + std::string(status.name) + "=" + std::string(status.value);
      }
      case 'D': return ":" + std::string(protocol::as_text(frame.body()));
      default: return {};
    }
  });
}

}  // namespace holdfast::proxy::wire
