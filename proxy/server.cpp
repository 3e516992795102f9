#include "proxy/server.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <csignal>
#include <thread>
#include <utility>

#include "config/diff.hpp"
#include "config/load.hpp"
#include "proxy/base/log.hpp"

namespace holdfast::proxy {

namespace asio = boost::asio;

namespace {

constexpr std::chrono::seconds ebb_interval{5};

LogLevel level_of(health::Severity severity) {
  switch (severity) {
    case health::Severity::info: return LogLevel::info;
    case health::Severity::warning: return LogLevel::warning;
    case health::Severity::error: return LogLevel::error;
  }
  return LogLevel::error;
}

}  // namespace

Server::Server(std::string config_path, RuntimePtr runtime)
    : config_path_(std::move(config_path)),
      runtime_(std::move(runtime)),
      signals_(context_, SIGTERM, SIGINT, SIGHUP),
      shutdown_timer_(context_),
      ebb_timer_(context_),
      records_(runtime_->config.state_dir,
               [this](const std::string& cluster, const std::string& error) {
                 asio::post(context_, [this, cluster, error] { record_written(cluster, error); });
               }),
      metrics_(monitors_) {}

Server::~Server() = default;

int Server::run() {
  std::signal(SIGPIPE, SIG_IGN);
  if (auto secret = protocol::make_mock_secret()) {
    shared_.sessions.mock_secret = *secret;
  } else {
    log_event(LogLevel::error, "start_failed", {{"reason", secret.error().message}});
    return 1;
  }
  const auto& config = runtime_->config;
  shared_.pools.hold_places.set_limit(config.settings.hold_limit.value_or(config::EffectiveSettings{}.hold_limit));
  shared_.pools.report = [this](const std::string& cluster, health::MemberIndex member, health::Evidence evidence) {
    asio::post(context_, [this, cluster, member, evidence] {
      const auto found = monitors_.find(cluster);
      if (found != monitors_.end()) found->second->evidence(member, evidence);
    });
  };
  shared_.pools.want_marks = [this](const std::string& cluster) {
    asio::post(context_, [this, cluster] {
      const auto found = monitors_.find(cluster);
      if (found != monitors_.end()) found->second->freshness_wanted();
    });
  };
  shared_.pools.want_look = [this](TimePoint since) {
    asio::post(context_, [this, since] {
      for (const auto& [name, monitor] : monitors_) monitor->want_look(since);
    });
  };
  start_monitors();
  const auto count = config.workers != 0 ? config.workers : std::max(1U, std::thread::hardware_concurrency());
  for (std::uint32_t i = 0; i < count; ++i) {
    workers_.push_back(std::make_unique<Worker>(shared_, i, runtime_, topologies_));
  }
  Worker::connect(workers_);
  for (const auto& worker : workers_) metrics_.add(worker->counters());
  if (auto listening = listen(); !listening) {
    log_event(LogLevel::error, "start_failed", {{"reason", listening.error().message}});
    begin_shutdown();
    begin_shutdown();
    for (auto& worker : workers_) worker->start();
    context_.run();
    for (auto& worker : workers_) worker->join();
    return 1;
  }
  for (auto& worker : workers_) worker->start();
  for (auto& acceptor : acceptors_) acceptor->start();
  wait_for_signal();
  watch_for_ebb();
  log_event(LogLevel::info, "started",
            {{"version", HOLDFAST_VERSION}, {"workers", std::to_string(count)}, {"config", config_path_}});
  context_.run();
  for (auto& worker : workers_) worker->join();
  shared_.pools.key_service.stop();
  shared_.sessions.parse_service.stop();
  log_event(LogLevel::info, "stopped", {});
  return 0;
}

Result<void> Server::listen() {
  const auto& config = runtime_->config;
  for (std::size_t i = 0; i < config.listeners.size(); ++i) {
    auto acceptor =
        std::make_unique<Acceptor>(context_, i, [this](Accepted accepted) { deliver(std::move(accepted)); });
    if (auto listening = acceptor->listen(config.listeners[i]); !listening) return listening;
    log_event(LogLevel::info, "listening",
              {{"address", config.listeners[i].address}, {"port", std::to_string(config.listeners[i].port)}});
    acceptors_.push_back(std::move(acceptor));
  }
  if (!config.http.address.empty()) {
    http_ = std::make_unique<Http>(context_, [this](std::string_view path) -> std::optional<HttpAnswer> {
      if (path == "/metrics") return HttpAnswer{200, Metrics::content_type, metrics_.text()};
      if (path == "/healthz") return HttpAnswer{200, "text/plain", "ok\n"};
      if (path == "/readyz") {
        auto reason = ready();
        if (reason.empty()) return HttpAnswer{200, "text/plain", "ready\n"};
        return HttpAnswer{503, "text/plain", reason + "\n"};
      }
      return std::nullopt;
    });
    if (auto listening = http_->listen(config.http.address, config.http.port); !listening) return listening;
  }
  return {};
}

void Server::start_monitors() {
  for (const auto& cluster : runtime_->config.clusters) {
    if (monitors_.contains(cluster.name)) continue;
    auto monitor = std::make_unique<health::Monitor>(
        context_, cluster,
        [this](health::TopologyPtr topology) {
          topologies_[topology->cluster] = topology;
          metrics_.topology(topology);
          for (auto& worker : workers_) worker->publish(topology);
        },
        [this](const health::Event& event) {
          std::vector<LogField> fields{{"cluster", event.cluster}, {"member", event.member}, {"reason", event.reason}};
          for (auto& field : health::fields_of(event)) fields.push_back(std::move(field));
          log_event(level_of(health::severity_of(event.kind)), health::name_of(event.kind), fields.data(),
                    fields.size());
          metrics_.event(event, health::Clock::now());
        },
        [this](const health::Record& record) { records_.keep(record); }, recall(cluster.name));
    auto& started = *monitor;
    monitors_.emplace(cluster.name, std::move(monitor));
    started.start();
  }
}

// What an earlier run accepted.
health::Monitor::Remembered Server::recall(const std::string& cluster) {
  auto record = records_.load(cluster);
  const auto where = records_.path(cluster);
  if (!record) {
    metrics_.record_kept(cluster, false);
    log_event(LogLevel::error, "record_unreadable",
              {{"cluster", cluster},
               {"file", where},
               {"reason", record.error().message},
               {"effect", "the first primary that is seen is believed, and the file is replaced"}});
    return {};
  }
  if (*record) metrics_.record_kept(cluster, true);
  return {.record = std::move(*record), .where = where};
}

void Server::record_written(const std::string& cluster, const std::string& error) {
  metrics_.record_kept(cluster, error.empty());
  if (error.empty()) return;
  log_event(LogLevel::warning, "record_not_kept",
            {{"cluster", cluster},
             {"file", records_.path(cluster)},
             {"reason", error},
             {"effect", "after a restart the first primary that is seen is believed, even a stale one"}});
}

// An operator who removes a record's file and reloads says that what is there now is right.
void Server::end_removed_records() {
  for (const auto& [cluster, monitor] : monitors_) {
    if (!records_.removed(cluster)) continue;
    log_event(LogLevel::warning, "record_ended", {{"cluster", cluster}, {"file", records_.path(cluster)}});
    monitor->begin_record();
  }
}

// Why traffic can't be served; empty if it can.
std::string Server::ready() const {
  if (stop_requests_ > 0) return "shutting down";
  for (const auto& [name, topology] : topologies_) {
    if (!topology->primary) {
      return "cluster " + name + " has no primary" +
             (topology->why_no_primary.empty() ? "" : ": " + topology->why_no_primary);
    }
  }
  return {};
}

void Server::deliver(Accepted accepted) {
  Worker* fewest = workers_.front().get();
  for (auto& worker : workers_) {
    if (worker->clients() < fewest->clients()) fewest = worker.get();
  }
  fewest->accept(std::move(accepted));
}

void Server::wait_for_signal() {
  signals_.async_wait([this](boost::system::error_code error, int signal) {
    if (error) return;
    if (signal == SIGHUP) {
      reload();
    } else {
      begin_shutdown();
    }
    wait_for_signal();
  });
}

// All or nothing: a file with a mistake changes nothing, and every mistake is logged.
void Server::reload() {
  auto loaded = config::load(config_path_);
  if (!loaded) {
    for (const auto& problem : loaded.error()) {
      log_event(LogLevel::error, "reload_problem", {{"problem", to_string(problem)}});
    }
    log_event(
        LogLevel::error, "reload_refused",
        {{"config", config_path_}, {"problems", std::to_string(loaded.error().size())}, {"effect", "nothing changed"}});
    metrics_.reloaded(false);
    return;
  }
  // Settings that only a restart can change stay as they are.
  auto runtime = Runtime::make(config::adopt(runtime_->config, loaded->config));
  if (!runtime) {
    log_event(LogLevel::error, "reload_refused",
              {{"config", config_path_}, {"reason", runtime.error().message}, {"effect", "nothing changed"}});
    metrics_.reloaded(false);
    return;
  }
  for (const auto& warning : loaded->warnings) {
    log_event(LogLevel::warning, "config_warning", {{"problem", to_string(warning)}});
  }
  const auto changes = config::diff(runtime_->config, loaded->config);
  for (const auto& change : changes) {
    log_event(LogLevel::info, "reload_change",
              {{"change", to_string(change)}, {"applies", std::string(name_of(change.applies))}});
  }
  runtime_ = std::move(*runtime);
  configure_log(runtime_->config.log);
  const auto& config = runtime_->config;
  shared_.pools.hold_places.set_limit(config.settings.hold_limit.value_or(config::EffectiveSettings{}.hold_limit));
  end_removed_records();  // before the records are written again
  for (const auto& cluster : config.clusters) {
    const auto found = monitors_.find(cluster.name);
    if (found != monitors_.end()) found->second->update(cluster);
  }
  start_monitors();
  for (auto& worker : workers_) worker->publish(runtime_);
  metrics_.reloaded(true);
  log_event(LogLevel::info, "reloaded", {{"config", config_path_}, {"changes", std::to_string(changes.size())}});
}

// When most clients have gone, their memory goes back to the system.
void Server::watch_for_ebb() {
  ebb_timer_.expires_after(ebb_interval);
  ebb_timer_.async_wait([this](boost::system::error_code error) {
    if (error) return;
    std::uint64_t now = 0;
    std::uint64_t came = 0;
    for (const auto& worker : workers_) {
      now += worker->counters().clients.value();
      came += worker->counters().clients_accepted.value();
    }
    if (ebb_.over(now, came)) trim_heaps();
    watch_for_ebb();
  });
}

// The first SIGTERM or SIGINT: takes no new clients, disconnects idle ones, lets transactions end. A second one, or
// shutdown_timeout, ends the rest.
void Server::begin_shutdown() {
  const bool first = stop_requests_++ == 0;
  if (first) {
    log_event(LogLevel::info, "stopping",
              {{"timeout_ms", std::to_string(runtime_->config.limits.shutdown_timeout.count())}});
    for (auto& acceptor : acceptors_) acceptor->close();
    for (auto& worker : workers_) worker->stop(false);
    shutdown_timer_.expires_after(runtime_->config.limits.shutdown_timeout);
    shutdown_timer_.async_wait([this](boost::system::error_code error) {
      if (!error) {
        for (auto& worker : workers_) worker->stop(true);
      }
    });
    asio::co_spawn(context_, finish(), [](std::exception_ptr failure) {
      if (failure) std::rethrow_exception(failure);
    });
    return;
  }
  for (auto& worker : workers_) worker->stop(true);
}

asio::awaitable<void> Server::finish() {
  asio::steady_timer timer(context_);
  for (auto& worker : workers_) {
    while (!worker->finished()) {
      timer.expires_after(std::chrono::milliseconds(10));
      co_await timer.async_wait(asio::use_awaitable);
    }
  }
  for (auto& [name, monitor] : monitors_) co_await monitor->stop();
  shutdown_timer_.cancel();
  ebb_timer_.cancel();
  if (http_) http_->close();
  signals_.cancel();
  context_.stop();
}

}  // namespace holdfast::proxy
