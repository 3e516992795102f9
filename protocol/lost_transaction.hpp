// Answers a client in place of its lost server, until it is out of its transaction.
//
// Task: pays what the server owed (ErrorResponse and ReadyForQuery per unit in flight), then behaves as PostgreSQL does
// in a failed transaction block: 25P02 to everything but its end. So a client keeps its connection, and no statement
// of a transaction that is gone runs outside it.
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

// The error that tells a loss: 40001 when everything is certainly rolled back, 08007 when nobody can say.
[[nodiscard]] Error error_of(const Loss& loss);

class LostTransaction {
 public:
  enum class Step : std::uint8_t {
    answered,   // what is to be said is in `out`; further messages come here
    finished,   // the same, and the client is idle, outside any transaction: back to normal
    hand_over,  // nothing said: the transaction is over though its batch is not. Take this message the normal way
  };

  // `error`: told to every unit in flight, or to the first statement (error_of() by default).
  LostTransaction(const Loss& loss, Error error);
  explicit LostTransaction(const Loss& loss) : LostTransaction(loss, error_of(loss)) {}

  // Appends what is owed at once. Call once, first. `finished` if nothing of the transaction is left.
  Step begin(std::vector<std::byte>& out);

  // A message of the client. `control`: of the text for Query and Parse, of the statement meant for Bind, Describe and
  // Execute; `other` for … AND CHAIN. `body`: whole for Query, Parse, Describe; not read otherwise. Not for Terminate.
  Step client(char tag, Bytes body, sql::TransactionControl control, std::vector<std::byte>& out);

  [[nodiscard]] bool finished() const { return state_ == State::finished; }
  // What the next ReadyForQuery would say: 'E' inside the block that is gone, 'I' once it is over.
  [[nodiscard]] char status() const { return status_; }

 private:
  enum class State : std::uint8_t {
    untold,    // inside the block, the client does not know yet
    failed,    // inside the block, told
    skipping,  // the batch failed: until Sync
    over,      // the block was ended by an Execute, its Sync is to come
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
