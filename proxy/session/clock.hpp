// A client's one deadline: for the log-in, a query, the rest of a message that its server waits for, progress of a message
// that has begun, idle in a transaction, or idle. Only one is armed at a time, and it has a kind.
#pragma once

#include <cstdint>

#include "proxy/io/reactor.hpp"

namespace holdfast::proxy {

class ClientClock {
 public:
  enum class Kind : std::uint8_t { none, log_in, query, rest, message, batch, in_transaction, idle };

  ClientClock(Reactor& reactor, void (*action)(void*), void* context) : reactor_(reactor), deadline_(action, context) {}

  void arm(Kind kind, TimePoint::duration after) {
    kind_ = kind;
    reactor_.deadlines().arm(deadline_, reactor_.now() + after);
  }
  void disarm() { deadline_.disarm(); }
  // The client has sent something: it is not idle.
  void active() {
    if (deadline_.armed() && (kind_ == Kind::in_transaction || kind_ == Kind::idle)) deadline_.disarm();
  }
  [[nodiscard]] bool runs() const { return deadline_.armed(); }
  [[nodiscard]] bool runs(Kind kind) const { return deadline_.armed() && kind_ == kind; }
  // A deadline of this kind was the last, and is over.
  [[nodiscard]] bool expired(Kind kind) const { return !deadline_.armed() && kind_ == kind; }
  void forget(Kind kind) {
    if (kind_ != kind) return;
    deadline_.disarm();
    kind_ = Kind::none;
  }
  // The kind of the deadline that is armed or has just expired.
  [[nodiscard]] Kind kind() const { return kind_; }

 private:
  Reactor& reactor_;
  Deadline deadline_;
  Kind kind_ = Kind::none;
};

}  // namespace holdfast::proxy
