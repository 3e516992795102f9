// What a client is owed, and what is certain, when the server it is linked to is lost.
#pragma once

#include <cstdint>
#include <vector>

#include "protocol/request.hpp"

namespace holdfast::protocol {

// Made by Exchange::on_server_lost(), read by LostTransaction and by whoever chooses the error. A plain value.
struct Loss {
  enum class Outcome : std::uint8_t {
    nothing_in_flight,  // and so whatever transaction was open is rolled back
    repeatable,         // only proven reads in autocommit, and not one byte of an answer passed on: may run elsewhere
    rolled_back,        // certain: nothing that was in flight, nor the transaction around it, took lasting effect
    unknown,            // something may have been committed: 08007, and never again
  };

  // A ReadyForQuery that the client waits for: of a Query, a FunctionCall or a Sync.
  struct Unit {
    char tag = 0;                // client::query, client::function_call or client::sync
    bool error_owed = true;      // false: the client has this unit's ErrorResponse already
    char status = 'I';           // for its ReadyForQuery, the unit having failed: 'I', or 'E' inside a block
    Trait traits = Trait::none;  // of all its statements
    friend bool operator==(const Unit&, const Unit&) = default;
  };

  Outcome outcome = Outcome::nothing_in_flight;
  // In order. Syncs that the server swallows in copy-in mode are not among them.
  std::vector<Unit> units;
  // Extended messages without a Sync are behind the last unit: the client's further messages are to be ignored until
  // its Sync. `batch_error_owed`: it has not been told the error of that batch yet.
  bool open_batch = false;
  bool batch_error_owed = false;
  // COPY FROM STDIN had begun: CopyData, CopyDone and CopyFail may still come, to be ignored.
  bool copy_in = false;
  // The transaction status that the last ReadyForQuery told: 'I', 'T', 'E'.
  char status_before = 'I';
  // The status after the last unit (and the open batch): 'E' if the client is inside a transaction block that is gone.
  char status_after = 'I';
  // All requests without (complete) answer, oldest first: statement maps are rolled back by their cookies.
  std::vector<Request> unanswered;
};

[[nodiscard]] const char* name_of(Loss::Outcome outcome);

}  // namespace holdfast::protocol
