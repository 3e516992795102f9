// What a client is owed, and what is certain, when the server that it is linked to is lost.
#pragma once

#include <cstdint>
#include <vector>

#include "protocol/request.hpp"

namespace holdfast::protocol {

// Made by Exchange::on_server_lost(), read by LostTransaction and by the code that chooses the error. A plain value.
struct Loss {
  enum class Outcome : std::uint8_t {
    nothing_in_flight,  // so an open transaction, if there was one, is rolled back
    repeatable,         // only proven reads in autocommit, and not one byte of an answer passed on: may run elsewhere
    rolled_back,        // certain: nothing that was in flight, nor the transaction around it, took lasting effect
    unknown,            // something may have been committed: the client is told 08007, nothing is repeated
  };

  // Extended messages without a Sync behind the last unit.
  enum class Batch : std::uint8_t {
    none,
    owed,      // not all of them are answered: the client waits for an answer, or soon will
    answered,  // all of them, behind a Flush: the client waits for nothing
    failed,    // the client has the batch's ErrorResponse: nothing more is said before its Sync
  };

  // A ReadyForQuery that the client waits for: in answer to a Query, a FunctionCall or a Sync.
  struct Unit {
    char tag = 0;                // client::query, client::function_call or client::sync
    bool error_owed = true;      // false: the client has this unit's ErrorResponse already
    char status = 'I';           // for its ReadyForQuery, given that the unit failed: 'I', or 'E' inside a block
    Trait traits = Trait::none;  // of all its statements
    friend bool operator==(const Unit&, const Unit&) = default;
  };

  Outcome outcome = Outcome::nothing_in_flight;
  // In order. Syncs that the server ignores in copy-in mode are not among them.
  std::vector<Unit> units;
  Batch batch = Batch::none;
  // COPY FROM STDIN had begun: CopyData, CopyDone and CopyFail may still come and must be ignored.
  bool copy_in = false;
  // The transaction status in the last ReadyForQuery: 'I', 'T', 'E'.
  char status_before = 'I';
  // The status after the last unit (and the open batch): 'E' if the client is inside a transaction block that is gone.
  char status_after = 'I';
  // All requests without a (complete) answer, oldest first: statement maps are rolled back by their cookies.
  std::vector<Request> unanswered;
};

[[nodiscard]] const char* name_of(Loss::Outcome outcome);

}  // namespace holdfast::protocol
