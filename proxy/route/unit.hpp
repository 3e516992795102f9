// One unit of a client's work: a Query, or the extended messages up to a Sync (or a Flush, which wants answers now).
// What the router has to know before the first of its bytes goes to a server.
#pragma once

#include <cstddef>

#include "protocol/client_statements.hpp"
#include "protocol/framer.hpp"
#include "protocol/sql/classify.hpp"

namespace holdfast::proxy {

struct Unit {
  enum class Shape : std::uint8_t {
    incomplete,  // more bytes are needed to decide; `wanted` says how many in all
    decided,
    broken,  // the stream is no protocol: the relay will say so when it gets there
  };
  Shape shape = Shape::incomplete;
  bool needs_server = true;        // false: nothing but Sync, Flush, Terminate or what is left of a COPY
  bool answered_alone = false;     // one Query or FunctionCall: its own ReadyForQuery ends it
  bool judged = false;             // one Query, and `verdict` is all that its text says
  bool only_parses = false;        // Parse messages and a Sync: a driver prepares statements
  protocol::sql::Verdict verdict;  // of all its statements together: the most careful of each
  std::size_t wanted = 0;
};

// Looks at `received`, which begins at the border of a message, without consuming. `limit`: when so many bytes are
// there and the end is not, it is a write. A unit that is surely a write is decided before its end.
[[nodiscard]] Unit look_ahead(protocol::Bytes received, const protocol::Framer& framer,
                              const protocol::ClientStatements& statements, protocol::sql::Classifier& classifier,
                              std::size_t limit);

// The verdict of a prepared statement, asked once.
[[nodiscard]] const protocol::sql::Verdict& verdict_of(protocol::Statement& statement,
                                                       protocol::sql::Classifier& classifier);

// `into` becomes the verdict of both.
void unite(protocol::sql::Verdict& into, const protocol::sql::Verdict& next);

}  // namespace holdfast::proxy
