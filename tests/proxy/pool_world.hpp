// A worker's pools without sockets, threads and servers: what Waiter, ServerLease and MemberPool are tested in.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <deque>
#include <memory>
#include <vector>

#include "proxy/pool/handover.hpp"
#include "proxy/pool/pools.hpp"

namespace holdfast::proxy {

class PoolWorld : public ::testing::Test {
 protected:
  PoolWorld() {
    auto made = std::make_shared<Runtime>();
    made->config.listeners.emplace_back();
    made->config.clusters.emplace_back().name = "main";
    runtime = made;
    handover.connect({&handover});
    shared.want_marks = [](const std::string&) {};
    shared.report = [this](const std::string&, health::MemberIndex, health::Evidence evidence) {
      evidences.push_back(evidence);
    };
    publish(with_primary());
  }
  ~PoolWorld() override {
    for (auto& server : servers_) server->home->gone(*server);
  }

  static health::TopologyPtr topology(std::optional<health::MemberIndex> primary, std::uint64_t epoch) {
    auto made = std::make_shared<health::Topology>();
    made->cluster = "main";
    made->epoch = epoch;
    made->primary = primary;
    if (!primary) made->why_no_primary = "the old one is gone";
    for (const char* name : {"pg1", "pg2"}) {
      health::MemberStatus member;
      member.name = name;
      member.address = "/nowhere";  // a Unix socket that isn't there: a connect fails at once
      member.port = 1;
      made->members.push_back(member);
    }
    made->freshness = std::make_shared<const health::FreshnessMarks>(2);
    return made;
  }
  static health::TopologyPtr with_primary() { return topology(0, 1); }
  static health::TopologyPtr no_primary() { return topology(std::nullopt, 1); }
  void publish(const health::TopologyPtr& topology) {
    pools.topology_changed(topology);
    if (pool_ == nullptr) pool_ = &pools.get({"main", "app", "app"});
  }

  Pool& pool() { return *pool_; }
  MemberPool& member(health::MemberIndex index = 0) { return pool().member(index); }
  Permits& permits() { return *member().permits(); }
  // A connection that was made and is idle. Its socket leads nowhere.
  ServerLink& idle_server() {
    std::array<int, 2> ends{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends.data()), 0);
    servers_.push_back(std::make_unique<ServerLink>(member(), pending, 100, Permit::try_take(member().permits())));
    auto& server = *servers_.back();
    EXPECT_TRUE(server.link.attach(reactor, ends[0]));
    peers_.emplace_back();
    EXPECT_TRUE(peers_.back().attach(reactor, ends[1]));
    server.connected_at = reactor.now();
    server.session.exchange.reset('I');
    member().ready(server);
    return server;
  }
  // The other end of its socket goes: the next send fails, and nobody reads what the socket would tell.
  void break_socket(const ServerLink& server) {
    for (std::size_t i = 0; i < servers_.size(); ++i) {
      if (servers_[i].get() == &server) peers_[i].close();
    }
  }
  // Time passes: deadlines expire.
  void advance(std::chrono::milliseconds by) {
    now_ += by;
    reactor.set_now(now_);
    reactor.deadlines().advance(now_);
  }

  Reactor reactor;
  Gate gate;
  Counters counters;
  protocol::PendingPool pending;
  protocol::ReportedTable reported;
  PoolShared shared;
  RuntimePtr runtime;
  bool stopping = false;
  std::vector<health::Evidence> evidences;
  PoolContext context{.reactor = reactor,
                      .gate = gate,
                      .counters = counters,
                      .pending = pending,
                      .reported = reported,
                      .shared = shared,
                      .runtime = runtime,
                      .stopping = stopping,
                      .handover = handover};
  Pools pools{context, {}};
  Handover handover{context, pools};

 private:
  Pool* pool_ = nullptr;
  TimePoint now_ = reactor.now();
  std::deque<Watch> peers_;
  std::vector<std::unique_ptr<ServerLink>> servers_;
};

}  // namespace holdfast::proxy
