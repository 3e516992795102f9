#include "tests/support/endpoint.hpp"

#include <gtest/gtest.h>
#include <poll.h>

#include <chrono>
#include <memory>

namespace holdfast::testing {

std::string yaml(const EndpointConfig& config) {
  return "workers: " + std::to_string(config.workers) + "\nlisten:\n  - address: 127.0.0.1:${port}\n" +
         (config.listen_tls.empty() ? "" : "    " + config.listen_tls + "\n") + "clusters:\n  main:\n    members:\n" +
         config.members +
         "    monitor: { user: holdfast, password_file: \"${folder}/monitor.pw\", interval: 100ms, fast_interval: 50ms "
         "}\n" +
         config.cluster_more + "databases:\n" + config.databases + "pool: { " + config.pool + " }\nauth: { " +
         config.auth + " }\nhttp: { address: 127.0.0.1:${http_port} }\n" + config.more;
}

std::string member_yaml(const Server& server) {
  return "      - { name: " + server.name() + ", host: 127.0.0.1, port: " + std::to_string(server.port()) + " }\n";
}

HoldfastOptions endpoint(const EndpointConfig& config) {
  return {.config = yaml(config),
          .files = {
              {"monitor.pw", monitor_password},
              {"userlist.txt", std::string("\"app\" \"") + app_password + "\"\n\"app2\" \"" + app_password + "\"\n"}}};
}

BackgroundLoad::BackgroundLoad(std::string conninfo, int clients) : conninfo_(std::move(conninfo)) {
  for (int i = 0; i < clients; ++i) clients_.emplace_back([this, i] { run(i); });
}

BackgroundLoad::~BackgroundLoad() {
  stop_ = true;
  for (auto& client : clients_) client.join();
}

void BackgroundLoad::finish() {
  stop_ = true;
  for (auto& client : clients_) client.join();
  clients_.clear();
  for (const auto& error : errors_) ADD_FAILURE() << "background load: " << error;
  EXPECT_GT(rounds_, 0) << "the background load did nothing";
}

void BackgroundLoad::run(int number) {
  const auto me = std::to_string(number);
  try {
    while (!stop_) {
      Connection client(conninfo_);
      for (int i = 0; i < 20 && !stop_; ++i) {
        client.exec("BEGIN");
        if (client.scalar("SELECT " + me) != me) throw std::runtime_error("somebody else's answer");
        client.exec("COMMIT");
        if (client.scalar("SELECT $1::text", {me}) != me) throw std::runtime_error("somebody else's answer");
      }
      client.exec("SET \"app.user\" = 'load'");
      client.exec("CREATE TEMP TABLE loaded (x int)");
      ++rounds_;
    }
  } catch (const std::exception& error) {
    const std::lock_guard lock(mutex_);
    errors_.emplace_back(error.what());
  }
}

Refusal refusal_of(const std::string& conninfo) {
  const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(PQconnectStart(conninfo.c_str()), PQfinish);
  PQsetErrorVerbosity(connection.get(), PQERRORS_VERBOSE);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  for (auto state = PGRES_POLLING_WRITING; state != PGRES_POLLING_OK && state != PGRES_POLLING_FAILED;) {
    pollfd waits{.fd = PQsocket(connection.get()),
                 .events = static_cast<short>(state == PGRES_POLLING_READING ? POLLIN : POLLOUT),
                 .revents = 0};
    if (::poll(&waits, 1, 1000) < 0 || std::chrono::steady_clock::now() > deadline) break;
    state = PQconnectPoll(connection.get());
  }
  Refusal refusal{.sqlstate = {}, .message = PQerrorMessage(connection.get())};
  if (const auto at = refusal.message.find("FATAL:  "); at != std::string::npos) {
    refusal.sqlstate = refusal.message.substr(at + 8, 5);
  }
  return refusal;
}

}  // namespace holdfast::testing
