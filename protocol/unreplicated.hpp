// A commit whose wait for synchronous standbys was canceled: the server calls it a success, with a warning.
//
// Task: recognises the warning, and hides what the server says behind it: its client is told 08007 in the warning's
// place. The transaction is committed on this primary, and nobody knows whether any standby has it: if the primary is
// lost, so may the transaction be, and "INSERT 0 1" would have been an acknowledged write. A statement_timeout doesn't
// end this wait, a cancel request does: the client's, pg_cancel_backend(), or that of timeouts.query
// (SyncRepWaitForLSN, src/backend/replication/syncrep.c). Owner: a conversation. Thread: any one; no locks.
//
//   nothing to hide ──canceled()──> hiding ──ready()──> nothing to hide
//
//   The warning comes in front of the CommandComplete of a Query or of COMMIT, and behind that of an Execute whose
//   transaction ends with the Sync. With further statements behind it, in a Query or in a batch, these run, although
//   their client expects nothing to run behind an error: their answers are hidden with the rest.
#pragma once

#include <utility>

#include "protocol/backend.hpp"
#include "protocol/message.hpp"

namespace holdfast::protocol {

class Unreplicated {
 public:
  // `notice` is this warning; its text may be translated. (When the session is being terminated its SQLSTATE is 57P01,
  // and nothing follows: that is the loss of a server.)
  [[nodiscard]] static bool says(const ErrorFields& notice) {
    return notice.state == sqlstate::warning && notice.routine == "SyncRepWaitForLSN";
  }
  // The client is told instead. False: it has been, since the last ReadyForQuery.
  [[nodiscard]] bool canceled() { return !std::exchange(hiding_, true); }
  // A message of the server that the client must not see.
  [[nodiscard]] bool hides(char tag) const { return hiding_ && tag != server::ready_for_query; }
  // A message that can't be hidden: the server waits for what only the client has.
  [[nodiscard]] bool stuck(char tag) const {
    return hiding_ && (tag == server::copy_in_response || tag == server::copy_both_response);
  }
  void ready() { hiding_ = false; }

 private:
  bool hiding_ = false;
};

}  // namespace holdfast::protocol
