// Lets one coroutine wait for another's progress. Thread: the worker's.
#pragma once

#include <coroutine>
#include <utility>

#include "proxy/io/reactor.hpp"

namespace holdfast::proxy {

class Signal {
 public:
  struct Awaiter {
    Signal& signal;
    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) const { signal.handle_ = handle; }
    void await_resume() const {}
  };
  // Waits until the next notify().
  [[nodiscard]] Awaiter next() { return {*this}; }
  [[nodiscard]] bool awaited() const { return static_cast<bool>(handle_); }
  // True: a coroutine waited.
  bool notify(Reactor& reactor) {
    auto handle = std::exchange(handle_, {});
    if (handle) reactor.schedule(handle);
    return static_cast<bool>(handle);
  }

 private:
  std::coroutine_handle<> handle_;
};

}  // namespace holdfast::proxy
