// Answers a client in place of its lost server, until the client has left its transaction.
//
// Task: sends what the server owed (ErrorResponse and ReadyForQuery per unit in flight), then behaves as PostgreSQL
// does in a failed transaction block: 25P02 to everything but its end. So a client keeps its connection, and no
// statement of a transaction that is gone runs outside it.
// Thread: any one; no locks. Lifetime: from the loss until finished(); one per loss.
//
// The rule: a client is told nothing while it isn't listening, and everything in the place where its driver looks. An
// ErrorResponse to a client that waits for nothing is a mere notice to libpq: it would raise nothing there, and nothing
// later. So, with E for the error of the loss and Z for ReadyForQuery:
//
//   the client, at the loss             | what was lost     | at once      | later, in answer to the client
//   idle, outside a block               | nothing           |              |
//   idle in a block                     | the block         |              | E with the first statement; a Sync by
//                                       |                   |              |   itself only says Z; COMMIT: E Z
//   Query or FunctionCall in flight     | that              | E Z          |
//   batch in flight with its Sync       | the batch         | E Z          | (Z only, if it has an ErrorResponse)
//   several units in flight             | each              | E Z for each |
//   batch without Sync, answers owed    | the batch         | E            | Z at its Sync, nothing before that
//   the same, all answered (Flush)      | what it did       |              | E with the next message that has an answer:
//                                       |                   |              |   before the Z of a Sync; nothing at a Flush
//   the same, with an ErrorResponse     | nothing more      |              | Z at its Sync
//   COPY in, by Query                   | the COPY          | E Z          | its CopyData, CopyDone, CopyFail: nothing
//   COPY in, by Execute                 | the batch         | E            | the same, and Z at its Sync
//   COPY out                            | as other answers  |              |
//   half a message sent                 | with what it has  |              | all of the above, once the rest has come
//   half an answer received             | whatever it is    | the connection ends without a word: anything would be
//                                       |                   |   read as the rest of a row (ClientSession::server_lost)
//
//   mid_message --rest_came()--> the same as begin():
//   begin() --> untold --first statement, or a batch's next message: the error--> failed, skipping
//          \--> failed (inside the block) --ROLLBACK, COMMIT--> finished        over: ended by an Execute, its Sync to
//          \--> skipping --Sync--> failed inside a block, else finished               come
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

  // The message that the client was sending when the server was lost.
  enum class Message : std::uint8_t { whole, half };

  // `error`: sent for every unit in flight, or in answer to the first statement (error_of() by default).
  LostTransaction(const Loss& loss, Error error, Message message = Message::whole);
  explicit LostTransaction(const Loss& loss) : LostTransaction(loss, error_of(loss)) {}

  // Appends what is owed at once. To be called first, once. `finished` if nothing of the transaction is left.
  Step begin(std::vector<std::byte>& out);
  // The rest of a message that was half sent has come: appends what is owed. Ignored at any other time.
  Step rest_came(std::vector<std::byte>& out);

  // A message from the client. `control`: that of the text for Query and Parse, of the statement used for Bind,
  // Describe and Execute; `other` for … AND CHAIN. `body`: whole for Query, Parse, Describe; not read otherwise. Not
  // for Terminate.
  Step client(char tag, Bytes body, sql::TransactionControl control, std::vector<std::byte>& out);

  [[nodiscard]] bool finished() const { return state_ == State::finished; }
  // What the next ReadyForQuery would say: 'E' inside the block that is gone, 'I' once it is over.
  [[nodiscard]] char status() const { return status_; }

 private:
  enum class State : std::uint8_t {
    mid_message,  // half a message was sent, its rest is to come
    untold,       // inside the block, or in a batch behind a Flush: the client does not know yet
    failed,       // inside the block, the client has been told
    skipping,     // the batch failed: ignores everything until Sync
    over,         // an Execute ended the block; its Sync is still to come
    finished,
  };

  Step pay(std::vector<std::byte>& out);
  Step query(Bytes body, sql::TransactionControl control, std::vector<std::byte>& out);
  Step extended(char tag, Bytes body, sql::TransactionControl control, std::vector<std::byte>& out);
  Step execute(sql::TransactionControl control, std::vector<std::byte>& out);
  Step sync(std::vector<std::byte>& out);
  Step fail_batch(std::vector<std::byte>& out);
  Step ready(std::vector<std::byte>& out);
  void tell(std::vector<std::byte>& out);
  void write_loss(std::vector<std::byte>& out) const;

  Error error_;
  std::vector<Loss::Unit> units_;
  Loss::Batch batch_;  // until the client's Sync
  State state_;
  char status_ = 'I';  // 'E' inside the block, 'I' when it is over
};

}  // namespace holdfast::protocol
