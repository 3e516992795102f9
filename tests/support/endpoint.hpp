// What the tests of the whole proxy share: a configuration text, a load in the background, samples of /metrics.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/holdfast.hpp"
#include "tests/support/postgres.hpp"

namespace holdfast::testing {

// The pieces of a configuration that tests vary. Text in YAML, as an operator writes it.
struct EndpointConfig {
  std::string members;  // lines of `members:`, see members_yaml()
  int workers = 2;
  std::string listen_tls = "";    // e.g. "tls: { mode: allow, certificate: …, key: … }"
  std::string cluster_more = "";  // further lines of the cluster, indented by four spaces
  std::string databases = "  \"*\": { cluster: main }\n";
  std::string pool = "mode: transaction, size: 8";
  std::string auth = "method: trust";
  std::string more = "";  // further top-level lines
};
std::string yaml(const EndpointConfig& config);
std::string member_yaml(const Server& server);

// A running proxy for these members; the monitor's password and a userlist with app's are in its folder.
HoldfastOptions endpoint(const EndpointConfig& config);

// Clients that keep taking servers for as long as they live: transactions, settings, temporary tables, reconnects.
class BackgroundLoad {
 public:
  BackgroundLoad(std::string conninfo, int clients);
  BackgroundLoad(const BackgroundLoad&) = delete;
  BackgroundLoad& operator=(const BackgroundLoad&) = delete;
  ~BackgroundLoad();

  // Ends it and adds a test failure for each error that a client saw, or when nothing was done.
  void finish();

 private:
  void run(int number);

  std::string conninfo_;
  std::atomic<bool> stop_{false};
  std::atomic<int> rounds_{0};
  std::vector<std::string> errors_;
  std::mutex mutex_;
  std::vector<std::thread> clients_;
};

// The SQLSTATE of what `action` throws; empty when it doesn't throw; libpq's text when that has no SQLSTATE.
template <typename Action>
std::string sqlstate_of(Action&& action) {
  try {
    action();
  } catch (const SqlError& error) {
    return error.sqlstate().empty() ? error.what() : error.sqlstate();
  }
  return {};
}

// What a refused connect was told: libpq keeps the SQLSTATE to itself unless asked for verbose errors.
struct Refusal {
  std::string sqlstate;  // empty: it was let in, or there was no ErrorResponse
  std::string message;   // all of libpq's text
};
Refusal refusal_of(const std::string& conninfo);

}  // namespace holdfast::testing
