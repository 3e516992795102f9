#include "proxy/io/reactor.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "protocol/invariant.hpp"
#include "proxy/io/link.hpp"
#include "proxy/io/syscalls.hpp"

namespace holdfast::proxy {

// ---- Watch ----------------------------------------------------------------------------------------------------------

Watch::~Watch() {
  close();
}

bool Watch::attach(Reactor& reactor, int fd) {
  reactor_ = &reactor;
  fd_ = fd;
  // Assumed until a system call says otherwise: bytes may have come before the socket was registered.
  readable_ = true;
  writable_ = true;
  hung_up_ = false;
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
  event.data.ptr = this;
  if (::epoll_ctl(reactor.epoll_, EPOLL_CTL_ADD, fd, &event) == 0) return true;
  close();
  return false;
}

int Watch::detach() {
  const int fd = std::exchange(fd_, -1);
  if (fd < 0) return fd;
  ::epoll_ctl(reactor_->epoll_, EPOLL_CTL_DEL, fd, nullptr);
  reactor_->forget(this);
  return fd;
}

void Watch::close() {
  if (fd_ < 0) return;
  const int fd = std::exchange(fd_, -1);
  reactor_->forget(this);
  ::close(fd);  // also removes it from the epoll set: no other descriptor refers to the socket
  // The coroutines that waited find the watch closed.
  if (auto reader = std::exchange(reader_, {})) reactor_->schedule(reader);
  wake_writers();
}

bool Watch::wait_to_read(std::coroutine_handle<> handle) {
  if (!holds(!reader_, "two coroutines wait to read from one socket")) {
    close();
    return false;
  }
  reader_ = handle;
  return true;
}

bool Watch::wait_to_write(std::coroutine_handle<> handle) {
  for (auto& writer : writers_) {
    if (writer) continue;
    writer = handle;
    return true;
  }
  static_cast<void>(holds(false, "three coroutines wait to write to one socket"));
  close();
  return false;
}

void Watch::wake_reader() {
  if (auto reader = std::exchange(reader_, {})) reactor_->schedule(reader);
}

void Watch::wake_writers() {
  for (auto& writer : writers_) {
    if (writer) reactor_->schedule(std::exchange(writer, {}));
  }
}

void Watch::deliver(std::uint32_t events) {
  if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
    readable_ = true;
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) hung_up_ = true;
  }
  if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) writable_ = true;
  // Each resumption may close or destroy this watch: all handles are taken out first.
  if (writable_) wake_writers();
  const auto reader = may_read() ? std::exchange(reader_, {}) : std::coroutine_handle<>{};
  if (reader) {
    reader.resume();
  } else if (hung_up_ && hook_ != nullptr) {
    std::exchange(hook_, nullptr)(hook_context_);
  }
}

// ---- Reactor --------------------------------------------------------------------------------------------------------

Reactor::Reactor() : now_(Clock::now()), deadlines_(now_), scratch_(scratch_size) {
  epoll_ = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) throw std::system_error(errno, std::system_category(), "epoll_create1");
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_ < 0) throw std::system_error(errno, std::system_category(), "eventfd");
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  event.data.ptr = nullptr;
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, wake_, &event) != 0) {
    throw std::system_error(errno, std::system_category(), "epoll_ctl");
  }
  timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (timer_ < 0) throw std::system_error(errno, std::system_category(), "timerfd_create");
  event.data.ptr = &timer_;
  if (::epoll_ctl(epoll_, EPOLL_CTL_ADD, timer_, &event) != 0) {
    throw std::system_error(errno, std::system_category(), "epoll_ctl");
  }
}

Reactor::~Reactor() {
  if (timer_ >= 0) ::close(timer_);
  if (wake_ >= 0) ::close(wake_);
  if (epoll_ >= 0) ::close(epoll_);
}

std::span<std::byte> Reactor::scratch(Link& link) {
  if (scratch_user_ != &link) {
    if (scratch_user_ != nullptr) scratch_user_->keep_rest();
    scratch_user_ = &link;
  }
  return scratch_;
}

// One timer for all deadlines, set only when a deadline is due before the timer fires. Not epoll_wait's timeout: the
// kernel starts and cancels a timer in each wait that has one, which costs as much as a receive (measured: 0.25 µs of
// 2.8).
void Reactor::arm_timer() {
  const auto due = deadlines_.next_due();
  if (due >= timer_at_) return;  // firing too early does no harm
  const auto since_boot = std::max(due.time_since_epoch(), TimePoint::duration(1));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_boot);
  itimerspec when{};
  when.it_value.tv_sec = seconds.count();
  when.it_value.tv_nsec = std::chrono::nanoseconds(since_boot - seconds).count();
  if (::timerfd_settime(timer_, TFD_TIMER_ABSTIME, &when, nullptr) == 0) timer_at_ = due;
}

