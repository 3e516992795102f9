// One thread's world: its event loop, its clients, its pools, its memory. A client never leaves its worker.
//
// Thread: the worker's own, except for what says "any thread". Other threads reach it by messages.
// Lifetime: connect(), start(), then stop(), then join(); Server owns it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "health/topology.hpp"
#include "proxy/base/counters.hpp"
#include "proxy/base/runtime.hpp"
#include "proxy/io/reactor.hpp"
#include "proxy/io/task.hpp"
#include "proxy/pool/handover.hpp"
#include "proxy/pool/pools.hpp"
#include "proxy/session/accepted.hpp"
#include "proxy/session/sessions.hpp"
#include "proxy/session/tables.hpp"
#include "proxy/shared.hpp"

namespace holdfast::proxy {

class Worker {
 public:
  Worker(Shared& shared, std::uint32_t number, RuntimePtr runtime,
         std::map<std::string, health::TopologyPtr> topologies);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  // Introduces the workers to each other; to be called before any of them starts.
  static void connect(const std::vector<std::unique_ptr<Worker>>& workers);

  // Any thread.
  void start();
  void join();
  void accept(Accepted accepted);
  void publish(health::TopologyPtr topology);
  void publish(RuntimePtr runtime);
  // Disconnects idle clients (57P01) and lets running transactions end; `at_once` ends everything now.
  void stop(bool at_once);
  [[nodiscard]] const Counters& counters() const { return counters_; }
  // Clients here, plus sockets on their way here.
  [[nodiscard]] std::uint64_t clients() const {
    return counters_.clients.value() + coming_.load(std::memory_order_relaxed);
  }
  // After stop(): whether its loop has ended.
  [[nodiscard]] bool finished() const { return finished_.load(std::memory_order_acquire); }

 private:
  void run();
  void sweep();
  void stalled(Reactor::Stall stall, TimePoint now);
  void go_on_if_looked();
  void finish_if_done();
  static void on_sweep(void* self);

  std::uint32_t number_;
  RuntimePtr runtime_;
  bool stopping_ = false;
  Counters counters_;
  Reactor reactor_;
  Gate gate_;
  Tables tables_;
  Desk desk_;
  PoolContext pool_context_;
  Pools pools_;
  Handover handover_;
  SessionContext session_context_;
  Sessions sessions_;
  Deadline sweep_;
  std::optional<TimePoint> stalled_;  // nothing goes on before all members were asked after this moment
  TimePoint learnt_since_ = health::Clock::now();
  std::atomic<std::uint64_t> coming_{0};
  std::atomic<bool> finished_{false};
  std::thread thread_;
};

}  // namespace holdfast::proxy
