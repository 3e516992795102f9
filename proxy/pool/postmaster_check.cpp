#include "proxy/pool/postmaster_check.hpp"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "protocol/frontend.hpp"
#include "protocol/startup.hpp"
#include "proxy/pool/connector.hpp"
#include "proxy/pool/pool.hpp"

namespace holdfast::proxy {

using protocol::Postmaster;

namespace {

void close_link(void* link) {
  static_cast<Link*>(link)->close();
}

// How long after an answer the postmaster is asked again.
constexpr std::chrono::milliseconds spacing{10};

// co_await Nap: until the next slot of the wheel behind `spacing`.
struct Nap {
  Reactor& reactor;
  std::coroutine_handle<> sleeper = {};
  Deadline deadline{&Nap::over, this};

  explicit Nap(Reactor& of) : reactor(of) {}
  static void over(void* self) {
    auto& nap = *static_cast<Nap*>(self);
    nap.reactor.schedule(nap.sleeper);
  }
  [[nodiscard]] bool await_ready() const { return false; }
  void await_suspend(std::coroutine_handle<> handle) {
    sleeper = handle;
    reactor.deadlines().arm(deadline, reactor.now() + spacing);
  }
  void await_resume() const {}
};

}  // namespace

void PostmasterCheck::Question::await_suspend(std::coroutine_handle<> handle) {
  asker = handle;
  check.waiting_.push_back(this);
  if (!check.running_) spawn(check.pool_.pool().context().gate, check.run());
}

Task<> PostmasterCheck::run() {
  running_ = true;
  while (!waiting_.empty()) {
    auto asked = std::exchange(waiting_, {});
    const auto answer = co_await connect();
    if (answer != Postmaster::lives) {
      asked.insert(asked.end(), waiting_.begin(), waiting_.end());
      waiting_.clear();
    }
    for (Question* question : asked) {
      question->answer = answer;
      pool_.pool().context().reactor.schedule(question->asker);
    }
  }
  running_ = false;
}

void PostmasterCheck::watch_for_crash(TimePoint until) {
  watch_until_ = std::max(watch_until_, until);
  if (!watching_) spawn(pool_.pool().context().gate, watch());
}

Task<> PostmasterCheck::watch() {
  watching_ = true;
  auto& context = pool_.pool().context();
  while (context.reactor.now() < watch_until_ && !context.stopping) {
    auto question = ask();
    const auto answer = co_await question;
    if (answer == Postmaster::not_now) {
      context.shared.crashes.seen(pool_.pool().key().cluster, pool_.member(), health::Clock::now());
      break;
    }
    Nap nap(context.reactor);
    co_await nap;
  }
  watching_ = false;
}

// Without TLS, as a CancelRequest: the postmaster says whether it takes sessions before it looks at who wants one. Where
// TLS is asked for, the names are nobody's.
Task<Postmaster> PostmasterCheck::connect() {
  const auto& pool = pool_.pool();
  auto& reactor = pool.context().reactor;
  const auto& members = pool.topology().members;
  if (pool_.member() >= members.size()) co_return Postmaster::no_answer;
  const std::string address = members[pool_.member()].address;
  const auto port = members[pool_.member()].port;
  const auto* cluster = pool.context().runtime->config.find_cluster(pool.key().cluster);
  const bool in_clear = cluster != nullptr && cluster->tls.mode == config::SslMode::disable;
  std::vector<std::byte> hello;
  const std::string_view nobody = "postgres";
  const std::array<protocol::NameValue, 2> names{{{"user", in_clear ? std::string_view(pool.key().user) : nobody},
                                                  {"database", in_clear ? std::string_view(pool.key().database) : nobody}}};
  protocol::write_startup(hello, protocol::protocol_3_0, names);
  Link link;
  Deadline deadline(&close_link, &link);
  reactor.deadlines().arm(deadline, reactor.now() + longest);
  auto answer = Postmaster::no_answer;
  const auto connected = co_await connect_socket(reactor, link, address, port);
  if (connected && link.send(hello) == Sent::taken) {
    while (link.open()) {
      if (!link.may_receive()) co_await link.watch().readable();
      if (link.receive() == Io::closed) break;
      if (const auto said = protocol::postmaster_says(link.received())) {
        answer = *said;
        break;
      }
      link.keep_rest();
    }
  }
  deadline.disarm();
  link.close();
  co_await link.quiet();
  co_return answer;
}

}  // namespace holdfast::proxy
