// Answers a client in place of its lost server, until the client has left its transaction.
//
// Task: sends what the server owed (ErrorResponse and ReadyForQuery per unit in flight), then behaves as PostgreSQL
// does in a failed transaction block: 25P02 to everything but its end. So a client keeps its connection, and no
// statement of a transaction that is gone runs outside it.
// Thread: any one; no locks. Lifetime: from the loss until finished(); one per loss.
//
//   begin() --> nothing told yet (idle in its block) --first statement: the error--> failed block --ROLLBACK, COMMIT-->
//   finished
//          \--> skipping until Sync (mid-batch) ------Sync------------------------->/        \--out of a
//          block----------/
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"
#include "protocol/loss.hpp"
#include "protocol/sql/verdict.hpp"

namespace holdfast::protocol {

// The error for a loss: 40001 when everything is certainly rolled back, 08007 when the outcome is unknown.
[[nodiscard]] Error error_of(const Loss& loss);

class LostTransaction {
 public:
  enum class Step : std::uint8_t {
    answered,   // the answer is in `out`; further messages come here
    finished,   // the same, and the client is idle, outside any transaction: back to normal
    hand_over,  // no answer: the transaction is over though its batch is not. Process this message the normal way
  };

  // `error`: sent for every unit in flight, or in answer to the first statement (error_of() by default).
  LostTransaction(const Loss& loss, Error error);
  explicit LostTransaction(const Loss& loss) : LostTransaction(loss, error_of(loss)) {}

  // Appends what is owed at once. To be called first, once. `finished` if nothing of the transaction is left.
  Step begin(std::vector<std::byte>& out);

  // A message from the client. `control`: that of the text for Query and Parse, of the statement used for Bind,
  // Describe and Execute; `other` for … AND CHAIN. `body`: whole for Query, Parse, Describe; not read otherwise. Not
  // for Terminate.
  Step client(char tag, Bytes body, sql::TransactionControl control, std::vector<std::byte>& out);

  [[nodiscard]] bool finished() const { return state_ == State::finished; }
  // What the next ReadyForQuery would say: 'E' inside the block that is gone, 'I' once it is over.
  [[nodiscard]] char status() const { return status_; }

 private:
  enum class State : std::uint8_t {
    untold,    // inside the block, the client does not know yet
    failed,    // inside the block, the client has been told
    skipping,  // the batch failed: ignores everything until Sync
    over,      // an Execute ended the block; its Sync is still to come
    finished,
  };

  Step query(Bytes body, sql::TransactionControl control, std::vector<std::byte>& out);
  Step extended(char tag, Bytes body, sql::TransactionControl control, std::vector<std::byte>& out);
  Step execute(sql::TransactionControl control, std::vector<std::byte>& out);
  Step sync(std::vector<std::byte>& out);
  Step fail_batch(std::vector<std::byte>& out);
  void tell(std::vector<std::byte>& out);

  Error error_;
  std::vector<Loss::Unit> units_;
  State state_ = State::untold;
  char status_ = 'I';  // 'E' inside the block, 'I' when it is over
  bool open_batch_ = false;
  bool batch_error_owed_ = false;
};

}  // namespace holdfast::protocol
