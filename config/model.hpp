// What the operator wrote, checked and complete: plain values, immutable once published (shared_ptr<const Config>).
// The keys, with their defaults, ranges and descriptions, are in settings.cpp; this file is the shape that the rest
// reads.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace holdfast::config {

using Milliseconds = std::chrono::milliseconds;

// A value that must not be printed. Streams and logs show "[secret]"; only reveal() gives it, where it is used.
class Secret {
 public:
  Secret() = default;
  explicit Secret(std::string value) : value_(std::move(value)) {}
  [[nodiscard]] const std::string& reveal() const { return value_; }
  [[nodiscard]] bool empty() const { return value_.empty(); }
  friend bool operator==(const Secret&, const Secret&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Secret& /*secret*/) { return out << "[secret]"; }

 private:
  std::string value_;
};

enum class PoolMode : std::uint8_t { transaction, session, statement };
enum class Route : std::uint8_t { automatic, primary, replica, replica_or_primary };
enum class ReadConsistency : std::uint8_t { session, global, bounded, eventual };
enum class Balance : std::uint8_t { least_connections, round_robin, weighted, latency };
enum class OnSessionState : std::uint8_t { pin, reject, ignore };
enum class FailoverMode : std::uint8_t { follow, trigger, observe };
enum class Isolation : std::uint8_t { automatic, hold, warn, ignore };
enum class Authority : std::uint8_t { sql, patroni, kubernetes };
enum class AuthMethod : std::uint8_t { scram_sha_256, trust };
// towards clients
enum class ListenTls : std::uint8_t { disable, allow, require };
// towards servers: libpq's sslmode (manual, 34.19)
enum class SslMode : std::uint8_t { disable, allow, prefer, require, verify_ca, verify_full };

// Settings of the process, a listener, a database or a user; the most specific wins (user over database over listener
// over process). Unset means: ask the next level. A few are not for every level: Key::levels.
struct SessionSettings {
  std::optional<PoolMode> pool_mode;
  std::optional<std::uint32_t> pool_size;     // server connections per member, database and user, of the whole process
  std::optional<std::uint32_t> max_clients;   // of this listener, database or user; the process has limits.max_clients
  std::optional<Milliseconds> wait_timeout;   // for a free server connection, then 53300
  std::optional<Milliseconds> hold_timeout;   // for a primary, then 57P03
  std::optional<std::uint32_t> hold_limit;    // clients of the process that may wait for a primary at once
  std::optional<Milliseconds> query_timeout;  // 0: none
  std::optional<Milliseconds> idle_in_transaction_timeout;  // 0: none
  std::optional<Milliseconds> client_idle_timeout;          // 0: none
  std::optional<Milliseconds> message_timeout;              // for progress of a message that has begun; 0: none
  std::optional<Milliseconds> server_idle_timeout;          // idle server connections are closed after
  std::optional<Milliseconds> server_lifetime;              // and after this age, when released
  std::optional<Route> route;
  std::optional<ReadConsistency> read_consistency;
  std::optional<Milliseconds> read_staleness;  // for `bounded: 5s`
  std::optional<Milliseconds> freshness_wait;
  std::optional<Milliseconds> return_wait;
  std::optional<std::uint64_t> max_lag;  // bytes of WAL behind the primary at which a replica serves no reads
  std::optional<Balance> balance;
  std::optional<bool> fallback_to_primary;
  std::optional<OnSessionState> on_session_state;
  std::optional<std::vector<std::string>> read_functions;  // user functions that may run on a replica

  friend bool operator==(const SessionSettings&, const SessionSettings&) = default;
};

// The same with a value for every setting: what is in force for one session.
struct EffectiveSettings {
  PoolMode pool_mode = PoolMode::transaction;
  std::uint32_t pool_size = 20;
  Milliseconds wait_timeout{30000};
  Milliseconds hold_timeout{30000};
  std::uint32_t hold_limit = 1000;
  Milliseconds query_timeout{0};
  Milliseconds idle_in_transaction_timeout{0};
  Milliseconds client_idle_timeout{0};
  Milliseconds message_timeout{300000};
  Milliseconds server_idle_timeout{600000};
  Milliseconds server_lifetime{3600000};
  Route route = Route::automatic;
  ReadConsistency read_consistency = ReadConsistency::global;
  Milliseconds read_staleness{0};
  Milliseconds freshness_wait{0};
  Milliseconds return_wait{10};
  std::uint64_t max_lag = 16U << 20;
  Balance balance = Balance::least_connections;
  bool fallback_to_primary = true;
  OnSessionState on_session_state = OnSessionState::pin;
  std::vector<std::string> read_functions;

  friend bool operator==(const EffectiveSettings&, const EffectiveSettings&) = default;
};

struct ListenerTls {
  ListenTls mode = ListenTls::disable;
  std::string certificate;  // PEM file
  std::string key;          // PEM file
  friend bool operator==(const ListenerTls&, const ListenerTls&) = default;
};

struct Listener {
  std::string address;  // host part: "0.0.0.0", "::1", or an absolute path for a Unix socket's directory
  std::uint16_t port = 6432;
  ListenerTls tls;
  SessionSettings settings;
  friend bool operator==(const Listener&, const Listener&) = default;
};

