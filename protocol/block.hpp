// A client's transaction block as the client sees it, with a server or without one.
//
// Task: tracks a deferred BEGIN (deferred_begin), the block on a server, its portals, and the rest of a block whose
// server is lost (lost_transaction). status() is what every ReadyForQuery of our own reports and what the idle
// deadlines depend on. Owner: the client's session. Thread: any one; no locks. Lifetime: the session's.
//
// Begins again: under automatic routing a block is on a standby only while it could begin again on the primary as if
// nothing had been, since a standby refuses what PostgreSQL allows in a READ ONLY block, and what a session keeps from
// there keeps it from writing. So nothing runs there but reads with a snapshot each, and the end of the block: see
// stays_plain(). What else comes first begins the block, with the same BEGIN, on the primary, and runs there.
//
//            defer()               open()             ready('T'), ready('E')
//     idle ───────────> deferred ──────────> opening ────────────────────────> open ⇄ failed
//      ^  ^───end()──────┘   ^───take_back()───┘                                  │      │
//      │  ^──abandon()───────┘                                                    │      │
//      ├───────────────────────────────ready('I')─────────────────────────────────┼──────┤
//      ├──answer() says finished── lost <──lose()── any                           │      │
//      deferred <──────────────────────────move()─────────────────────────────────┴──────┘
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/deferred_begin.hpp"
#include "protocol/lost_transaction.hpp"
#include "protocol/portals.hpp"

namespace holdfast::protocol {

class Block {
 public:
  enum class State : std::uint8_t { idle, deferred, opening, open, failed, lost };

  [[nodiscard]] State state() const { return state_; }
  // 'I', 'T' or 'E'.
  [[nodiscard]] char status() const;

  // ---- a BEGIN that no server has seen
  // True: the BEGIN is answered (appended to `out`). False: it needs a server.
  [[nodiscard]] bool defer(std::string_view text, const sql::Verdict& verdict, std::vector<std::byte>& out);
  // True: this was COMMIT or ROLLBACK of a block that is still empty, and it is answered. False: it was something else.
  [[nodiscard]] bool end(const sql::Verdict& verdict, std::vector<std::byte>& out);
  // The verdict for the router: the first statement's own or, if a BEGIN is deferred, that of the whole block.
  [[nodiscard]] sql::Verdict judged(const sql::Verdict& first, bool read_only_by_default) const {
    return state_ == State::deferred ? begin_.of_block(first, read_only_by_default) : first;
  }
  // What goes to the server in front of the block's first statement.
  struct Opening {
    std::size_t statements = 0;  // Parse, Bind, Execute and Close for each
    bool snapshot = false;       // a Parse, behind which SET TRANSACTION fails as it does behind a query
    bool fails = false;          // a Describe that fails, and a Sync
  };
  // Appends it: the BEGIN, and if the block moves, what makes it again what it was.
  [[nodiscard]] Opening open(std::uint32_t cookie, std::vector<std::byte>& out);
  // Whether the answer with this cookie belongs to the BEGIN that was sent.
  [[nodiscard]] bool owns(std::uint32_t cookie) const { return state_ == State::opening && begin_.owns(cookie); }
  // The server refused that BEGIN: the server is given up, and the client is told this error.
  void begin_refused(Error error) { begin_error_ = std::move(error); }
  // The unit in flight runs again on another server: the BEGIN goes there with it.
  void take_back();
  // The first statement was refused before any server had it: the deferred BEGIN is dropped.
  void abandon();

