#include "tests/support/postgres.hpp"

#include <signal.h>
#include <sys/shm.h>
#include <unistd.h>

#include <sstream>
#include <stdexcept>

#include "tests/support/certificates.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

std::string quoted(const std::string& value) {
  std::string result = "'";
  for (const char byte : value) {
    if (byte == '\'') result += '\'';
    result += byte;
  }
  return result + "'";
}

// The nth line (from 1) of postmaster.pid; src/include/utils/pidfile.h: 1 pid, 7 shared memory key and id, 8 status.
std::string pid_file_line(const std::filesystem::path& data, int number) {
  std::istringstream lines(read_file(data / "postmaster.pid"));
  std::string line;
  for (int i = 0; i < number; ++i)
    if (!std::getline(lines, line)) return {};
  return line;
}

std::string password_of(const std::string& user) {
  if (user == "postgres") return {};
  return user == "holdfast" ? monitor_password : app_password;
}

std::string upstream_conninfo(const Server& primary, const std::string& name) {
  return "host=127.0.0.1 port=" + std::to_string(primary.port()) + " user=holdfast password=" + monitor_password +
         " application_name=" + name;
}

}  // namespace

Server::Server(ServerOptions options)
    : options_(std::move(options)), data_(folder_.path() / "data"), log_(folder_.path() / "log") {
  TemplateCluster::prepare(options_.identity).copy_to(data_);
  if (options_.tls) {
    const auto certificates = shared_certificates();
    for (const auto& [from, to] : {std::pair{certificates.server, "server.crt"},
                                   {certificates.server_key, "server.key"},
                                   {certificates.ca, "root.crt"}}) {
      std::filesystem::copy_file(from, data_ / to);
      give_to_postgres(data_ / to);
    }
  }
  auto hba = options_.hba;
  hba.insert(hba.end(), {"local all all trust", "local replication all trust", "host all postgres 127.0.0.1/32 trust",
                         "host replication all 127.0.0.1/32 " + options_.host_auth,
                         "host all all 127.0.0.1/32 " + options_.host_auth});
  write_hba(hba);
  write_configuration();
}

Server::~Server() {
  if (folder_.path().empty()) return;  // moved from
  if (process_) process_->kill_tree();
  release_shared_memory();
}

void Server::write_configuration() {
  const auto on_off = [](bool value) { return value ? "on" : "off"; };
  Settings settings = {
      {"listen_addresses", "127.0.0.1"},
      {"port", std::to_string(port())},
      {"unix_socket_directories", folder_.path().string()},
      {"cluster_name", options_.name},
      {"fsync", on_off(options_.fsync)},
      {"ssl", on_off(options_.tls)},
      {"shared_buffers", "32MB"},
      {"max_connections", "100"},
      {"max_prepared_transactions", "20"},
      {"wal_level", "replica"},
      {"hot_standby", "on"},
      {"wal_log_hints", "on"},                   // pg_rewind needs it
      {"wal_keep_size", "128MB"},                // a replica that was away for a while still finds its WAL
      {"wal_retrieve_retry_interval", "100ms"},  // the default of 5 s only makes tests wait
      {"dynamic_shared_memory_type", "mmap"},    // below the data directory: kill -9 leaves nothing in /dev/shm
      {"jit", "off"},
      {"timezone", "UTC"},
      {"lc_messages", "C"},
      {"log_line_prefix", "%m [%p] %q%u@%d %a "},
  };
  if (options_.tls) settings.emplace_back("ssl_ca_file", "root.crt");
  settings.insert(settings.end(), options_.settings.begin(), options_.settings.end());
  std::string text;
  for (const auto& [name, value] : settings) text += name + " = " + quoted(value) + "\n";
  write_file(data_ / "test.conf", text);
  give_to_postgres(data_ / "test.conf");
}

void Server::write_hba(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  write_file(data_ / "pg_hba.conf", text);
  if (running()) process_->signal(SIGHUP);
}

void Server::launch() {
  if (running()) throw std::logic_error(options_.name + " already runs");
  process_.emplace(Command{.program = postgres_program("postgres"),
                           .arguments = {"-D", data_.string()},
                           .output = log_,
                           .as_postgres = true});
}

void Server::start() {
  const bool first = !std::filesystem::exists(log_);
  launch();
  try {
    wait_ready();
  } catch (const std::runtime_error&) {
    // The processes of a postmaster that was killed hold its shared memory for a moment longer.
    const auto still_held = [this] { return log_tail().find("pre-existing shared memory block") != std::string::npos; };
    if (!first && still_held()) {
      const bool up = wait_until(std::chrono::seconds(10), [&] {
        launch();
        return wait_until(std::chrono::seconds(10), [&] { return ready() || !process_->running(); }) && ready();
      });
      if (!up) throw;
      return;
    }
    // The lock behind Port keeps other tests away; a stranger on this machine may still have come first.
    if (!first || log_tail().find("Address already in use") == std::string::npos) throw;
    port_ = Port();
    write_configuration();
    launch();
    wait_ready();
  }
}

