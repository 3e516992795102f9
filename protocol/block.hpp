// A client's transaction block as the client sees it, with a server or without one.
//
// Task: a BEGIN that is deferred (deferred_begin), the block on a server, its portals, and the rest of a block whose
// server is lost (lost_transaction). status() is the one truth for every ReadyForQuery of our own and for the idle
// deadlines. Owner: the client's session. Thread: any one; no locks. Lifetime: the session's.
//
//            defer()               open()             ready('T'), ready('E')
//     idle ───────────> deferred ──────────> opening ────────────────────────> open ⇄ failed
//      ^  ^───end()──────┘   ^───take_back()───┘                                  │      │
//      │  ^──abandon()───────┘                                                    │      │
//      ├───────────────────────────────ready('I')─────────────────────────────────┴──────┘
//      └──answer() says finished── lost <──lose()── any
#pragma once

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
  // False: this BEGIN needs a server. Else it is answered (appended to `out`).
  [[nodiscard]] bool defer(std::string_view text, const sql::Verdict& verdict, std::vector<std::byte>& out);
  // COMMIT or ROLLBACK of a block that is still empty; false: not that.
  [[nodiscard]] bool end(const sql::Verdict& verdict, std::vector<std::byte>& out);
  // What the router judges: the first statement's own verdict, or that of the block that it begins.
  [[nodiscard]] sql::Verdict judged(const sql::Verdict& first, bool read_only_by_default) const {
    return state_ == State::deferred ? begin_.of_block(first, read_only_by_default) : first;
  }
  // The block's first statement goes to a server: the BEGIN in front of it.
  void open(std::uint32_t cookie, std::vector<std::byte>& out);
  // Does the answer under this cookie belong to the BEGIN that was sent?
  [[nodiscard]] bool owns(std::uint32_t cookie) const { return state_ == State::opening && begin_.owns(cookie); }
  // The server refused that BEGIN: its connection is given up, and this is what the client is told.
  void begin_refused(Error error) { begin_error_ = std::move(error); }
  // The server is lost and the first statement goes to another one, with the BEGIN.
  void take_back();
  // The first statement was refused before any server had it: the block has failed or never was.
  void abandon();

  // ---- on a server
  // It is another one than before, or the first.
  void linked() { portals_ = {}; }
  // A ReadyForQuery of the client's. `idle`: nothing is in flight behind it.
  void ready(char status, bool idle);
  [[nodiscard]] Portals& portals() { return portals_; }

  // ---- without its server
  // The server is lost with something to tell: appends what is owed at once. `error`: the loss's own.
  void lose(const Loss& loss, const Error& error, std::vector<std::byte>& out);
  // As LostTransaction::client(); `control` of Execute and Describe is that of the last Bind. Only while lost.
  LostTransaction::Step answer(char tag, Bytes body, sql::TransactionControl control, std::vector<std::byte>& out);
  [[nodiscard]] bool lost() const { return state_ == State::lost; }
  // What the client is told of its loss instead, if its BEGIN was refused.
  [[nodiscard]] std::optional<Error> take_begin_error() { return std::exchange(begin_error_, std::nullopt); }

 private:
  DeferredBegin begin_;
  Portals portals_;
  std::optional<LostTransaction> lost_;
  std::optional<Error> begin_error_;
  sql::TransactionControl bound_ = sql::TransactionControl::none;  // of the last Bind while lost
  State state_ = State::idle;
};

[[nodiscard]] const char* name_of(Block::State state);

}  // namespace holdfast::protocol
