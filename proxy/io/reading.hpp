// A long statement that is read on the parse service's thread and awaited on a worker's.
// Thread: the worker's. Lifetime: it may be destroyed before the service is done: then the verdict is dropped.
#pragma once

#include <coroutine>
#include <memory>
#include <optional>
#include <utility>

#include "protocol/sql/classify.hpp"
#include "proxy/base/parse_service.hpp"
#include "proxy/io/reactor.hpp"

namespace holdfast::proxy {

class Reading {
 public:
  using Verdict = protocol::sql::Verdict;

  // How long a client waits for the verdict. Then the text counts as unread, which is always safe.
  static constexpr std::chrono::seconds longest_wait{1};

  // Puts the text in the service's line. If that is full, done() is unseen_verdict at once.
  Reading(Reactor& reactor, ParseService& service, protocol::sql::LongText text)
      : reactor_(reactor), hash_(text.hash), state_(std::make_shared<State>()), deadline_(&Reading::on_deadline, this) {
    state_->owner = this;
    const bool queued = service.judge(std::move(text), [state = state_, &reactor](const Verdict& verdict) {
      reactor.post([state, verdict] {
        if (state->owner != nullptr) state->owner->end(verdict, true);
      });
    });
    if (!queued) {
      give_up();
    } else {
      reactor_.deadlines().arm(deadline_, reactor_.now() + longest_wait);
    }
  }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;
  ~Reading() { state_->owner = nullptr; }

  struct Awaiter {
    Reading& reading;
    [[nodiscard]] bool await_ready() const { return reading.verdict_.has_value(); }
    void await_suspend(std::coroutine_handle<> handle) const { reading.handle_ = handle; }
    void await_resume() const {}
  };
  [[nodiscard]] Awaiter done() { return {*this}; }
  // Nobody waits any more, or not for longer.
  void give_up() { end(protocol::sql::unseen_verdict, false); }

  // Behind done():
  [[nodiscard]] const Verdict& verdict() const { return *verdict_; }
  // What it can be remembered by; none if it was given up, or the text has no hash.
  [[nodiscard]] const std::optional<protocol::sql::ShapeHash>& hash() const { return hash_; }

 private:
  struct State {
    Reading* owner = nullptr;
  };
  static void on_deadline(void* self) { static_cast<Reading*>(self)->give_up(); }
  void end(const Verdict& verdict, bool read) {
    if (verdict_) return;
    verdict_ = verdict;
    if (!read) hash_.reset();
    deadline_.disarm();
    if (auto handle = std::exchange(handle_, {})) reactor_.schedule(handle);
  }

  Reactor& reactor_;
  std::optional<protocol::sql::ShapeHash> hash_;
  std::shared_ptr<State> state_;
  std::optional<Verdict> verdict_;
  std::coroutine_handle<> handle_;
  Deadline deadline_;
};

}  // namespace holdfast::proxy