bool Server::ready() const {
  // What pg_ctl -w looks at; "ready" means that it accepts connections, as a primary or as a hot standby.
  return pid_file_line(data_, 1) == std::to_string(process_->pid()) && pid_file_line(data_, 8).starts_with("ready");
}

void Server::wait_ready(std::chrono::milliseconds bound) {
  const bool settled = wait_until(bound, [&] { return ready() || !process_->running(); });
  if (!settled || !process_->running())
    throw std::runtime_error(options_.name + (settled ? " ended at start:\n" : " isn't ready in time:\n") + log_tail());
}

std::string Server::log_tail() const {
  const auto text = read_file(log_);
  constexpr std::size_t shown = 4000;
  return text.size() <= shown ? text : text.substr(text.size() - shown);
}

bool Server::running() {
  return process_ && process_->running();
}

void Server::stop(StopMode mode) {
  if (!running()) return;
  process_->signal(mode == StopMode::smart ? SIGTERM : mode == StopMode::fast ? SIGINT : SIGQUIT);
  if (!process_->wait_for(30s)) {
    kill9_tree();
    throw std::runtime_error(options_.name + " didn't stop in time:\n" + log_tail());
  }
}

void Server::restart(StopMode mode) {
  stop(mode);
  start();
}

void Server::kill9_tree() {
  if (process_) process_->kill_tree();
}

void Server::kill9_postmaster() {
  if (!running()) return;
  process_->signal(SIGKILL);
  static_cast<void>(process_->wait_for(10s));
}

void Server::sigstop_tree() {
  if (process_) process_->signal_tree(SIGSTOP);
}

void Server::sigcont_tree() {
  // Children first would only find a postmaster that doesn't answer; the order makes no difference to clients.
  if (process_) process_->signal_tree(SIGCONT);
}

std::vector<pid_t> Server::tree() const {
  return process_ ? process_->tree() : std::vector<pid_t>{};
}

void Server::release_shared_memory() const {
  // A killed postmaster leaves its one small SysV segment (the interlock against a second postmaster) behind.
  std::istringstream line(pid_file_line(data_, 7));
  unsigned long key = 0;
  int id = -1;
  if (line >> key >> id) ::shmctl(id, IPC_RMID, nullptr);
}

void Server::promote() {
  exec("SELECT pg_promote(false)");
  if (!wait_until(30s, [&] { return scalar("SELECT pg_is_in_recovery()") == "f"; }))
    throw std::runtime_error(options_.name + " wasn't promoted in time:\n" + log_tail());
}

void Server::follow(const Server& primary) {
  if (running()) throw std::logic_error("follow() is for a stopped server; repoint() for a running standby");
  write_file(data_ / "standby.signal", "");
  give_to_postgres(data_ / "standby.signal");
  // In postgresql.auto.conf, so that ALTER SYSTEM replaces it; the last line wins.
  const auto path = data_ / "postgresql.auto.conf";
  write_file(path, read_file(path) + "primary_conninfo = " + quoted(upstream_conninfo(primary, options_.name)) + "\n");
}

void Server::repoint(const Server& primary) {
  set({{"primary_conninfo", upstream_conninfo(primary, options_.name)}});
}

void Server::rewind_from(const Server& primary) {
  const auto own = read_file(data_ / "test.conf");
  const auto hba = read_file(data_ / "pg_hba.conf");
  // A killed server is recovered by pg_rewind in single-user mode first. CHECKPOINT, because pg_rewind reads the
  // source's timeline from its control file (fixed in version 16).
  primary.exec("CHECKPOINT");
  run_checked({.program = postgres_program("pg_rewind"),
               .arguments = {"-D", data_.string(), "--source-server", primary.conninfo("postgres", "postgres")},
               .as_postgres = true},
              60s);
  // It copies the source's configuration files over ours.
  write_file(data_ / "test.conf", own);
  write_file(data_ / "pg_hba.conf", hba);
  follow(primary);
}

void Server::set(const Settings& settings) {
  Connection connection(socket_conninfo());
  for (const auto& [name, value] : settings) connection.exec("ALTER SYSTEM SET " + name + " = " + quoted(value));
  connection.exec("SELECT pg_reload_conf()");
}

std::string Server::socket_conninfo() const {
  return "host=" + folder_.path().string() + " port=" + std::to_string(port()) + " user=postgres dbname=app";
}

std::string Server::conninfo(const std::string& user, const std::string& database) const {
  auto text = "host=127.0.0.1 port=" + std::to_string(port()) + " user=" + user + " dbname=" + database;
  if (const auto password = password_of(user); !password.empty()) text += " password=" + password;
  return text;
}

Connection Server::connect(const std::string& user, const std::string& database) const {
  return Connection(conninfo(user, database));
}

void Server::exec(const std::string& sql) const {
  Connection(socket_conninfo()).exec(sql);
}
std::string Server::scalar(const std::string& sql) const {
  return Connection(socket_conninfo()).scalar(sql);
}
Rows Server::rows(const std::string& sql) const {
  return Connection(socket_conninfo()).rows(sql);
}

}  // namespace holdfast::testing
