// A password's key (PBKDF2), derived on the key service's thread and awaited on a worker's.
// Thread: the worker's. Lifetime: it may be destroyed before the service is done: then the result is dropped.
#pragma once

#include <coroutine>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "protocol/client_errors.hpp"
#include "proxy/base/key_service.hpp"
#include "proxy/io/reactor.hpp"

namespace holdfast::proxy {

class Derivation {
 public:
  using Key = Result<protocol::scram::Key>;

  // Queues the request with the service. If the queue is full, done() returns 53300 at once.
  Derivation(Reactor& reactor, KeyService& service, std::string password, std::vector<std::byte> salt,
             std::uint32_t iterations)
      : reactor_(reactor), state_(std::make_shared<State>()) {
    state_->owner = this;
    const bool queued =
        service.derive(std::move(password), std::move(salt), iterations, [state = state_, &reactor](Key key) {
          reactor.post([state, key = std::move(key)]() mutable {
            if (state->owner != nullptr) state->owner->end(std::move(key));
          });
        });
    if (!queued) key_ = std::unexpected(protocol::told(protocol::Tell::too_many_log_ins));
  }
  Derivation(const Derivation&) = delete;
  Derivation& operator=(const Derivation&) = delete;
  ~Derivation() { state_->owner = nullptr; }

  struct Awaiter {
    Derivation& derivation;
    [[nodiscard]] bool await_ready() const { return derivation.key_.has_value(); }
    void await_suspend(std::coroutine_handle<> handle) const { derivation.handle_ = handle; }
    Key await_resume() const { return std::move(*derivation.key_); }
  };
  [[nodiscard]] Awaiter done() { return {*this}; }
  // The deadline has expired: done() returns that as an error.
  void give_up() { end(std::unexpected(protocol::told(protocol::Tell::log_in_timed_out))); }

 private:
  struct State {
    Derivation* owner = nullptr;
  };
  void end(Key key) {
    if (key_) return;
    key_ = std::move(key);
    if (auto handle = std::exchange(handle_, {})) reactor_.schedule(handle);
  }

  Reactor& reactor_;
  std::shared_ptr<State> state_;
  std::optional<Key> key_;
  std::coroutine_handle<> handle_;
};

}  // namespace holdfast::proxy
