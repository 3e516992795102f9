#include "proxy/pool/postmaster_check.hpp"

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
