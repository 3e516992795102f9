#include "tests/differential/script.hpp"

#include <algorithm>
#include <string_view>

#include "protocol/bytes.hpp"

namespace holdfast::differential {
namespace {

using protocol::as_bytes;
using protocol::as_text;
using protocol::Writer;

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char byte : text) {
    if (byte == '\n')
      result += "\\n";
    else if (byte < ' ' || byte > '~')
      result += '?';
    else
      result += byte;
  }
  return result + "\"";
}

void write_values(Writer& writer, const Message& message) {
  writer.u16(static_cast<std::uint16_t>(message.values.size()));
  for (const auto& value : message.values) {
    if (!value)
      writer.u32(0xffff'ffff);
    else
      writer.u32(static_cast<std::uint32_t>(value->size())).bytes(as_bytes(*value));
  }
}

std::string shown_values(const Message& message) {
  std::string text;
  for (const auto& value : message.values) text += " " + (value ? quoted(*value) : "NULL");
  return text;
}

}  // namespace

std::string bytes_of(const Message& message) {
  std::vector<std::byte> out;
  Writer writer(out);
  writer.begin(message.tag);
  switch (message.tag) {
    case 'Q': writer.text(message.text); break;
    case 'P':
      writer.text(message.name).text(message.text).u16(static_cast<std::uint16_t>(message.types.size()));
      for (const auto type : message.types) writer.u32(type);
      break;
    case 'B':
      writer.text(message.portal).text(message.name).u16(0);
      write_values(writer, message);
      writer.u16(1).u16(static_cast<std::uint16_t>(message.number));
      break;
    case 'D':
    case 'C': writer.letter(message.kind).text(message.name); break;
    case 'E': writer.text(message.portal).u32(static_cast<std::uint32_t>(message.number)); break;
    case 'F':
      writer.u32(static_cast<std::uint32_t>(message.number)).u16(0);
      write_values(writer, message);
      writer.u16(0);
      break;
    case 'd': writer.bytes(as_bytes(message.text)); break;
    case 'f': writer.text(message.text); break;
    default: break;  // S, H, c, X
  }
  writer.end();
  return std::string(as_text(out));
}

std::string shown(const Message& message) {
  const auto tag = std::string(1, message.tag);
  switch (message.tag) {
    case 'Q': return "Query " + quoted(message.text);
    case 'P': {
      auto text = "Parse " + quoted(message.name) + " " + quoted(message.text);
      for (const auto type : message.types) text += " oid " + std::to_string(type);
      return text;
    }
    case 'B':
      return "Bind " + quoted(message.portal) + " of " + quoted(message.name) + shown_values(message) +
             (message.number == 0 ? "" : " results in format " + std::to_string(message.number));
    case 'D':
    case 'C':
      return (message.tag == 'D' ? "Describe " : "Close ") + std::string(1, message.kind) + " " + quoted(message.name);
    case 'E':
      return "Execute " + quoted(message.portal) +
             (message.number == 0 ? "" : " for " + std::to_string(message.number) + " rows");
    case 'F': return "FunctionCall " + std::to_string(message.number) + shown_values(message);
    case 'd': return "CopyData " + quoted(message.text);
    case 'f': return "CopyFail " + quoted(message.text);
    case 'c': return "CopyDone";
    case 'S': return "Sync";
    case 'H': return "Flush";
    case 'X': return "Terminate";
    default: return tag;
  }
}

bool Script::changes_schema() const {
  const auto changes = [](const Message& message) {
    if (message.tag != 'Q' && message.tag != 'P') return false;
    return std::ranges::any_of(
        std::initializer_list<std::string_view>{"alter table", "create table", "drop table", "create or replace"},
        [&](std::string_view word) { return message.text.find(word) != std::string::npos; });
  };
  return std::ranges::any_of(turns, [&](const Turn& turn) { return std::ranges::any_of(turn.messages, changes); });
}

namespace {

// Every name is closed before it is used again.
std::vector<Message> with_names_closed(const std::vector<Message>& messages) {
  std::vector<Message> closed;
  for (const auto& message : messages) {
    if (message.tag == 'P' && !message.name.empty()) closed.push_back({.tag = 'C', .name = message.name});
    closed.push_back(message);
  }
  return closed;
}

// Every copy that may have begun ends in its turn, before anything but its data comes.
std::vector<Message> with_copies_ended(const std::vector<Message>& messages) {
  std::vector<Message> ended;
  bool begun = false;
  const auto end = [&] {
    if (std::exchange(begun, false)) ended.push_back({.tag = 'f', .text = "left out"});
  };
  for (const auto& message : messages) {
    if (message.tag == 'c' || message.tag == 'f')
      begun = false;
    else if (message.tag != 'd')
      end();
    ended.push_back(message);
    begun = begun || message.tag == 'E' || (message.tag == 'Q' && message.text.find("stdin") != std::string::npos);
  }
  end();
  return ended;
}

}  // namespace

void Script::leave_out(const std::vector<std::string>& what) {
  for (const auto& word : what) {
    if (word == "start") start.clear();
    if (word == "unasked") std::erase_if(turns, [](const Turn& turn) { return turn.fails_unasked; });
    for (auto& turn : turns) {
      if (word == "twice") turn.messages = with_names_closed(turn.messages);
      if (word == "stray") turn.messages = with_copies_ended(turn.messages);
      std::erase_if(turn.messages, [&](const Message& message) {
        return (word == "terminate" && message.tag == 'X') || (word == "functioncall" && message.tag == 'F') ||
               (word == "copy" && message.text.starts_with("copy ")) || message.text.find(word) != std::string::npos;
      });
    }
    std::erase_if(turns, [](const Turn& turn) { return turn.messages.empty(); });
  }
}

std::string shown(const Script& script) {
  std::string text;
  for (const auto& [name, value] : script.start) text += "  start with " + name + "=" + value + "\n";
  int number = 0;
  for (const auto& turn : script.turns) {
    auto front = "  turn " + std::to_string(++number) + ": ";
    for (const auto& message : turn.messages) {
      text += front + shown(message) + "\n";
      front.assign(front.size(), ' ');
    }
  }
  return text;
}

}  // namespace holdfast::differential