  // ---- on a server
  // The client was linked to a server, the first or another one.
  void linked() { portals_ = {}; }
  // A ReadyForQuery for the client came. `idle`: nothing is in flight behind it.
  void ready(char status, bool idle);
  [[nodiscard]] Portals& portals() { return portals_; }
  // A BEGIN of the client's own goes to its server.
  void passes(std::string_view text, const sql::Verdict& verdict);
  // A SET TRANSACTION READ ONLY goes to the server, before runs() is told.
  void makes_read_only(std::string_view text) {
    kept_ = state_ == State::opening && plain_ && !queried_ && begin_.keep_modes(text);
  }
  // A statement goes to the server.
  void runs(const sql::Verdict& verdict) {
    if (state_ == State::failed) return;
    if (!is_plain_read(verdict)) plain_ = verdict.makes_read_only && std::exchange(kept_, false);
    if (verdict.access == sql::Access::read && verdict.control == sql::TransactionControl::none) queried_ = true;
  }
  // A statement is parsed on the server, which takes a snapshot for a query (exec_parse_message,
  // src/backend/tcop/postgres.c).
  void parses(const sql::Verdict& verdict) {
    const bool query = verdict.access == sql::Access::read && verdict.effects == sql::Effect::none;
    if (query && verdict.control == sql::TransactionControl::none) queried_ = true;
  }
  // Whether a block that may move could do so behind this unit as well, or is over then. Also for the first unit of a
  // block whose BEGIN is deferred, or that has the BEGIN itself.
  [[nodiscard]] bool stays_plain(const sql::Verdict& unit) const;
  // The block has failed, and this unit, with nothing in flight in front of it, has no effect at all.
  [[nodiscard]] bool refuses(const sql::Verdict& unit) const;
  // The block could go on with another member as if nothing had been: only plain reads have run in it, each with a
  // snapshot of its own, and nothing waits for further rows.
  [[nodiscard]] bool may_move() const {
    return (state_ == State::open || state_ == State::failed) && plain_ && !portals_.any_named();
  }
  // … and so could the unit in flight with it, if that is a proven read.
  [[nodiscard]] bool may_run_again() const { return state_ == State::open && may_move(); }
  // Its server was given up between two statements: it begins once more with the next one, as it is.
  void move();

  // ---- without its server
  // The server is lost and the client must be told: appends what it is owed at once. `error`: tells of the loss.
  void lose(const Loss& loss, const Error& error, LostTransaction::Message message, std::vector<std::byte>& out);
  // As LostTransaction::rest_came().
  void rest_came(std::vector<std::byte>& out);
  // As LostTransaction::client(); Execute and Describe take the `control` of the last Bind. Only while lost.
  LostTransaction::Step answer(char tag, Bytes body, sql::TransactionControl control, std::vector<std::byte>& out);
  [[nodiscard]] bool lost() const { return state_ == State::lost; }
  // The client is in a block, or has to end a batch that is lost: no transaction of its may idle here for ever.
  [[nodiscard]] bool in_transaction() const { return lost() || status() != 'I'; }
  // If the BEGIN was refused: the error that the client is told instead of the loss.
  [[nodiscard]] std::optional<Error> take_begin_error() { return std::exchange(begin_error_, std::nullopt); }

 private:
  [[nodiscard]] static bool is_plain_read(const sql::Verdict& verdict) {
    using Control = sql::TransactionControl;
    if (verdict.statements == 1 && (verdict.control == Control::begin || verdict.control == Control::begin_read_only)) {
      return true;  // passes() has seen it, or the server will say that there is a block already
    }
    const bool ends = (verdict.control == Control::commit || verdict.control == Control::rollback) && !verdict.chains;
    return verdict.access != sql::Access::write && verdict.effects == sql::Effect::none && !verdict.bends_block &&
           (verdict.control == Control::none || ends);
  }
  void after(LostTransaction::Step step);

  DeferredBegin begin_;
  Portals portals_;
  std::optional<LostTransaction> lost_;
  std::optional<Error> begin_error_;
  sql::TransactionControl bound_ = sql::TransactionControl::none;  // of the last Bind while lost
  State state_ = State::idle;
  bool plain_ = false;           // since its BEGIN, whose text is known, only plain reads have run
  bool queried_ = false;         // something has run, or was parsed, for which the server takes a snapshot
  bool queried_before_ = false;  // … before the unit that the BEGIN went out with
  bool fails_ = false;           // it had failed before it moved
  bool kept_ = false;            // the SET TRANSACTION that runs next is kept with the BEGIN
};

[[nodiscard]] const char* name_of(Block::State state);

}  // namespace holdfast::protocol
