// What a client says, as data: a script can be played, printed, cut down and made again from its seed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace holdfast::differential {

// One message of a client. What a field means depends on the tag; those that a message lacks stay empty.
struct Message {
  char tag = 'S';
  std::string text = {};    // Q, P: SQL; d: data; f: the reason
  std::string name = {};    // P, B: the statement; D, C: what `kind` says
  std::string portal = {};  // B, E
  char kind = 'S';          // D, C: statement or portal
  int number = 0;           // E: most rows, 0 for all; B: the results' format; F: the function's oid
  std::vector<std::optional<std::string>> values = {};  // B, F: parameters in text
  std::vector<std::uint32_t> types = {};                // P
};
[[nodiscard]] std::string bytes_of(const Message& message);
[[nodiscard]] std::string shown(const Message& message);

// What is sent in one write. Its answer is awaited before the next turn.
struct Turn {
  std::vector<Message> messages;
  // The last message fails to parse, and its error must come although nothing asks for answers. Other turns that would
  // leave answers behind get a Flush from the player.
  bool fails_unasked = false;
};

struct Script {
  std::vector<std::pair<std::string, std::string>> start;  // start-up parameters besides user and database
  std::vector<Turn> turns;

  // Leaves out what has one of these names: "terminate", "unasked", "functioncall", "copy", "start", "twice" (a name is
  // closed before it is used again), "stray" (nothing but data comes in a copy), or a part of a text. To search on
  // behind a fault that is known already.
  void leave_out(const std::vector<std::string>& what);
  // Whether it may change what the tables of the fixture look like.
  [[nodiscard]] bool changes_schema() const;
};
[[nodiscard]] std::string shown(const Script& script);

}  // namespace holdfast::differential
