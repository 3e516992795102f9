// One thread's event loop: edge-triggered epoll, coroutines resumed inline, a deadline wheel, messages from other
// threads.
//
// Why not Asio here: a forwarder on Asio's awaitables costs two more recv calls per round trip and an executor hop per
// wake-up, 4 % at 8 and 11 % at 64 connections (ARCHITECTURE.md has the figures). Control work stays on Asio.
// Thread: run() and everything else on the worker's thread; post() and stop() from any.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <coroutine>
#include <deque>
#include <functional>
#include <mutex>
#include <span>
#include <vector>

#include "health/freshness.hpp"
#include "proxy/io/blocks.hpp"
#include "proxy/io/wheel.hpp"

namespace holdfast::proxy {

using health::Clock;
using health::TimePoint;

class Link;
class Reactor;

// A socket as the reactor sees it: what is ready, and which coroutines wait for it. Registered once for both
// directions; the flags reflect the last events and system calls. One reader and two writers may wait at a time.
class Watch {
 public:
  Watch() = default;
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch();

  // Takes over a non-blocking socket. False if the kernel refuses (no memory or too many watches); then the fd is
  // closed.
  [[nodiscard]] bool attach(Reactor& reactor, int fd);
  // Gives the socket up without closing it: for a hand-over to another worker.
  int detach();
  void close();

  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] bool open() const { return fd_ >= 0; }
  // The peer closed its sending side, or the connection broke; data may still be there to read.
  [[nodiscard]] bool hung_up() const { return hung_up_; }
  [[nodiscard]] bool may_read() const { return readable_ || hung_up_; }
  void drained() { readable_ = false; }  // the last recv left nothing
  void blocked() { writable_ = false; }  // the last send could not take everything

  // `hook` is called once from the loop when the peer hangs up while no coroutine reads, e.g. a client that waits for a
  // server.
  void on_hangup(void (*hook)(void*), void* context) {
    hook_ = hook;
    hook_context_ = context;
  }

  struct ReadAwaiter {
    Watch& watch;
    [[nodiscard]] bool await_ready() const { return watch.may_read() || !watch.open(); }
    bool await_suspend(std::coroutine_handle<> handle) const { return watch.wait_to_read(handle); }
    void await_resume() const {}
  };
  // Two may wait to write: a server's reader, which passes on answers, and the session with messages of its own.
  struct WriteAwaiter {
    Watch& watch;
    [[nodiscard]] bool await_ready() const { return watch.writable_ || !watch.open(); }
    bool await_suspend(std::coroutine_handle<> handle) const { return watch.wait_to_write(handle); }
    void await_resume() const {}
  };
  [[nodiscard]] ReadAwaiter readable() { return {*this}; }
  [[nodiscard]] WriteAwaiter writable() { return {*this}; }
  // Wakes the reader although nothing came, so that it checks what has changed.
  void wake_reader();
  // The same for those that wait to write.
  void wake_writers();

 private:
  friend class Reactor;
  void deliver(std::uint32_t events);
  // False: too many coroutines wait already; the connection is closed, and the caller must not suspend.
  bool wait_to_read(std::coroutine_handle<> handle);
  bool wait_to_write(std::coroutine_handle<> handle);

  Reactor* reactor_ = nullptr;
  std::coroutine_handle<> reader_;
  std::array<std::coroutine_handle<>, 2> writers_;
  void (*hook_)(void*) = nullptr;
  void* hook_context_ = nullptr;
  int fd_ = -1;
  bool readable_ = false;
  bool writable_ = true;
  bool hung_up_ = false;
};

// What one connection may use of a turn before the others have theirs: bytes received and messages processed. It
// spreads a stream that never runs dry (Syncs, empty blocks, rows of a large result) over several turns.
class Budget {
 public:
  // In bytes; each message counts as four kilobytes, whatever its length.
  static constexpr std::int64_t share = 256 * 1024;
  static constexpr std::int64_t message = 4 * 1024;

  void spend_bytes(std::size_t count) { left_ -= static_cast<std::int64_t>(count); }
  void spend_message() { left_ -= message; }
  [[nodiscard]] bool spent() const { return left_ <= 0; }
  // The connection has waited, for its peer or for the next turn.
  void renew() { left_ = share; }

 private:
  std::int64_t left_ = share;
};

