// The proxy's own errors that wait for their turn among the server's answers, found by the cookie of the message that
// was sent to fail on the server (Origin::failing).
//
// Bounded: a client that pipelines more than `most` of them is not read until some have been answered. Nothing is kept
// for a message that the server skips: it has no answer. Owner: a conversation. Thread: any one; no locks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "protocol/error.hpp"
#include "protocol/invariant.hpp"

namespace holdfast::protocol {

class PendingErrors {
 public:
  static constexpr std::size_t most = 64;

  [[nodiscard]] bool full() const { return waiting_.size() >= most; }
  [[nodiscard]] bool empty() const { return waiting_.empty(); }
  // Only for a message that is in flight, and not when full().
  void add(std::uint32_t cookie, Error error) {
    if (holds(!full(), "more errors of our own wait than may")) waiting_.emplace_back(cookie, std::move(error));
  }
  // The server failed at this message: what the client is told instead. None: an earlier error took the message along.
  [[nodiscard]] std::optional<Error> take(std::uint32_t cookie) {
    for (auto it = waiting_.begin(); it != waiting_.end(); ++it) {
      if (it->first != cookie) continue;
      Error error = std::move(it->second);
      waiting_.erase(it);
      return error;
    }
    return std::nullopt;
  }
  // The message was dropped because of an earlier error: it will never be answered.
  void drop(std::uint32_t cookie) {
    if (!waiting_.empty()) static_cast<void>(take(cookie));
  }

 private:
  std::vector<std::pair<std::uint32_t, Error>> waiting_;
};

}  // namespace holdfast::protocol
