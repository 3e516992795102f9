// The process: control thread, workers, monitors, acceptors, reload and shutdown.
//
// Thread: the control thread, which is the one that calls run(). Lifetime: made by main once the configuration is
// valid; main destroys it after run().
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "health/monitor.hpp"
#include "health/record_store.hpp"
#include "proxy/acceptor.hpp"
#include "proxy/admin/http.hpp"
#include "proxy/admin/metrics.hpp"
#include "proxy/base/memory.hpp"
#include "proxy/base/runtime.hpp"
#include "proxy/shared.hpp"
#include "proxy/worker.hpp"

namespace holdfast::proxy {

class Server {
 public:
  Server(std::string config_path, RuntimePtr runtime);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Listens, serves, and returns the process's exit code after SIGTERM or SIGINT.
  [[nodiscard]] int run();

 private:
  [[nodiscard]] Result<void> listen();
  void start_monitors();
  [[nodiscard]] health::Monitor::Remembered recall(const std::string& cluster);
  void record_written(const std::string& cluster, const std::string& error);
  void end_removed_records();
  void wait_for_signal();
  void watch_for_ebb();
  void reload();
  void begin_shutdown();
  void deliver(Accepted accepted);
  [[nodiscard]] std::string ready() const;
  boost::asio::awaitable<void> finish();

  std::string config_path_;
  RuntimePtr runtime_;
  boost::asio::io_context context_{1};
  boost::asio::signal_set signals_;
  boost::asio::steady_timer shutdown_timer_;
  boost::asio::steady_timer ebb_timer_;
  Ebb ebb_;
  Shared shared_;
  std::vector<std::unique_ptr<Worker>> workers_;
  health::RecordStore records_;
  std::map<std::string, std::unique_ptr<health::Monitor>> monitors_;
  std::map<std::string, health::TopologyPtr> topologies_;
  std::vector<std::unique_ptr<Acceptor>> acceptors_;
  Metrics metrics_;
  std::unique_ptr<Http> http_;
  int stop_requests_ = 0;
};

}  // namespace holdfast::proxy
