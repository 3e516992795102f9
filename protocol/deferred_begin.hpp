// A BEGIN that the client has its answer to and no server has seen: the block's first statement decides which member
// gets it, and it goes out in front of that statement in the same write.
//
// Task: BEGIN READ ONLY may be followed by SET TRANSACTION READ WRITE, a plain BEGIN by SET TRANSACTION READ ONLY; a
// block that ends as it began needs no server; and no server waits idle while the client thinks of its first
// statement. What the client can tell: now() is the moment of the first statement.
// Thread: any one; no locks. Lifetime: one per client session, for all its blocks.
//
//             defer()               send()           answered(): ReadyForQuery
//     none ───────────────> deferred ───────> sent ────────────────────────────> none
//      ^                     │ ^               │
//      └─ COMMIT, ROLLBACK, ─┘ └── take_back() ┘ the server is lost and the statement is sent again, elsewhere
//         abandon()                              (abandon(): the client is told that its block is gone)
//
// On the wire it is Parse, Bind, Execute without a Sync: should it fail, the server skips the statement behind it until
// a Sync (PostgresMain, src/backend/tcop/postgres.c), so that no statement of the block runs outside of it. A Query
// "BEGIN" would promise nothing about the next one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/sql/verdict.hpp"

namespace holdfast::protocol {

class DeferredBegin {
 public:
  // Longer ones (comments) go to a server at once.
  static constexpr std::size_t longest_text = 256;

  // May this Query wait? `verdict`: of its whole text.
  [[nodiscard]] static bool may_defer(const sql::Verdict& verdict, std::string_view text);
  // Keeps the BEGIN and appends what PostgreSQL would say, ReadyForQuery included. Only when may_defer() and not deferred().
  void defer(std::string_view text, const sql::Verdict& verdict, std::vector<std::byte>& out);
  // COMMIT or ROLLBACK right behind it: appends the answer and forgets the block. False: that needs a server.
  [[nodiscard]] bool end(const sql::Verdict& verdict, std::vector<std::byte>& out);
  // What the router judges instead of the first unit's own `first`: where the whole block may run.
  // `read_only_by_default`: default_transaction_read_only is on for this session.
  [[nodiscard]] sql::Verdict of_block(const sql::Verdict& first, bool read_only_by_default) const;

  // Appends Parse, Bind and Execute for the server. `cookie`: they travel under it, not 0.
  void send(std::uint32_t cookie, std::vector<std::byte>& out);
  // Does the answer under this cookie belong to the BEGIN that was sent?
  [[nodiscard]] bool owns(std::uint32_t cookie) const { return state_ == State::sent && cookie_ == cookie; }
  void answered() {
    if (state_ == State::sent) state_ = State::none;
  }
  void take_back() {
    if (state_ == State::sent) state_ = State::deferred;
  }
  void abandon() { state_ = State::none; }

  [[nodiscard]] bool deferred() const { return state_ == State::deferred; }
  [[nodiscard]] bool sent() const { return state_ == State::sent; }
  // What ReadyForQuery says to a client that has no server.
  [[nodiscard]] char status() const { return deferred() ? 'T' : 'I'; }

 private:
  enum class State : std::uint8_t { none, deferred, sent };

  std::string text_;
  std::uint32_t cookie_ = 0;
  State state_ = State::none;
  sql::TransactionControl control_ = sql::TransactionControl::none;
  sql::Hint hint_ = sql::Hint::none;
};

}  // namespace holdfast::protocol
