// One unit of a client's work: a Query, or the extended messages up to a Sync (or a Flush, which asks for answers at
// once; what has no end yet is a write, for nobody knows what comes behind). It says what must be known before the
// first byte of the unit goes to a server.
#pragma once

#include <cstddef>

#include "protocol/client_statements.hpp"
#include "protocol/framer.hpp"
#include "protocol/sql/classify.hpp"

namespace holdfast::proxy {

struct Unit {
  enum class Shape : std::uint8_t {
    incomplete,  // more bytes are needed to decide; `wanted` says how many in total
    decided,
    broken,  // the stream breaks the protocol: the session will say so when it gets there
    // A statement's text can't be judged now (Classifier::Answer): in another turn, or by another thread.
    later,
    elsewhere,
  };
  Shape shape = Shape::incomplete;
  bool begun = false;              // incomplete: at least one message of a batch is there as a whole
  bool needs_server = true;        // false: nothing but Sync, Flush, Terminate or the remains of a COPY
  bool answered_alone = false;     // one Query or FunctionCall: its own ReadyForQuery ends it
  bool judged = false;             // one Query, and `verdict` is that of its text
  bool only_parses = false;        // Parse messages and a Sync: a driver prepares statements
  bool binds = false;              // something runs that has not been bound before
  bool keeps_portal = false;       // it makes a portal that may be executed in a later one, in the same transaction
  bool hides_begin = false;        // a BEGIN among it could not be sent again: by Query, or too long
  protocol::sql::Verdict verdict;  // of all its statements together: the most cautious of each
  std::size_t wanted = 0;
};

// Reads ahead in `received`, which begins at a message boundary, without consuming. `limit`: a unit whose end is not
// among so many bytes counts as a write. A unit that is certainly a write is decided before its end. `patience`: none
// if the unit must be decided now, with unseen_verdict for texts that can't be judged now.
[[nodiscard]] Unit look_ahead(protocol::Bytes received, const protocol::Framer& framer,
                              const protocol::ClientStatements& statements, protocol::sql::Classifier& classifier,
                              std::size_t limit,
                              protocol::sql::Classifier::Patience patience = protocol::sql::Classifier::Patience::none);

// The verdict of a prepared statement; the classifier is called once per statement.
[[nodiscard]] const protocol::sql::Verdict& verdict_of(protocol::Statement& statement,
                                                       protocol::sql::Classifier& classifier);

// `into` becomes the verdict of both.
void unite(protocol::sql::Verdict& into, const protocol::sql::Verdict& next);

}  // namespace holdfast::proxy
