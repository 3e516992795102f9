// Real PostgreSQL servers for tests: a cluster prepared once, copied per test; primaries, replicas, faults.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/connection.hpp"
#include "tests/support/files.hpp"
#include "tests/support/process.hpp"
#include "tests/support/wait.hpp"

namespace holdfast::testing {

// Roles of every cluster. postgres: superuser, trusted on the socket and on 127.0.0.1.
inline constexpr const char* app_password = "app-secret";           // app, app2 (SCRAM) and app_md5: plain users
inline constexpr const char* monitor_password = "holdfast-secret";  // holdfast: monitor and operator, no superuser

// The path of a program of the PostgreSQL under test: Debian's version 15, or the folder in HOLDFAST_POSTGRES_BIN.
std::string postgres_program(const std::string& name);

using Settings = std::vector<std::pair<std::string, std::string>>;

struct ServerOptions {
  std::string name = "pg1";           // cluster_name, and application_name as a replica
  Settings settings = {};             // postgresql.conf, last one wins; values as in the file, without quotes
  std::string host_auth = "trust";    // over TCP for all but postgres: trust, scram-sha-256, md5, password
  std::vector<std::string> hba = {};  // lines in front of the usual pg_hba.conf
  bool fsync = false;                 // tests kill processes, not machines: off keeps every guarantee they look at
  bool tls = false;                   // ssl=on with the certificate of tests/support/certificates.hpp
  std::string identity = "a";         // servers of another identity have another system identifier
};

// A stopped, prepared data directory, made once per user, PostgreSQL version and content (see README.md), shared by
// parallel test programs.
class TemplateCluster {
 public:
  // Makes it when it is missing (some seconds), else returns at once.
  static TemplateCluster prepare(const std::string& identity = "a");
  void copy_to(const std::filesystem::path& data_directory) const;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  explicit TemplateCluster(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

enum class StopMode { smart, fast, immediate };

// One PostgreSQL server in its own folder, on its own port of 127.0.0.1 that it keeps for life. Constructed stopped.
// Used by one thread, but for conninfo() and port(). The destructor kills what runs and removes the folder.
class Server {
 public:
  explicit Server(ServerOptions options = {});
  Server(Server&&) = default;
  Server& operator=(Server&&) = delete;
  ~Server();

  void start();   // returns when it accepts connections; throws std::runtime_error with the log's tail
  void launch();  // starts it and returns at once (a replica without a primary, a broken configuration)
  void wait_ready(std::chrono::milliseconds bound = std::chrono::seconds(30));  // throws like start()
  void stop(StopMode mode = StopMode::fast);
  void restart(StopMode mode = StopMode::fast);
  void kill9_tree();        // SIGKILL to the postmaster and all its children, as if the host lost power
  void kill9_postmaster();  // SIGKILL to the postmaster only: its children end by themselves, a moment later
  void sigstop_tree();      // the host falls silent: sockets stay open, nobody answers
  void sigcont_tree();
  [[nodiscard]] bool running();

  void promote();                           // returns when it accepts writes
  void follow(const Server& primary);       // a stopped server becomes a standby of `primary` at its next start
  void repoint(const Server& primary);      // a running standby changes its primary (reload only)
  void rewind_from(const Server& primary);  // pg_rewind of this stopped server, then follow(primary)
  void set(const Settings& settings);       // ALTER SYSTEM and reload on a running server
  void write_hba(const std::vector<std::string>& lines);  // replaces pg_hba.conf; reloads when it runs

  [[nodiscard]] const std::string& name() const { return options_.name; }
  [[nodiscard]] int port() const { return port_.number(); }
  [[nodiscard]] const std::filesystem::path& data() const { return data_; }
  [[nodiscard]] const std::filesystem::path& log_file() const { return log_; }
  [[nodiscard]] pid_t postmaster_pid() const { return process_ ? process_->pid() : -1; }
  [[nodiscard]] std::vector<pid_t> tree() const;
  // The folder of its Unix socket.
  [[nodiscard]] const std::filesystem::path& socket_folder() const { return folder_.path(); }
  // Over TCP, with the role's password of this header. conninfo("postgres") is the superuser.
  [[nodiscard]] std::string conninfo(const std::string& user = "app", const std::string& database = "app") const;
  [[nodiscard]] Connection connect(const std::string& user = "app", const std::string& database = "app") const;
  // As superuser in database app, each time on a new connection over the unix socket.
  void exec(const std::string& sql) const;
  [[nodiscard]] std::string scalar(const std::string& sql) const;
  [[nodiscard]] Rows rows(const std::string& sql) const;

 private:
  [[nodiscard]] std::string socket_conninfo() const;
  [[nodiscard]] bool ready() const;
  [[nodiscard]] std::string log_tail() const;
  void write_configuration();
  void release_shared_memory() const;

  ServerOptions options_;
  TempDir folder_;
  Port port_;
  std::filesystem::path data_;
  std::filesystem::path log_;
  std::optional<Process> process_;
};

struct ReplicationOptions {
  int replicas = 2;
  bool quorum = false;        // synchronous_standby_names = 'ANY 1 (…all members…)' on every member
  ServerOptions server = {};  // for all of them; names are pg1 (the primary), pg2, …
};

// A primary and its streaming replicas, all running and streaming when the constructor returns (about a second).
class ReplicationSet {
 public:
  explicit ReplicationSet(const ReplicationOptions& options = {});

  [[nodiscard]] Server& operator[](std::size_t index) { return *members_.at(index); }  // 0 is the first primary
  [[nodiscard]] Server& primary() { return *members_.front(); }
  [[nodiscard]] Server& replica(std::size_t index = 0) { return *members_.at(index + 1); }
  [[nodiscard]] std::size_t size() const { return members_.size(); }
  // Until `replica` has replayed everything that `primary` has written so far.
  static void wait_caught_up(const Server& primary, const Server& replica);

 private:
  std::vector<std::unique_ptr<Server>> members_;
};

}  // namespace holdfast::testing
