// A BEGIN that was answered to the client but that no server has seen: the block's first statement decides which member
// gets it, and it goes out in front of that statement in the same write.
//
// Task: puts off the choice of a member. BEGIN READ ONLY may be followed by SET TRANSACTION READ WRITE, a plain BEGIN
// by SET TRANSACTION READ ONLY; an empty block needs no server; and no server sits idle until the client sends its
// first statement. The one difference that a client can see: now() is the moment of the first statement.
// Thread: any one; no locks. Lifetime: one per client session, for all its blocks.
//
//             defer()               send()           answered(): ReadyForQuery
//     none ───────────────> deferred ───────> sent ────────────────────────────> none
//      ^                     │ ^               │
//      └─ COMMIT, ROLLBACK, ─┘ └── take_back() ┘ the server is lost and the statement is sent again, elsewhere
//         abandon()                              (abandon(): the client is told that its block is gone)
//
// On the wire it is Parse, Bind, Execute and Close of the portal, without a Sync: if it fails, the server skips everything behind it up to a
// Sync (PostgresMain, src/backend/tcop/postgres.c), so that no statement of the block runs outside it. If a Query
// "BEGIN" failed, the next statement would still run.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/sql/verdict.hpp"

namespace holdfast::protocol {

class DeferredBegin {
 public:
  // A longer BEGIN (with comments) goes to a server at once.
  static constexpr std::size_t longest_text = 256;

  // Whether this Query may be deferred. `verdict`: of its whole text.
  [[nodiscard]] static bool may_defer(const sql::Verdict& verdict, std::string_view text);
  // Keeps the BEGIN and appends PostgreSQL's answer, ReadyForQuery included. Only when may_defer() and not deferred().
  void defer(std::string_view text, const sql::Verdict& verdict, std::vector<std::byte>& out);
  // COMMIT or ROLLBACK right behind the BEGIN: appends the answer and forgets the block. False: it needs a server.
  [[nodiscard]] bool end(const sql::Verdict& verdict, std::vector<std::byte>& out);
  // The verdict that the router uses instead of `first`, the first unit's own: where the whole block may run.
  // `read_only_by_default`: default_transaction_read_only is on for this session.
  [[nodiscard]] sql::Verdict of_block(const sql::Verdict& first, bool read_only_by_default) const;

  // Appends Parse, Bind, Execute and Close for the server, all under `cookie`, which is not 0: once for the BEGIN, and
  // once more if a SET TRANSACTION is kept. Returns how often.
  std::size_t send(std::uint32_t cookie, std::vector<std::byte>& out);
  // Whether the answer with this cookie belongs to the BEGIN that was sent.
  [[nodiscard]] bool owns(std::uint32_t cookie) const { return state_ == State::sent && cookie_ == cookie; }
  // A ReadyForQuery for the client came, behind it or later.
  void answered(bool failed) {
    if (state_ == State::sent) state_ = State::none;
    if (failed && !modes_answered_) modes_.clear();
    modes_answered_ = true;
  }
  void take_back() {
    if (state_ == State::sent) state_ = State::deferred;
    if (!modes_answered_) modes_.clear();  // its statement comes again
  }
  void abandon() { state_ = State::none; }
  // A BEGIN that a server has got from the client itself.
  void passed(std::string_view text, const sql::Verdict& verdict);
  // A SET TRANSACTION READ ONLY, the block's first statement, goes to the server behind the BEGIN that was sent: it is
  // kept, to be sent with the BEGIN if the block begins once more. False: it is too long for that.
  [[nodiscard]] bool keep_modes(std::string_view text);
  // What the block says of its snapshots if `first` is its first statement.
  [[nodiscard]] sql::Isolation isolation(const sql::Verdict& first) const {
    return std::max(isolation_, first.isolation);
  }
  // Whether the block could begin once more: its text is known, and doesn't ask for one snapshot for all its statements.
  [[nodiscard]] bool repeatable() const { return !text_.empty() && isolation_ != sql::Isolation::one_snapshot; }
  // The block begins once more, with its next statement.
  void again() { state_ = State::deferred; }

  [[nodiscard]] bool deferred() const { return state_ == State::deferred; }
  [[nodiscard]] bool sent() const { return state_ == State::sent; }
  // The status in a ReadyForQuery to a client without a server.
  [[nodiscard]] char status() const { return deferred() ? 'T' : 'I'; }

 private:
  enum class State : std::uint8_t { none, deferred, sent };

  void begins(std::string_view text, const sql::Verdict& verdict);

  std::string text_;
  std::string modes_;           // a SET TRANSACTION behind it
  bool modes_answered_ = true;  // … which has been answered
  std::uint32_t cookie_ = 0;
  State state_ = State::none;
  sql::TransactionControl control_ = sql::TransactionControl::none;
  sql::Hint hint_ = sql::Hint::none;
  sql::Isolation isolation_ = sql::Isolation::unsaid;
};

}  // namespace holdfast::protocol
