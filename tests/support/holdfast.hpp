// The built proxy as a child process.
#pragma once

#include <signal.h>

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/connection.hpp"
#include "tests/support/files.hpp"
#include "tests/support/postgres.hpp"
#include "tests/support/process.hpp"

namespace holdfast::testing {

struct HttpReply {
  int status = 0;
  std::string headers;
  std::string body;
};
// One GET on 127.0.0.1; nothing when there is no whole answer within `bound`.
std::optional<HttpReply> http_get(int port, const std::string& path,
                                  std::chrono::milliseconds bound = std::chrono::seconds(5));

struct HoldfastOptions {
  std::string config;                             // YAML; ${port}, ${http_port} and ${folder} are filled in
  std::map<std::string, std::string> files = {};  // further files in ${folder}: name → content
  std::vector<std::string> arguments = {};        // after the configuration's path
  std::vector<std::pair<std::string, std::string>> environment = {};
  std::vector<std::string> under = {};  // a program with its arguments that runs the proxy as itself, e.g. valgrind
  bool wait_ready = true;
};

// Runs the proxy of this build tree, or the program that the environment variable HOLDFAST_BINARY names. The destructor
// ends it and adds a test failure when it left by itself, with an exit code other than 0, or with a sanitizer's report.
class Holdfast {
 public:
  explicit Holdfast(HoldfastOptions options);  // throws std::runtime_error with the log when it doesn't get ready
  Holdfast(const Holdfast&) = delete;
  Holdfast& operator=(const Holdfast&) = delete;
  ~Holdfast();

  [[nodiscard]] int port() const { return port_.number(); }
  [[nodiscard]] int http_port() const { return http_port_.number(); }
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_.path(); }
  [[nodiscard]] pid_t pid() const { return process_->pid(); }
  [[nodiscard]] bool running() { return process_->running(); }
  [[nodiscard]] std::string conninfo(const std::string& user = "app", const std::string& database = "app") const;
  [[nodiscard]] Connection connect(const std::string& user = "app", const std::string& database = "app") const;

  [[nodiscard]] HttpReply get(const std::string& path) const;  // throws std::runtime_error without an answer
  // The value of one sample of /metrics, e.g. metric("holdfast_reloads_total{outcome=\"applied\"}"); nothing when it
  // isn't there.
  [[nodiscard]] std::optional<double> metric(const std::string& sample) const;
  [[nodiscard]] std::string log() const;
  [[nodiscard]] bool wait_log(const std::string& text,
                              std::chrono::milliseconds bound = std::chrono::seconds(10)) const;

  void write_config(const std::string& yaml);  // with the same place-holders; takes effect with reload()
  void reload() { process_->signal(SIGHUP); }  // returns at once; wait for the log line or the new behaviour
  void signal(int number) { process_->signal(number); }
  // SIGTERM, then the exit code; kills it and throws after `bound`.
  int terminate(std::chrono::milliseconds bound = std::chrono::seconds(20));
  void kill9();  // a crash of the proxy; nothing is checked afterwards but the log
  void expect_exit_code(int code) { expected_exit_ = code; }

 private:
  [[nodiscard]] std::string fill_in(std::string text) const;
  [[nodiscard]] bool ready() const;
  void check_end(int exit_code);

  HoldfastOptions options_;
  TempDir folder_;
  Port port_;
  Port http_port_;
  std::filesystem::path log_;
  std::optional<Process> process_;
  int expected_exit_ = 0;
  bool ended_ = false;
};

// The `members:` lines of a cluster indented by six spaces, for a configuration text.
std::string members_yaml(ReplicationSet& set);

}  // namespace holdfast::testing
