// May this unit run again? Promise 1, nothing runs twice, is decided here and nowhere else. (How often, and when:
// repeats.)
//
// Task: keeps the first unit that a client sends to a server as it came, for as long as it may have to be sent again,
// and says whether it may. Owner: the conversation of a client with one server. Thread: any one; no locks. Lifetime:
// from the moment the server is taken until it is given back.
//
//   event      | meaning
//   began      | a unit's first message is composed for the server
//   record     | its bytes, as the client sent them
//   sent       | some of it has gone to the server's socket
//   delivered  | part of its answer, or an answer of ours to a part of it, has been put out for the client
//   refused    | a standby said that it can't run it
//   lost       | the server's connection ended
//
//   none ──began──> unsent ──sent──> recording ──refused──> refused ──┐
//                     │ │                │  └──────lost───> lost      │ each is final: the server is given back and
//                     │ │                │                            │ the unit, if it may run again, is put in front
//                     │ └─delivered,   ──┤ delivered, too long,       │ of what the client sent since
//                     │   sent and may   │ another unit behind it     │
//                     │   write          v                            │
//                     │               spoiled <───────────────────────┘ a loss that proves nothing
//                     └─another unit behind it: still unsent, and spoiled once sent; lost: lost
//
//   once_more(): from any state but the last two back to none.
//
//   state      | may run again                                      | because
//   unsent     | anything, on any server (take_back, lost)          | not one byte of it has left
//   recording  | a proven read in autocommit, if its server dies    | it changes nothing, nothing was passed on
//   refused    | a proven read in autocommit, on the primary        | the standby ran nothing, or rolled it back
//   spoiled    | never                                              | a part of its answer is out, or it may write
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"
#include "protocol/loss.hpp"
#include "protocol/spare_buffers.hpp"

namespace holdfast::protocol {

// An ErrorResponse to a message of the unit, and its circumstances.
struct Refusal {
  SqlState state;
  bool by_primary = false;     // no other member could run it
  bool replicas_only = false;  // `route: replica`: the client wants no primary
  char status = 'I';           // of the last ReadyForQuery: a block's first statement, whose BEGIN went along, has 'I'
  bool begins_again = false;   // the block that is open could begin again on the primary
  bool awaits_sync = false;    // the unit's Sync has not come: the client may be waiting for this very answer
  bool passed_on = false;      // this pass has put out something for the client already, or its names have changed

  // A conflict with WAL replay, which another member need not have.
  [[nodiscard]] bool conflict() const;
  // It may only lack DDL that it has not replayed yet. If the statement is wrong, the primary will say the same.
  [[nodiscard]] bool not_yet() const;
  // No standby will ever run statements of this shape. (Of the other two kinds it may run the next one.)
  [[nodiscard]] bool teaches() const;
  // One of the three: the standby ran nothing, or rolled back what it ran, and the primary may do better.
  [[nodiscard]] bool repeatable() const;
};

class Replay {
 public:
  enum class State : std::uint8_t { none, unsent, recording, spoiled, refused, lost };
  enum class Again : std::uint8_t { no, elsewhere, on_primary };
  enum class Repeatable : std::uint8_t { no, yes };

  // A longer unit is not kept: it may be taken back while unsent, but is never repeated.
  static constexpr std::size_t longest = 16 * 1024;

  explicit Replay(SpareBuffers& buffers) : buffers_(&buffers) {}
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;
  ~Replay() { buffers_->give(std::move(bytes_)); }

  // `may` is yes if the whole unit is a proven read that leaves nothing behind, outside a block or in one that could
  // begin again. Only the first unit on a server is kept, and the first one behind once_more(): a second call spoils
  // it.
  void began(Repeatable may);
  // All that was sent is answered, and the block that is open could begin again: its next unit is like the first one.
  void once_more() {
    if (state_ == State::refused || state_ == State::lost) return;
    state_ = State::none;
    passing_ = {};
    bytes_.clear();
  }
  // `bytes` stay where they are until the end of the pass: sent() or pass_ended().
  void record(Bytes bytes) {
    if (kept_ == Repeatable::no && state_ != State::unsent) return;
    if (!passing_.empty() && passing_.data() + passing_.size() == bytes.data()) {
      passing_ = {passing_.data(), passing_.size() + bytes.size()};
      return;
    }
    pass_ended();
    passing_ = bytes;
  }
  // Some of it was sent. What is needed of what was recorded is kept, before its memory is used for something else.
  void sent() {
    if (state_ == State::unsent) leave();
    pass_ended();
  }
  // Nothing was sent in this pass.
  void pass_ended() {
    if (!passing_.empty()) keep();
  }
  void delivered() {
    if (state_ == State::recording || state_ == State::unsent) state_ = State::spoiled;
  }
  // True: the rest of the unit's answers must be swallowed (swallowing()), and it runs again on the primary.
  [[nodiscard]] bool refused(const Refusal& refusal);
  // `cut`: the unit must not run again, whatever `loss` says: only part of a message had been sent, for example.
  void lost(const Loss& loss, bool cut);
  // The send failed as a whole. True: the client's bytes may be shown again as if they had just come: bytes(), and
  // behind them passing(), which lies where it was received.
  [[nodiscard]] bool take_back() const { return state_ == State::unsent; }
  [[nodiscard]] Bytes passing() const { return passing_; }

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] bool swallowing() const { return state_ == State::refused; }
  [[nodiscard]] Again again() const;
  // The unit as the client sent it: what to send if again() allows it.
  [[nodiscard]] Bytes bytes() const { return bytes_; }

 private:
  void keep();
  void leave();

  SpareBuffers* buffers_;
  Bytes passing_;  // recorded in this pass and not kept yet
  std::vector<std::byte> bytes_;
  State state_ = State::none;
  Repeatable kept_ = Repeatable::no;
  bool refused_first_ = false;  // in State::lost: a standby had refused it before
};

[[nodiscard]] const char* name_of(Replay::State state);

}  // namespace holdfast::protocol