void Reactor::run() {
  while (!stopping_.load(std::memory_order_acquire)) {
    arm_timer();
    const int wait = scheduled_.empty() && !carried_over_ ? -1 : 0;
    event_count_ = sys::epoll_wait(epoll_, events_.data(), static_cast<int>(events_.size()), wait);
    now_ = Clock::now();
    // The timer should have woken it long ago.
    if (now_ - timer_at_ > longest_stall && stall_hook_ != nullptr) [[unlikely]]
      stand_still();
    if (event_count_ < 0) event_count_ = 0;  // EINTR: signals are handled elsewhere
    for (int i = 0; i < event_count_; ++i) {
      auto& event = events_[static_cast<std::size_t>(i)];
      if (event.data.ptr == &timer_) {
        timer_at_ = DeadlineWheel::never();  // advance() below does the rest
        continue;
      }
      auto* watch = static_cast<Watch*>(event.data.ptr);
      event.data.ptr = nullptr;
      if (watch != nullptr) {
        watch->deliver(event.events);
        run_scheduled();
      } else if (event.events != 0) {
        run_posted();
        run_scheduled();
      }
    }
    event_count_ = 0;
    if (carried_over_) [[unlikely]]
      run_carried_over();
    if (deadlines_.armed() > 0) deadlines_.advance(now_);
    run_scheduled();
  }
  do {
    run_posted();
    run_scheduled();
  } while (!taken_.empty());
}

// The events of this turn are kept meanwhile, but for those of sockets that are closed.
void Reactor::stand_still() {
  standing_still_ = true;
  stall_hook_(stall_context_, Stall::seen, now_);
  const TimePoint end = now_ + stall_patience_;
  for (;;) {
    take_posted();
    for (auto item = taken_.begin(); item != taken_.end();) {
      if (item->kind == Work::vital) {
        item->work();
        item = taken_.erase(item);
      } else {
        ++item;
      }
    }
    if (!standing_still_ || stopping_.load(std::memory_order_acquire)) break;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now());
    if (left.count() <= 0) {
      stall_hook_(stall_context_, Stall::given_up, Clock::now());
      break;
    }
    pollfd waited{.fd = wake_, .events = POLLIN, .revents = 0};
    ::poll(&waited, 1, static_cast<int>(left.count()));
  }
  if (!taken_.empty()) carried_over_ = true;
  standing_still_ = false;
  now_ = Clock::now();
}

// Processes what was left for this turn: messages, and the coroutines that asked for another turn; one that asks again
// waits for the next.
void Reactor::run_carried_over() {
  carried_over_ = false;
  if (!taken_.empty()) run_posted();
  this_turn_.swap(next_turn_);
  for (auto handle : this_turn_) {
    handle.resume();
    run_scheduled();
  }
  this_turn_.clear();
}

void Reactor::run_scheduled() {
  // Each coroutine may schedule more; those run in the next round, before the loop waits again.
  while (!scheduled_.empty()) {
    running_.swap(scheduled_);
    for (auto handle : running_) handle.resume();
    running_.clear();
  }
}

// What other threads have posted, behind what was left.
void Reactor::take_posted() {
  std::uint64_t count = 0;
  // Edge-triggered: the counter is read before the list is taken, so that no message is missed.
  [[maybe_unused]] const auto ignored = ::read(wake_, &count, sizeof count);
  std::vector<Posted> work;
  {
    const std::lock_guard lock(posted_mutex_);
    work.swap(posted_);
  }
  for (auto& item : work) taken_.push_back(std::move(item));
}

void Reactor::run_posted() {
  take_posted();
  for (std::size_t i = 0; i < most_posted && !taken_.empty(); ++i) {
    const auto item = std::move(taken_.front());
    taken_.pop_front();
    item.work();
    run_scheduled();
  }
  if (!taken_.empty()) carried_over_ = true;
}

void Reactor::post(std::function<void()> work, Work kind) {
  {
    const std::lock_guard lock(posted_mutex_);
    posted_.push_back({std::move(work), kind});
    if (posted_.size() > 1) return;  // the thread that posted the first one wakes the loop
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto ignored = ::write(wake_, &one, sizeof one);
}

void Reactor::stop() {
  post([this] { stopping_.store(true, std::memory_order_release); }, Work::vital);
}

void Reactor::forget(Watch* watch) {
  // Drops the watch's events of this turn that were not delivered yet.
  for (int i = 0; i < event_count_; ++i) {
    auto& event = events_[static_cast<std::size_t>(i)];
    if (event.data.ptr == watch) {
      event.data.ptr = nullptr;
      event.events = 0;
    }
  }
}

}  // namespace holdfast::proxy
