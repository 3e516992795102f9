// One thread's world: its event loop, its clients, its pools, its memory. A client never leaves its worker.
//
// Thread: everything on the worker's own, but for what says "any thread". Other threads reach it by messages.
// Lifetime: start(), then stop(), then join(); Server owns it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "health/topology.hpp"
#include "protocol/parameters.hpp"
#include "protocol/prepared.hpp"
#include "protocol/reported.hpp"
#include "protocol/sql/classify.hpp"
#include "proxy/counters.hpp"
#include "proxy/io/composer.hpp"
#include "proxy/io/list.hpp"
#include "proxy/io/reactor.hpp"
#include "proxy/io/task.hpp"
#include "proxy/pool/pool.hpp"
#include "proxy/runtime.hpp"
#include "proxy/shared.hpp"

namespace holdfast::proxy {

class ClientSession;

// A socket that the acceptor took, for the worker that gets it.
struct Accepted {
  int fd = -1;
  std::size_t listener = 0;  // index into the configuration's listeners
  std::string peer;          // "10.0.0.7:51234", for the log
};

class Worker {
 public:
  Worker(Shared& shared, std::uint32_t number, RuntimePtr runtime,
         std::map<std::string, health::TopologyPtr> topologies);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // Any thread.
  void start();
  void join();
  void accept(Accepted accepted);
  void publish(health::TopologyPtr topology);
  void publish(RuntimePtr runtime);
  void cancel(std::uint64_t session);
  // Lets running transactions end, closes idle clients at once (57P01), and everything at the second call.
  void stop(bool at_once);
  [[nodiscard]] const Counters& counted() const { return counters; }
  [[nodiscard]] std::uint64_t clients() const { return counters.clients.value(); }
  // After stop(): its loop has ended.
  [[nodiscard]] bool finished() const { return finished_.load(std::memory_order_acquire); }

  // Its own thread.
  [[nodiscard]] bool stopping() const { return stopping_; }
  [[nodiscard]] const Runtime& runtime() const { return *runtime_; }
  [[nodiscard]] const RuntimePtr& runtime_ptr() const { return runtime_; }
  [[nodiscard]] health::TopologyPtr topology(const std::string& cluster) const;
  [[nodiscard]] PermitBook& permit_book() { return shared.permits; }
  [[nodiscard]] Places& hold_places() { return shared.hold_places; }
  [[nodiscard]] Pool& pool(const PoolKey& key, const config::EffectiveSettings& settings);
  [[nodiscard]] std::shared_ptr<const config::EffectiveSettings> effective_settings(const config::Listener& listener,
                                                                                    const config::Database* database,
                                                                                    const config::User* user);
  [[nodiscard]] protocol::sql::Classifier& classifier(const std::vector<std::string>& read_functions);
  [[nodiscard]] protocol::sql::Classifier& blind_classifier();
  void report(const std::string& cluster, health::MemberIndex member, health::Evidence evidence);
  // Gives a released server to another worker's oldest waiter. The link object here ends.
  void hand_over(Worker& other, ServerLink& server);
  void ask_others_for_idle(const PoolKey& key, health::MemberIndex member);
  // A permit that another worker waits for came back.
  void tell_permit(const std::shared_ptr<Permits>& permits, const PoolKey& key, health::MemberIndex member,
                   std::optional<TimePoint> own);
  // DDL was committed: what was learnt of statements may be stale. Servers keep theirs: where a result's columns
  // changed PostgreSQL says so (0A000), and a driver that goes by an earlier description has to hear it.
  void schema_changed();
  // A server said so to a client, who will prepare anew: on every server.
  void plans_changed();
  void set_siblings(const std::vector<std::unique_ptr<Worker>>* siblings) { siblings_ = siblings; }
  // The session's coroutine has ended.
  void remove(ClientSession& session);
  [[nodiscard]] ClientSession* find_session(std::uint64_t id);

  Shared& shared;
  const std::uint32_t number;
  Reactor reactor;
  Gate gate;
  Counters counters;
  protocol::PendingPool pending;
  protocol::StatementTable statements;
  protocol::Prepared prepared;
  protocol::SettingsTable settings;
  protocol::ReportedTable reported;
  Composer composer;  // for one pass at a time, never across a co_await
  std::vector<std::byte> scratch_out;

 private:
  struct HandedOver;
  void run();
  void sweep();
  void finish_if_done();
  void adopt(const PoolKey& key, health::MemberIndex member, HandedOver handed);
  [[nodiscard]] MemberPool* find_member(const PoolKey& key, health::MemberIndex member);
  static void on_sweep(void* self);

  RuntimePtr runtime_;
  std::map<std::string, health::TopologyPtr> topologies_;
  std::map<std::vector<std::string>, std::unique_ptr<protocol::sql::Classifier>> classifiers_;
  std::unique_ptr<protocol::sql::Classifier> blind_;
  std::map<PoolKey, std::unique_ptr<Pool>> pools_;
  std::map<std::uint64_t, std::unique_ptr<ClientSession>> sessions_;
  std::vector<std::shared_ptr<const config::EffectiveSettings>> effective_;  // the distinct ones in use
  const std::vector<std::unique_ptr<Worker>>* siblings_ = nullptr;
  Deadline sweep_;
  TimePoint learnt_since_ = health::Clock::now();
  bool stopping_ = false;
  std::atomic<bool> finished_{false};
  std::thread thread_;
};

}  // namespace holdfast::proxy
