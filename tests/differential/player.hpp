// Plays a script on PostgreSQL itself, and again through Holdfast, message by message beside what came the first time.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/differential/expected.hpp"
#include "tests/differential/script.hpp"
#include "tests/support/scripted_peer.hpp"

namespace holdfast::differential {

using testing::PeerMessage;
using Answers = std::vector<PeerMessage>;  // type 0: the connection has ended

// What the server said: the log-in's answer, that of every turn, and that of the last words that every script ends with
// (a copy that is on is ended, the batch too, and a last query proves that nothing is left over).
struct Transcript {
  std::vector<Answers> turns;
};

// Numbers that differ from run to run are replaced: oids of what a script has created, by the order in which they come;
// process ids; the names that Holdfast gives to statements on servers; where in PostgreSQL's source an error was made.
class Normal {
 public:
  void normalise(PeerMessage& message);

 private:
  void oid(std::string& body, std::size_t at);
  std::map<std::uint32_t, std::uint32_t> oids_;
};

[[nodiscard]] Transcript play(int port, const Script& script);  // throws ScriptError when an answer doesn't end

struct Difference {
  std::size_t turn = 0;  // 0: the log-in; behind the last one: the last words
  std::string text;      // both answers of that turn
};
[[nodiscard]] std::optional<Difference> compare(int port, const Script& script, const Transcript& expected);

}  // namespace holdfast::differential
