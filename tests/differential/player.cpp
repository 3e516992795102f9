#include "tests/differential/player.hpp"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <string_view>

#include "protocol/bytes.hpp"
#include "tests/support/message_stream.hpp"

namespace holdfast::differential {
namespace {

using namespace std::chrono_literals;
using protocol::as_bytes;
using protocol::Reader;
using testing::MessageStream;
using testing::ScriptError;

std::string start_bytes(const Script& script) {
  auto parameters = script.start;
  parameters.insert(parameters.begin(), {{"user", "app"}, {"database", "app"}});
  return testing::startup_bytes(parameters);
}

// ParameterStatus messages come in no order that anybody promises.
void sort_log_in(Answers& answers) {
  std::ranges::stable_sort(answers, [](const PeerMessage& left, const PeerMessage& right) {
    return left.type == 'S' && right.type == 'S' && left.body < right.body;
  });
}

// What goes out for a turn: a Flush behind what would leave answers lying in the server.
std::vector<Message> said(const Turn& turn) {
  auto messages = turn.messages;
  const char last = messages.empty() ? 'H' : messages.back().tag;
  if (!turn.fails_unasked && last != 'S' && last != 'Q' && last != 'F' && last != 'H' && last != 'X')
    messages.push_back({.tag = 'H'});
  return messages;
}

std::string bytes_of(const std::vector<Message>& messages) {
  std::string bytes;
  for (const auto& message : messages) bytes += bytes_of(message);
  return bytes;
}

Turn last_words() {
  return {.messages = {{.tag = 'f', .text = "the script is over"},
                       {.tag = 'S'},
                       {.tag = 'Q', .text = "select 'the end' as the_end"}}};
}

std::vector<Turn> turns_of(const Script& script) {
  auto turns = script.turns;
  turns.push_back(last_words());
  return turns;
}

bool fatal(const PeerMessage& message) {
  return message.type == 'E' && message.body.find(std::string_view("\0VFATAL", 7)) != std::string::npos;
}

// An error or notice without the place in PostgreSQL's source (Holdfast's own have none) and without the names that
// Holdfast gives to statements on servers.
std::string report(Reader& reader) {
  std::string text;
  while (reader.ok() && !reader.at_end()) {
    const char field = reader.letter();
    if (field == 0) break;
    const auto value = reader.text();
    if (field == 'F' || field == 'L' || field == 'R') continue;
    text += field + std::string(value) + '\0';
  }
  // What a READ ONLY block must not do has other words on a standby than on a primary.
  if (const auto refused = text.find("C25006"); refused != std::string::npos) text.resize(refused + 7);
  // Holdfast may have put a Parse in front of the message that ended a COPY.
  constexpr std::string_view stray = "unexpected message type 0x";
  if (const auto at = text.find(stray); at != std::string::npos) text.replace(at + stray.size(), 2, "??");
  for (auto at = text.find("hf_"); at != std::string::npos; at = text.find("hf_", at + 1)) {
    auto end = at + 3;
    while (end < text.size() && std::isdigit(static_cast<unsigned char>(text[end])) != 0) ++end;
    if (end > at + 3) text.replace(at, end - at, "?");
  }
  return text + '\0';
}

// "?" stands where Holdfast has put a name of its own.
bool same(const PeerMessage& wanted, const PeerMessage& heard) {
  if (wanted.type != heard.type) return false;
  if (wanted.body == heard.body) return true;
  constexpr std::string_view ours = "prepared statement \"?\"";
  const auto at = heard.body.find(ours);
  if (at == std::string::npos || heard.type != 'E') return false;
  const auto name = at + ours.size() - 2;
  const auto end = wanted.body.find('"', name);
  return end != std::string::npos && wanted.body.substr(0, name) == heard.body.substr(0, name) &&
         wanted.body.substr(end) == heard.body.substr(name + 1);
}

std::string printable(std::string_view bytes) {
  std::string text;
  for (const char byte : bytes) text += byte >= ' ' && byte <= '~' ? byte : '.';
  return text;
}

std::string shown(const PeerMessage& message) {
  if (message.type == 0) return "(the connection ends)";
  std::string text(1, message.type);
  if (message.type == 'E' || message.type == 'N') {
    Reader reader(as_bytes(message.body));
    while (reader.ok() && !reader.at_end()) {
      const char field = reader.letter();
      if (field == 0) break;
      text += std::string(" ") + field + ":" + std::string(reader.text());
    }
    return text;
  }
  return text + " " + printable(message.body);
}

std::string shown(const Answers& answers, std::size_t mark) {
  std::string text;
  for (std::size_t i = 0; i < answers.size(); ++i) text += (i == mark ? "  > " : "    ") + shown(answers[i]) + "\n";
  return text;
}

}  // namespace

void Normal::oid(std::string& body, std::size_t at) {
  constexpr std::uint32_t first_normal_oid = 16384;  // FirstNormalObjectId, access/transam.h
  auto* bytes = reinterpret_cast<std::byte*>(body.data() + at);
  const auto oid = protocol::load_be<std::uint32_t>(bytes);
  if (oid < first_normal_oid) return;
  const auto number = oids_.try_emplace(oid, static_cast<std::uint32_t>(first_normal_oid + oids_.size())).first->second;
  protocol::store_be(bytes, number);
}

void Normal::normalise(PeerMessage& message) {
  auto& body = message.body;
  Reader reader(as_bytes(body));
  const auto position = [&] { return body.size() - reader.remaining(); };
  switch (message.type) {
    case 'K': body.clear(); break;
    case 'A': std::fill_n(body.begin(), std::min<std::size_t>(4, body.size()), '\0'); break;
    case 't':
      for (auto left = reader.u16(); left > 0 && reader.remaining() >= 4; --left) {
        oid(body, position());
        reader.u32();
      }
      break;
    case 'T':
      for (auto left = reader.u16(); left > 0 && reader.ok(); --left) {
        reader.text();
        if (reader.remaining() < 18) break;
        oid(body, position());
        oid(body, position() + 6);
        reader.bytes(18);
      }
      break;
    case 'E':
    case 'N': body = report(reader); break;
    default: break;
  }
}

Transcript play(int port, const Script& script) {
  Transcript transcript;
  MessageStream stream(port);
  Normal normal;
  Owed owed;
  const auto take = [&](Answers& answers) {
    auto message = stream.next();
    if (message.type == 0) owed.ended();
    owed.received(message.type);
    const bool over = fatal(message);
    normal.normalise(message);
    answers.push_back(std::move(message));
    if (over) {
      while (answers.back().type != 0) answers.push_back(stream.next());
      owed.ended();
    }
    return answers.back().type;
  };

  stream.send(start_bytes(script));
  auto& login = transcript.turns.emplace_back();
  for (char type = 1; type != 'Z' && type != 0;) type = take(login);
  sort_log_in(login);
  for (const auto& turn : turns_of(script)) {
    if (transcript.turns.back().size() > 0 && transcript.turns.back().back().type == 0) break;
    const auto messages = said(turn);
    stream.send(bytes_of(messages));
    for (const auto& message : messages) owed.sent(message.tag);
    auto& answers = transcript.turns.emplace_back();
    while (!owed.nothing()) take(answers);
  }
  return transcript;
}

std::optional<Difference> compare(int port, const Script& script, const Transcript& expected) {
  MessageStream stream(port);
  Normal normal;
  const auto turns = turns_of(script);
  stream.send(start_bytes(script));
  for (std::size_t number = 0; number < expected.turns.size(); ++number) {
    if (number > 0) stream.send(bytes_of(said(turns[number - 1])));
    const auto& wanted = expected.turns[number];
    Answers heard;
    std::string end;
    std::size_t differs = wanted.size();
    try {
      // The log-in's are sorted when all of them are there.
      const bool log_in = number == 0;
      while (log_in ? heard.empty() || (heard.back().type != 'Z' && heard.back().type != 0)
                    : heard.size() < wanted.size() && differs == wanted.size()) {
        heard.push_back(stream.next());
        normal.normalise(heard.back());
        const auto at = heard.size() - 1;
        if (!log_in && !same(wanted[at], heard[at])) differs = at;
        if (heard[at].type == 0) break;
      }
      if (log_in) {
        sort_log_in(heard);
        differs = static_cast<std::size_t>(std::ranges::mismatch(wanted, heard, same).in1 - wanted.begin());
        if (heard.size() > wanted.size() && differs == wanted.size()) --differs;
      }
      if (differs == wanted.size()) continue;
    } catch (const ScriptError& error) {
      end = std::string("  > (") + error.what() + ")\n";
      differs = heard.size();
    }
    // For the report: whatever else comes.
    try {
      while (end.empty() && heard.back().type != 0) {
        heard.push_back(stream.next(300ms));
        normal.normalise(heard.back());
      }
    } catch (const ScriptError&) {
    }
    return Difference{
        .turn = number,
        .text = "  PostgreSQL:\n" + shown(wanted, differs) + "  Holdfast:\n" + shown(heard, differs) + end};
  }
  return std::nullopt;
}

}  // namespace holdfast::differential
