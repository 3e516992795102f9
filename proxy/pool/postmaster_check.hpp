// Asks a member's postmaster whether it takes sessions: a connection of its own that says a StartupMessage and hears the
// first answer (protocol/last_word). No log-in; milliseconds, and never longer than `longest`.
//
// One connection at a time for a member's pool: those who ask meanwhile share the next one, so that a thousand sessions
// that end together cost two. Owner: the MemberPool. Thread: the worker's. Lifetime: the pool's.
#pragma once

#include <chrono>
#include <coroutine>
#include <vector>

#include "protocol/last_word.hpp"
#include "proxy/io/reactor.hpp"
#include "proxy/io/task.hpp"

namespace holdfast::proxy {

class MemberPool;

class PostmasterCheck {
 public:
  static constexpr std::chrono::milliseconds longest{250};

  explicit PostmasterCheck(MemberPool& pool) : pool_(pool) {}
  PostmasterCheck(const PostmasterCheck&) = delete;
  PostmasterCheck& operator=(const PostmasterCheck&) = delete;

  // co_await check.ask(): the answer to a connection that was begun after this, or a refusal that was under way: a
  // server that goes down doesn't come back with its sessions.
  struct Question {
    PostmasterCheck& check;
    protocol::Postmaster answer = protocol::Postmaster::no_answer;
    std::coroutine_handle<> asker = {};
    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle);
    [[nodiscard]] protocol::Postmaster await_resume() const { return answer; }
  };
  [[nodiscard]] Question ask() { return {*this}; }
  // A session has ended without a word: asks again and again until `until`, and notes a refusal as a crash.
  void watch_for_crash(TimePoint until);
  // Its pool must stay.
  [[nodiscard]] bool running() const { return running_ || watching_; }

 private:
  Task<> run();
  Task<> watch();
  Task<protocol::Postmaster> connect();

  MemberPool& pool_;
  std::vector<Question*> waiting_;  // each lives in the frame of the coroutine that it suspends
  TimePoint watch_until_{};
  bool running_ = false;
  bool watching_ = false;
};

}  // namespace holdfast::proxy
