// May this unit run again? The whole of promise 1, nothing runs twice, stands here.
//
// Task: keeps the first unit that a client sends to a server as it came, for as long as it may have to be sent again,
// and says whether it may. Owner: the conversation of a client with one server. Thread: any one; no locks. Lifetime:
// from the moment the server was taken until it is given back.
//
//   began         the unit's first message is composed for the server          record   its bytes, as the client sent them
//   sent          some of it has gone to the server's socket
//   delivered     something of its answer, or an answer of the proxy's own to a part of it, is for the client
//   refused       a standby said that it can't run it                          lost     the server's connection ended
//
//   none ──began──> unsent ──sent──> recording ──refused──> refused ──┐
//                     │  │               │  └──────lost───> lost      │ each is final: the server is given back and the
//                     │  └──delivered─┐  │ delivered, too long,       │ unit, if it may run again, is put in front of
//                     │               │  │ another unit               │ what the client sent since
//                     │ may write      v  v                           │
//                     └────sent────> spoiled <────────────────────────┘ (a loss that proves nothing: spoiled)
//
// | state     | may run again                                             | because                                     |
// |-----------|-----------------------------------------------------------|---------------------------------------------|
// | unsent    | anything, on any server (take_back)                       | not one byte of it has left                 |
// | recording | a proven read in autocommit, when its server dies         | it changes nothing, and nothing was passed on |
// | refused   | a proven read in autocommit, on the primary               | the standby ran nothing of it               |
// | spoiled   | never                                                     | somebody has seen a part of it, or it may write |
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"
#include "protocol/loss.hpp"
#include "protocol/spare_buffers.hpp"

namespace holdfast::protocol {

// An ErrorResponse to something of the unit, and what surrounds it.
struct Refusal {
  SqlState state;
  bool by_primary = false;     // then there is nobody else to ask
  bool replicas_only = false;  // `route: replica`: the client wants no primary
  char status = 'I';           // of the last ReadyForQuery
  bool block_opening = false;  // the BEGIN that was deferred went along: the block is on this standby
  bool awaits_sync = false;    // the unit's Sync has not come: the client may wait for this very answer first
  bool passed_on = false;      // something of this pass is for the client already, or its names have changed

  // A conflict with replay, which another member need not have; the text itself may stay on replicas.
  [[nodiscard]] bool conflict() const;
  // A state by which a standby says that it ran nothing, or rolled back what it ran.
  [[nodiscard]] bool repeatable() const;
};

class Replay {
 public:
  enum class State : std::uint8_t { none, unsent, recording, spoiled, refused, lost };
  enum class Again : std::uint8_t { no, elsewhere, on_primary };
  enum class Repeatable : std::uint8_t { no, yes };

  // A longer unit is not kept: it may be taken back while unsent, and never repeated.
  static constexpr std::size_t longest = 16 * 1024;

  explicit Replay(SpareBuffers& buffers) : buffers_(&buffers) {}
  Replay(const Replay&) = delete;
  Replay& operator=(const Replay&) = delete;
  ~Replay() { buffers_->give(std::move(bytes_)); }

  // `may`: the router's verdict of the whole unit: a proven read, outside a block, that leaves nothing behind. Only the
  // first unit on a server is ever kept: behind it this spoils.
  void began(Repeatable may);
  // `bytes` stay where they are until the end of the pass: pass_ended().
  void record(Bytes bytes) {
    if (kept_ == Repeatable::no) return;
    if (!passing_.empty() && passing_.data() + passing_.size() == bytes.data()) {
      passing_ = {passing_.data(), passing_.size() + bytes.size()};
      return;
    }
    pass_ended();
    passing_ = bytes;
  }
  // What was recorded is kept, before the memory that it lies in is used for something else.
  void pass_ended() {
    if (!passing_.empty()) keep();
  }
  void sent() {
    pass_ended();
    if (state_ == State::unsent) state_ = kept_ == Repeatable::yes ? State::recording : State::spoiled;
  }
  void delivered() {
    if (state_ == State::recording || state_ == State::unsent) state_ = State::spoiled;
  }
  // True: the rest of its answers must be swallowed (swallowing()), and it runs again on the primary.
  [[nodiscard]] bool refused(const Refusal& refusal);
  // `cut`: half a message of the client's has gone to the server that is lost.
  void lost(const Loss& loss, bool cut);
  // The send failed as a whole. True: the client's bytes may be shown again as if they had just come.
  [[nodiscard]] bool take_back() const { return state_ == State::unsent; }

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] bool swallowing() const { return state_ == State::refused; }
  [[nodiscard]] Again again() const;
  // The unit as the client sent it; what again() allows to be sent.
  [[nodiscard]] Bytes bytes() const { return bytes_; }

 private:
  void keep();

  SpareBuffers* buffers_;
  Bytes passing_;  // recorded in this pass and not kept yet
  std::vector<std::byte> bytes_;
  State state_ = State::none;
  Repeatable kept_ = Repeatable::no;
  bool refused_first_ = false;  // of State::lost: a standby had refused it before
};

[[nodiscard]] const char* name_of(Replay::State state);

}  // namespace holdfast::protocol