class Reactor {
 public:
  Reactor();
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // Runs until stop(). A turn: wait, read the clock once, deliver events, run what was scheduled, expire deadlines. A
  // connection that has used up its share of a turn (Budget) goes on in the next one.
  void run();
  void stop();

  // From any thread: `work` runs on the loop's thread, in order of posting. `vital`: also while the loop stands still.
  enum class Work : std::uint8_t { usual, vital };
  void post(std::function<void()> work, Work kind = Work::usual);
  // Resumes a coroutine later in this turn: keeps chains of wake-ups off the stack.
  void schedule(std::coroutine_handle<> handle) { scheduled_.push_back(handle); }
  // co_await reactor.next_turn(): lets all other ready coroutines run, and deadlines expire, before the caller goes on.
  struct NextTurn {
    Reactor& reactor;
    [[nodiscard]] bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> handle) const {
      reactor.next_turn_.push_back(handle);
      reactor.carried_over_ = true;
    }
    void await_resume() const {}
  };
  [[nodiscard]] NextTurn next_turn() { return {*this}; }

  // The loop stood still for longer than `longest_stall`: the process was stopped, or its machine. `hook` is called before
  // anything that came meanwhile is looked at; then only vital work is done, no coroutine runs and no deadline expires,
  // until go_on() or, for want of that, `patience` has passed: then `hook` is called once more. Needs a deadline that is
  // armed at all times.
  enum class Stall : std::uint8_t { seen, given_up };
  static constexpr std::chrono::seconds longest_stall{1};
  void on_stall(void (*hook)(void* context, Stall stall, TimePoint now), void* context,
                std::chrono::milliseconds patience = std::chrono::seconds(10)) {
    stall_hook_ = hook;
    stall_context_ = context;
    stall_patience_ = patience;
  }
  void go_on() { standing_still_ = false; }

  // The moment at which this turn began.
  [[nodiscard]] TimePoint now() const { return now_; }
  // For tests, which set the time by hand; run() reads the clock.
  void set_now(TimePoint now) { now_ = now; }
  [[nodiscard]] DeadlineWheel& deadlines() { return deadlines_; }
  [[nodiscard]] Blocks& blocks() { return blocks_; }
  // Memory that links receive into, one at a time: the link whose bytes lie there moves them out (Link::keep_rest)
  // before the next one gets it, so that no link's received() changes unnoticed. forget_scratch(): the link is
  // destroyed.
  [[nodiscard]] std::span<std::byte> scratch(Link& link);
  void forget_scratch(const Link& link) {
    if (scratch_user_ == &link) scratch_user_ = nullptr;
  }

 private:
  friend class Watch;
  void forget(Watch* watch);
  void arm_timer();
  void run_posted();
  void take_posted();
  void run_scheduled();
  void run_carried_over();
  [[gnu::cold]] void stand_still();

  static constexpr std::size_t scratch_size = 64 * 1024;
  // How many messages from other threads are processed in one turn: a storm of log-ins is spread over several.
  static constexpr std::size_t most_posted = 32;

  int epoll_ = -1;
  int wake_ = -1;
  int timer_ = -1;
  TimePoint timer_at_ = DeadlineWheel::never();  // when the timer fires
  TimePoint now_;
  DeadlineWheel deadlines_;
  std::array<epoll_event, 256> events_{};
  int event_count_ = 0;
  std::vector<std::coroutine_handle<>> scheduled_;
  std::vector<std::coroutine_handle<>> running_;
  std::vector<std::coroutine_handle<>> next_turn_;
  std::vector<std::coroutine_handle<>> this_turn_;  // those of next_turn_ that are being resumed
  bool carried_over_ = false;                       // next_turn_ or taken_ has something: the loop must not sleep
  std::vector<std::byte> scratch_;
  Link* scratch_user_ = nullptr;
  Blocks blocks_;
  void (*stall_hook_)(void*, Stall, TimePoint) = nullptr;
  void* stall_context_ = nullptr;
  std::chrono::milliseconds stall_patience_{};
  bool standing_still_ = false;
  std::atomic<bool> stopping_{false};
  std::mutex posted_mutex_;
  struct Posted {
    std::function<void()> work;
    Work kind = Work::usual;
  };
  std::vector<Posted> posted_;
  std::deque<Posted> taken_;  // taken from posted_ and left for the next turns
};

}  // namespace holdfast::proxy
