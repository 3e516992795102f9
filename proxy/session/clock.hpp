// A client's one deadline: log-in, query, the rest of a message that a server waits for in vain, idle in a transaction,
// or idle. One at a time, and named.
#pragma once

#include <cstdint>

#include "proxy/io/reactor.hpp"

namespace holdfast::proxy {

class ClientClock {
 public:
  enum class Kind : std::uint8_t { none, log_in, query, rest, in_transaction, idle };

  ClientClock(Reactor& reactor, void (*action)(void*), void* context) : reactor_(reactor), deadline_(action, context) {}

  void arm(Kind kind, TimePoint::duration after) {
    kind_ = kind;
    reactor_.deadlines().arm(deadline_, reactor_.now() + after);
  }
  void disarm() { deadline_.disarm(); }
  // The client did something: it is not idle.
  void active() {
    if (deadline_.armed() && (kind_ == Kind::in_transaction || kind_ == Kind::idle)) deadline_.disarm();
  }
  [[nodiscard]] bool runs() const { return deadline_.armed(); }
  [[nodiscard]] bool runs(Kind kind) const { return deadline_.armed() && kind_ == kind; }
  // Of the deadline that is armed, or has just expired.
  [[nodiscard]] Kind kind() const { return kind_; }

 private:
  Reactor& reactor_;
  Deadline deadline_;
  Kind kind_ = Kind::none;
};

}  // namespace holdfast::proxy
