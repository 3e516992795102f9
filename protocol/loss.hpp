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
  // Extended messages without a Sync follow the last unit: the client's further messages must be ignored until its
  // Sync. `batch_error_owed`: it has not been told the error of that batch yet.
  bool open_batch = false;
  bool batch_error_owed = false;
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