struct ServerTls {
  SslMode mode = SslMode::prefer;
  std::string ca;           // PEM file, for verify-ca and verify-full
  std::string certificate;  // client certificate, optional
  std::string key;
  friend bool operator==(const ServerTls&, const ServerTls&) = default;
};

struct Member {
  std::string name;
  std::string host;
  std::uint16_t port = 5432;
  std::string zone;
  std::uint32_t priority = 100;  // 0: never promoted
  std::uint32_t weight = 1;      // of reads, for `balance: weighted`
  friend bool operator==(const Member&, const Member&) = default;
};

struct Monitor {
  std::string user = "holdfast";
  Secret password;
  std::string database = "postgres";
  Milliseconds interval{500};       // between probes of a healthy member
  Milliseconds fast_interval{100};  // while there is a suspicion or no primary
  Milliseconds query_timeout{1000};
  Milliseconds connect_timeout{1000};
  std::uint32_t fall = 3;  // failed probes in a row that take a member down (a refused connect counts at once)
  std::uint32_t rise = 2;  // good ones that bring it back
  friend bool operator==(const Monitor&, const Monitor&) = default;
};

struct Failover {
  FailoverMode mode = FailoverMode::follow;
  Authority authority = Authority::sql;
  Isolation isolation = Isolation::automatic;
  Milliseconds down_after{2000};  // of silence: a member is out of sight
  Milliseconds claim_wait{5000};  // beside a primary that lives and is followed
  friend bool operator==(const Failover&, const Failover&) = default;
};

struct Cluster {
  std::string name;
  std::vector<Member> members;
  Monitor monitor;
  Failover failover;
  ServerTls tls;
  Milliseconds connect_timeout{5000};   // of a pool's connection, login included
  std::uint64_t system_identifier = 0;  // 0: learnt, the one that most members have
  friend bool operator==(const Cluster&, const Cluster&) = default;
};

struct Database {
  std::string name;  // "*" for any other
  std::string cluster;
  std::string database;  // the name on the servers; empty: the same
  SessionSettings settings;
  friend bool operator==(const Database&, const Database&) = default;
};

struct User {
  std::string name;
  Secret password;         // verifier or password of the client; load() also puts it among auth.credentials
  Secret server_password;  // for login to servers where the client's secret can't be passed on
  SessionSettings settings;
  friend bool operator==(const User&, const User&) = default;
};

// One line of the users' file: a name and a SCRAM verifier ("SCRAM-SHA-256$…", as in pg_authid) or a password.
struct Credential {
  std::string user;
  Secret secret;
  friend bool operator==(const Credential&, const Credential&) = default;
};

struct Auth {
  AuthMethod method = AuthMethod::scram_sha_256;
  std::string users_file;
  std::vector<Credential> credentials;  // read from users_file, then those of `users:`; no name twice
  Milliseconds login_timeout{15000};    // from accept to the end of authentication, TLS included
  friend bool operator==(const Auth&, const Auth&) = default;
};

struct Http {
  std::string address;  // empty: no HTTP
  std::uint16_t port = 9632;
  friend bool operator==(const Http&, const Http&) = default;
};

enum class LogFormat : std::uint8_t { text, json };

struct Log {
  std::string level = "info";
  LogFormat format = LogFormat::text;
  friend bool operator==(const Log&, const Log&) = default;
};

struct Limits {
  std::uint32_t max_clients = 10000;
  std::uint64_t statement_cache = 16U << 20;   // bytes of verdicts, per worker
  std::uint32_t prepared_per_server = 500;     // named statements kept on one server connection
  std::uint64_t prepared_memory_per_client = 16U << 20;   // texts of one client's named statements
  std::uint64_t prepared_memory_per_worker = 256U << 20;  // texts of all statements
  std::uint64_t receive_memory = 256U << 20;              // per worker: messages that wait, or aren't there as a whole
  std::uint64_t statement_memory = 16U << 20;  // longest statement that is parsed; longer ones go to the primary
  Milliseconds shutdown_timeout{30000};        // after SIGTERM: how long running transactions may continue
  friend bool operator==(const Limits&, const Limits&) = default;
};

struct Config {
  std::vector<Listener> listeners;
  std::vector<Cluster> clusters;
  std::vector<Database> databases;
  std::vector<User> users;
  SessionSettings settings;  // the process's level: `pool:` and the rest
  Auth auth;
  Http http;
  Log log;
  Limits limits;
  std::uint32_t workers = 0;  // 0: one per core
  std::string state_dir = "/var/lib/holdfast";  // empty: nothing is kept

  // Any thread may call these (a published Config never changes); the pointers live as long as the Config.
  // The entry for a database's name, or the one for "*", or none.
  [[nodiscard]] const Database* find_database(std::string_view name) const;
  [[nodiscard]] const User* find_user(std::string_view name) const;
  [[nodiscard]] const Cluster* find_cluster(std::string_view name) const;
  // The names of the clusters that have a server in common with this one, directly or by way of others: they are one
  // cluster under several names. Its own name comes first.
  [[nodiscard]] std::vector<std::string> sharing_servers_with(std::string_view cluster) const;
  // What is in force for a session of this listener, database and user. `database` and `user` may be null.
  [[nodiscard]] EffectiveSettings effective(const Listener& listener, const Database* database, const User* user) const;
  friend bool operator==(const Config&, const Config&) = default;
};

}  // namespace holdfast::config
