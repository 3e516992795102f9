#include "proxy/worker.hpp"

#include <pthread.h>

#include <utility>

#include "proxy/base/log.hpp"

namespace holdfast::proxy {

namespace {
constexpr std::chrono::seconds sweep_interval{1};
// After this long, statements that a standby refused are tried on standbys again: DDL that this process has not seen
// may have changed a view.
constexpr std::chrono::minutes learnt_for{10};
}  // namespace

Worker::Worker(Shared& shared, std::uint32_t number, RuntimePtr runtime,
               std::map<std::string, health::TopologyPtr> topologies)
    : number_(number),
      runtime_(std::move(runtime)),
      tables_(number),
      pool_context_{.reactor = reactor_,
                    .gate = gate_,
                    .counters = counters_,
                    .pending = tables_.pending,
                    .reported = tables_.reported,
                    .shared = shared.pools,
                    .runtime = runtime_,
                    .stopping = stopping_,
                    .handover = handover_},
      pools_(pool_context_, std::move(topologies)),
      handover_(pool_context_, pools_),
      session_context_{.reactor = reactor_,
                       .gate = gate_,
                       .counters = counters_,
                       .tables = tables_,
                       .desk = desk_,
                       .pools = pools_,
                       .key_service = shared.pools.key_service,
                       .parse_service = shared.sessions.parse_service,
                       .shared = shared.sessions,
                       .runtime = runtime_,
                       .stopping = stopping_,
                       .sessions = sessions_},
      sessions_(session_context_),
      sweep_(&Worker::on_sweep, this) {
  tables_.statements.set_most_bytes(runtime_->config.limits.prepared_memory_per_worker);
}

Worker::~Worker() {
  join();
}

void Worker::connect(const std::vector<std::unique_ptr<Worker>>& workers) {
  std::vector<Handover*> handovers;
  std::vector<Sessions*> sessions;
  for (const auto& worker : workers) {
    handovers.push_back(&worker->handover_);
    sessions.push_back(&worker->sessions_);
  }
  for (const auto& worker : workers) {
    worker->handover_.connect(handovers);
    worker->sessions_.connect(sessions);
  }
}

void Worker::start() {
  thread_ = std::thread([this] { run(); });
}

void Worker::join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::run() {
  const std::string name = "worker-" + std::to_string(number_);
  ::pthread_setname_np(::pthread_self(), name.c_str());
  reactor_.deadlines().arm(sweep_, reactor_.now() + sweep_interval);
  reactor_.on_stall(
      [](void* self, Reactor::Stall stall, TimePoint now) { static_cast<Worker*>(self)->stalled(stall, now); }, this);
  reactor_.run();
  finished_.store(true, std::memory_order_release);
}

void Worker::accept(Accepted accepted) {
  coming_.fetch_add(1, std::memory_order_relaxed);
  reactor_.post([this, accepted = std::move(accepted)] {
    sessions_.begin(accepted);
    coming_.fetch_sub(1, std::memory_order_relaxed);
  });
}

void Worker::publish(health::TopologyPtr topology) {
  reactor_.post(
      [this, topology = std::move(topology)] {
        pools_.topology_changed(topology);
        go_on_if_looked();
      },
      Reactor::Work::vital);
}

void Worker::publish(RuntimePtr runtime) {
  reactor_.post([this, runtime = std::move(runtime)] {
    runtime_ = runtime;
    sessions_.reconfigure();
    pools_.reconfigure();
  });
}

void Worker::stop(bool at_once) {
  reactor_.post([this, at_once] {
    stopping_ = true;
    sessions_.stop(at_once, [this] { finish_if_done(); });
    if (at_once) pools_.close_all();
    finish_if_done();
  });
}

// While this process stood still another primary may have been promoted: what clients sent meanwhile must not reach the
// old one.
void Worker::stalled(Reactor::Stall stall, TimePoint now) {
  if (stall == Reactor::Stall::given_up) {
    stalled_.reset();
    log_event(LogLevel::error, "stall_given_up",
              {{"worker", std::to_string(number_)},
               {"effect", "it goes on with what was known before, although not every member could be asked"}});
    return;
  }
  counters_.stalls.add();
  log_event(LogLevel::warning, "stalled",
            {{"worker", std::to_string(number_)},
             {"effect", "nothing is passed on until every member has been asked for its role"}});
  stalled_ = now;
  pool_context_.shared.want_look(now);
  go_on_if_looked();
}

void Worker::go_on_if_looked() {
  if (!stalled_ || !pools_.looked_since(*stalled_)) return;
  stalled_.reset();
  reactor_.go_on();
}

void Worker::finish_if_done() {
  if (!stopping_ || !sessions_.empty()) return;
  pools_.close_all();
  // The servers' coroutines end in this turn or the next; the loop stops when none is left.
  if (gate_.inside() == 0) {
    reactor_.stop();
  } else {
    reactor_.deadlines().arm(sweep_, reactor_.now() + DeadlineWheel::slot_width);
  }
}

void Worker::on_sweep(void* self) {
  static_cast<Worker*>(self)->sweep();
}

void Worker::sweep() {
  if (stopping_) {
    finish_if_done();
    return;
  }
  const auto now = reactor_.now();
  pools_.sweep(now);
  if (now - learnt_since_ > learnt_for) {
    learnt_since_ = now;
    tables_.forget_verdicts();
  }
  reactor_.deadlines().arm(sweep_, now + sweep_interval);
}

}  // namespace holdfast::proxy
