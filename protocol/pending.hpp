// Operations whose messages are in flight: what must be known to undo them.
//
// Task: a FIFO that keeps no memory of its own while it is empty; its nodes come from a pool shared by all of a
// worker's connections. Owner: ClientStatements and ServerStatements. Thread: the worker's. The pool outlives the
// queues.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>

#include "protocol/invariant.hpp"
#include "protocol/statement_table.hpp"

namespace holdfast::protocol {

// The outcome of a message.
enum class Outcome : std::uint8_t {
  completed,  // its answer came (or, for a message answered by the proxy, the answer's turn came)
  failed,     // the server ran it and answered ErrorResponse
  skipped,    // it never ran: an earlier error in its batch, or a broken connection
};

// One operation in flight, on a client's names (uses name, before) or on a server's statements (kind, statement).
struct Pending {
  enum class Kind : std::uint8_t { name, unnamed, add, remove };

  Pending* next = nullptr;
  std::uint32_t cookie = 0;
  Kind kind = Kind::name;
  std::string name;        // Kind::name: the client's name
  StatementRef before;     // on a client's names: the statement before
  StatementRef statement;  // on a server's statements: which one
};

class PendingPool {
 public:
  PendingPool() = default;
  PendingPool(const PendingPool&) = delete;
  PendingPool& operator=(const PendingPool&) = delete;
  ~PendingPool();

  [[nodiscard]] Pending* take();
  void give(Pending* node);
  [[nodiscard]] std::size_t in_use() const { return in_use_; }

 private:
  static constexpr std::size_t kept = 1024;  // nodes kept for reuse
  Pending* free_ = nullptr;
  std::size_t free_count_ = 0;
  std::size_t in_use_ = 0;
};

// How far the order of settling is checked: a release build must not walk a deep pipeline for every message.
inline constexpr std::size_t depth_checked = checks_everything ? std::numeric_limits<std::size_t>::max() : 8;

class PendingQueue {
 public:
  explicit PendingQueue(PendingPool& pool) : pool_(&pool) {}
  PendingQueue(const PendingQueue&) = delete;
  PendingQueue& operator=(const PendingQueue&) = delete;
  ~PendingQueue() { clear(); }

  Pending& push();
  [[nodiscard]] Pending* front() const { return first_; }
  void pop();
  void clear();
  [[nodiscard]] bool empty() const { return first_ == nullptr; }
  // Does an operation under this cookie wait among the first `most`? For invariants.
  [[nodiscard]] bool contains(std::uint32_t cookie, std::size_t most) const {
    for (const Pending* node = first_; node != nullptr && most-- > 0; node = node->next)
      if (node->cookie == cookie) return true;
    return false;
  }

 private:
  PendingPool* pool_;
  Pending* first_ = nullptr;
  Pending* last_ = nullptr;
};

}  // namespace holdfast::protocol
