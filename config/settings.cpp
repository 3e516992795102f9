// Every setting, once. Order is the order of the reference. Descriptions end with a full stop and name the unit where
// the type doesn't.
#include "config/binding.hpp"

namespace holdfast::config {

namespace {

constexpr std::uint64_t kilobyte = 1ULL << 10U;

constexpr std::uint64_t gigabyte = 1ULL << 30U;
constexpr std::uint64_t second = 1000;
constexpr std::uint64_t minute = 60 * second;
constexpr std::uint64_t hour = 60 * minute;
constexpr std::uint64_t day = 24 * hour;
constexpr Range up_to_a_day{1, day};

constexpr Levels of_a_pool{.listener = false, .why = "a pool serves the clients of all listeners"};
constexpr Levels of_the_process{
    .listener = false, .database = false, .user = false, .why = "it is one limit for the whole process"};

Binding<Listener> listen_address() {
  return {{.path = "address",
           .doc = "Where clients connect: an IP address and a port (0.0.0.0:6432, [::1]:6432), or the directory of a "
                  "Unix socket (/run/holdfast; another port than 6432 as in /run/holdfast:6433).",
           .applies = Applies::restart,
           .required = true,
           .type = Type::address,
           .standard = Value(Address{"", Listener{}.port})},
          [](Listener& object, Value value) {
            auto address = std::get<Address>(std::move(value));
            object.address = std::move(address.host);
            object.port = address.port;
          },
          [](const Listener& object) -> std::optional<Value> {
            return Address{object.address, object.port};
          }};
}

Binding<Config> http_address() {
  return {{.path = "http.address",
           .doc = "Where /metrics, /healthz and /readyz are served: an IP address and a port. There is neither TLS nor "
                  "a login, so use the loopback or a management network.",
           .zero = "no HTTP",
           .applies = Applies::restart,
           .type = Type::address,
           .standard = Value(Address{Http{}.address, Http{}.port})},
          [](Config& object, Value value) {
            auto address = std::get<Address>(std::move(value));
            object.http.address = std::move(address.host);
            object.http.port = address.port;
          },
          [](const Config& object) -> std::optional<Value> {
            return Address{object.http.address, object.http.port};
          }};
}

// `consistency` is two fields that always travel together, so that a level never inherits half of it.
SessionBinding reads_consistency() {
  return {{{.path = "reads.consistency",
            .doc = "What a read on a replica must see: `global` (every write to its database that finished earlier "
                   "through this process, whichever client's it was), `session` (the client's own earlier writes, "
                   "and never older data than it has already read: not enough if an application writes on one "
                   "connection of its pool and reads on another), `bounded: 5s` (data that is at most this old), "
                   "`eventual` (anything). A read that no replica is fresh enough for goes to the primary, unless "
                   "`reads.fallback_to_primary` is false.",
            .type = Type::consistency,
            .words = words_of<ReadConsistency>,
            .standard = Value(Consistency{EffectiveSettings{}.read_consistency, EffectiveSettings{}.read_staleness})},
           [](SessionSettings& object, Value value) {
             const auto consistency = std::get<Consistency>(value);
             object.read_consistency = consistency.mode;
             object.read_staleness = consistency.staleness;
           },
           [](const SessionSettings& object) -> std::optional<Value> {
             if (!object.read_consistency) return std::nullopt;
             return Consistency{*object.read_consistency, object.read_staleness.value_or(Milliseconds{0})};
           }},
          [](const SessionSettings& level, EffectiveSettings& into) {
            if (!level.read_consistency) return;
            into.read_consistency = *level.read_consistency;
            into.read_staleness = level.read_staleness.value_or(Milliseconds{0});
          }};
}

// The process has limits.max_clients instead; a listener, database or user that sets none has no limit of its own.
SessionBinding max_clients() {
  return {{{.path = "max_clients",
            .doc = "Clients of this listener, database or user that may be connected at once; further ones are refused "
                   "with 53300.",
            .range = {1, 1000000},
            .levels = {.process = false, .why = "the limit of the whole process is limits.max_clients"},
            .type = Type::integer},
           [](SessionSettings& object, Value value) {
             object.max_clients = static_cast<std::uint32_t>(std::get<std::uint64_t>(value));
           },
           [](const SessionSettings& object) -> std::optional<Value> {
             if (!object.max_clients) return std::nullopt;
             return std::uint64_t{*object.max_clients};
           }},
          [](const SessionSettings&, EffectiveSettings&) {}};
}

}  // namespace

const std::vector<Binding<Config>>& process_table() {
  static const std::vector<Binding<Config>> table = {
      bind<Config, &Config::workers>({.path = "workers",
                                      .doc = "Worker threads, which serve the clients.",
                                      .range = {1, 1024},
                                      .zero = "one per core",
                                      .applies = Applies::restart}),
      bind<Config, &Config::state_dir>(
          {.path = "state_dir",
           .doc =
               "Directory that outlives the process: for each cluster a small file says which primary was accepted "
               "last, so that a process that starts while only a stale primary can be reached doesn't believe it. "
               "No two processes may share it. Without it, or if it can't be written, there is a warning and nothing "
               "is kept. To accept an older primary, make sure that the recorded one can't come "
               "back as a primary, remove the cluster's file and reload. \"\": nothing is kept.",
           .applies = Applies::restart,
           .type = Type::file}),
      bind<Config, &Config::auth, &Auth::method>(
          {.path = "auth.method",
           .doc = "How clients authenticate: `scram-sha-256`, or `trust` (not at all; for tests only)."}),
      bind<Config, &Config::auth, &Auth::users_file>(
          {.path = "auth.users_file",
           .doc =
               "File with users and their secrets in the format of PgBouncer's userlist.txt, one user per line: "
               "\"name\" \"secret\". A secret is a SCRAM-SHA-256 verifier (as in pg_authid.rolpassword) or a password.",
           .type = Type::file}),
      bind<Config, &Config::auth, &Auth::login_timeout>(
          {.path = "auth.login_timeout",
           .doc =
               "How long a client may take from connecting to the end of its authentication, TLS included, before it "
               "is disconnected. What its login waits for then has the limits of `pool.wait_timeout` and "
               "`pool.hold_timeout`.",
           .range = {100, 10 * minute}}),
      http_address(),
      bind<Config, &Config::log, &Log::level>({.path = "log.level",
                                               .doc = "The lowest severity that is logged.",
                                               .type = Type::word,
                                               .words = words::log_level}),
      bind<Config, &Config::log, &Log::format>(
          {.path = "log.format", .doc = "`text`: lines of `event key=value …`; `json`: one JSON object per line."}),
      bind<Config, &Config::limits, &Limits::max_clients>(
          {.path = "limits.max_clients",
           .doc = "Clients of the whole process that may be connected at once; further ones are refused with 53300.",
           .range = {1, 1000000}}),
      bind<Config, &Config::limits, &Limits::statement_cache>(
          {.path = "limits.statement_cache",
           .doc = "Memory for what the parser found out about statements, for each worker; the least recently used "
                  "entries are dropped.",
           .range = {64 * kilobyte, 64 * gigabyte},
           .applies = Applies::restart,
           .type = Type::size}),
      bind<Config, &Config::limits, &Limits::prepared_per_server>(
          {.path = "limits.prepared_per_server",
           .doc = "Named prepared statements that are kept on one server connection; beyond that the least recently "
                  "used one is closed, and prepared again when it is needed. It applies to connections that are "
                  "opened later.",
           .range = {1, 100000}}),
      bind<Config, &Config::limits, &Limits::prepared_memory_per_client>(
          {.path = "limits.prepared_memory_per_client",
           .doc = "Memory for the names and texts of one client's named prepared statements; a Parse beyond it is "
                  "refused with 54000. It applies to clients that connect later.",
           .range = {64 * kilobyte, 64 * gigabyte},
           .type = Type::size}),
      bind<Config, &Config::limits, &Limits::prepared_memory_per_worker>(
          {.path = "limits.prepared_memory_per_worker",
           .doc = "Memory for the texts of all prepared statements, for each worker. When it is used up, texts over "
                  "16KiB are not kept, which ties their clients to the servers where they were parsed, and each "
                  "client's named statements may take 64KiB at most.",
           .range = {64 * kilobyte, 64 * gigabyte},
           .applies = Applies::restart,
           .type = Type::size}),
      bind<Config, &Config::limits, &Limits::receive_memory>(
          {.path = "limits.receive_memory",
           .doc = "Memory for messages that have arrived only in part, or wait for a server, for each worker. When "
                  "it is used up, the client whose message has made no progress for the longest time gets 53200, and "
                  "is disconnected unless it waits for a server.",
           .range = {1024 * kilobyte, 64 * gigabyte},
           .type = Type::size}),
      bind<Config, &Config::limits, &Limits::statement_memory>(
          {.path = "limits.statement_memory",
           .doc = "The longest statement that is buffered and parsed; a longer one is streamed to the primary "
                  "without being parsed, and pins its client.",
           .range = {kilobyte, gigabyte},
           .applies = Applies::restart,
           .type = Type::size}),
      bind<Config, &Config::limits, &Limits::shutdown_timeout>(
          {.path = "limits.shutdown_timeout",
           .doc = "How long running transactions may continue after SIGTERM.",
           .range = up_to_a_day,
           .zero = "they are ended at once"}),
  };
  return table;
}

const std::vector<Binding<Listener>>& listener_table() {
  static const std::vector<Binding<Listener>> table = {
      listen_address(),
      bind<Listener, &Listener::tls, &ListenerTls::mode>(
          {.path = "tls.mode",
           .doc = "`disable`: no TLS; `allow`: clients connect with or without TLS; `require`: only with TLS."}),
      bind<Listener, &Listener::tls, &ListenerTls::certificate>(
          {.path = "tls.certificate",
           .doc = "PEM file with the certificate that clients are shown, and its chain.",
           .type = Type::file}),
      bind<Listener, &Listener::tls, &ListenerTls::key>(
          {.path = "tls.key", .doc = "PEM file with the private key of the certificate.", .type = Type::file}),
  };
  return table;
}

const std::vector<Binding<Cluster>>& cluster_table() {
  static constexpr auto restart = Applies::restart;
  static const std::vector<Binding<Cluster>> table = {
      bind<Cluster, &Cluster::monitor, &Monitor::user>(
          {.path = "monitor.user",
           .doc = "The role that probes the members. It needs no rights beyond logging in; pg_monitor lets it see the "
                  "WAL receivers of standbys."}),
      bind<Cluster, &Cluster::monitor, &Monitor::password>(
          {.path = "monitor.password", .doc = "The password of `monitor.user`."}),
      bind<Cluster, &Cluster::monitor, &Monitor::database>(
          {.path = "monitor.database", .doc = "The database that the probes connect to."}),
      bind<Cluster, &Cluster::monitor, &Monitor::interval>({.path = "monitor.interval",
                                                            .doc = "Time between two full probes of a healthy "
                                                                   "member, or of one that has been down for more "
                                                                   "than 10s.",
                                                            .range = {50, hour}}),
      bind<Cluster, &Cluster::monitor, &Monitor::fast_interval>(
          {.path = "monitor.fast_interval",
           .doc = "Time between two light probes (role and WAL position only) of a healthy member, and between two "
                  "full probes of a member that is not healthy or whose cluster has no primary. While there is no "
                  "primary, light probes come every 25ms, or at this interval if it is shorter.",
           .range = {10, hour}}),
      bind<Cluster, &Cluster::monitor, &Monitor::query_timeout>(
          {.path = "monitor.query_timeout",
           .doc = "How long the query of a probe may take before the probe fails.",
           .range = {10, hour}}),
      bind<Cluster, &Cluster::monitor, &Monitor::connect_timeout>(
          {.path = "monitor.connect_timeout",
           .doc = "How long a probe may take to connect, login included, before it fails.",
           .range = {10, hour}}),
      bind<Cluster, &Cluster::monitor, &Monitor::fall>(
          {.path = "monitor.fall",
           .doc = "Consecutive failed probes after which a member is marked down; a refused connection marks it down "
                  "at once, and two after `failover.down_after` of silence do.",
           .range = {1, 1000}}),
      bind<Cluster, &Cluster::monitor, &Monitor::rise>(
          {.path = "monitor.rise",
           .doc = "Consecutive successful probes after which a member that was down is marked up.",
           .range = {1, 1000}}),
      bind<Cluster, &Cluster::failover, &Failover::mode>(
          {.path = "failover.mode",
           .doc = "`follow`: Holdfast promotes no member itself; it waits for a promotion and follows it.",
           .applies = restart}),
      bind<Cluster, &Cluster::failover, &Failover::authority>(
          {.path = "failover.authority",
           .doc = "What decides which member is the primary: `sql` asks the members themselves.",
           .applies = restart}),
      bind<Cluster, &Cluster::failover, &Failover::isolation>(
          {.path = "failover.isolation",
           .doc = "What to do when a primary answers while more than half of the cluster's members, or all but the "
                  "primary, are out of sight: they may have another primary by now, and what is written to this one may "
                  "be lost. A member that has answered before is out of sight when, for `failover.down_after`, it has "
                  "sent no answer to Holdfast (a refused connection is one) and none to the primary "
                  "(`pg_stat_replication`, which takes pg_monitor). `hold`: writes wait; `warn`: the log and metrics "
                  "tell; `ignore`: nothing; `auto`: `hold` with three members or more, `warn` with two."}),
      bind<Cluster, &Cluster::failover, &Failover::down_after>(
          {.path = "failover.down_after",
           .doc =
               "How long a member must have been silent to be marked down by two failed probes, and to be out of sight "
               "for `failover.isolation`.",
           .range = {100, hour}}),
      bind<Cluster, &Cluster::failover, &Failover::claim_wait>(
          {.path = "failover.claim_wait",
           .doc =
               "How long writes wait when a member was promoted beside a primary that answers and that standbys "
               "stream from. The new one becomes the primary as soon as the old one stops or more standbys follow the "
               "new one; when the time is over, the old one goes on and the new one is fenced.",
           .range = {0, hour}}),
      bind<Cluster, &Cluster::tls, &ServerTls::mode>(
          {.path = "tls.mode", .doc = "TLS to the members, with the meanings of libpq's sslmode."}),
      bind<Cluster, &Cluster::tls, &ServerTls::ca>(
          {.path = "tls.ca",
           .doc = "PEM file with the certificate authorities that `verify-ca` and `verify-full` trust.",
           .type = Type::file}),
      bind<Cluster, &Cluster::tls, &ServerTls::certificate>(
          {.path = "tls.certificate",
           .doc = "PEM file with a client certificate, if the members ask for one.",
           .type = Type::file}),
      bind<Cluster, &Cluster::tls, &ServerTls::key>(
          {.path = "tls.key", .doc = "PEM file with the private key of the client certificate.", .type = Type::file}),
      bind<Cluster, &Cluster::connect_timeout>(
          {.path = "connect_timeout",
           .doc = "How long a pool's new connection to a member may take, login included.",
           .range = {10, hour}}),
      bind<Cluster, &Cluster::system_identifier>({.path = "system_identifier",
                                                  .doc = "Database system identifier of the cluster (see "
                                                         "pg_controldata); a member with another one gets no traffic.",
                                                  .zero = "the one that most members have",
                                                  .applies = restart}),
  };
  return table;
}

const std::vector<Binding<Member>>& member_table() {
  static const std::vector<Binding<Member>> table = {
      bind<Member, &Member::name>({.path = "name", .doc = "Name of the member in logs and metrics.", .required = true}),
      bind<Member, &Member::host>(
          {.path = "host", .doc = "Host name, IP address, or the directory of a Unix socket.", .required = true}),
      bind<Member, &Member::port>(
          {.path = "port", .doc = "TCP port, or the number in the name of the Unix socket.", .range = {1, 65535}}),
      bind<Member, &Member::zone>(
          {.path = "zone", .doc = "Where the member is, as free text; has no effect in this version."}),
      bind<Member, &Member::priority>(
          {.path = "priority",
           .doc = "Preference for promotion, highest first; has no effect with `failover.mode: follow`.",
           .range = {1, 1000},
           .zero = "never promoted"}),
      bind<Member, &Member::weight>({.path = "weight",
                                     .doc = "Share of the reads with `reads.balance: weighted`.",
                                     .range = {1, 1000},
                                     .zero = "no reads with `reads.balance: weighted`"}),
  };
  return table;
}

const std::vector<Binding<Database>>& database_table() {
  static const std::vector<Binding<Database>> table = {
      bind<Database, &Database::cluster>(
          {.path = "cluster", .doc = "The cluster that the database is in.", .required = true}),
      bind<Database, &Database::database>(
          {.path = "database",
           .doc = "Name of the database on the servers. Empty: the name that the client asked for."}),
  };
  return table;
}

const std::vector<Binding<User>>& user_table() {
  static const std::vector<Binding<User>> table = {
      bind<User, &User::password>({.path = "password",
                                   .doc = "Secret that this user logs in with: a SCRAM-SHA-256 verifier or a password. "
                                          "Set it here or in auth.users_file, not in both."}),
      bind<User, &User::server_password>(
          {.path = "server_password",
           .doc = "Password that Holdfast logs in to servers with on behalf of this user. Without it Holdfast uses the "
                  "user's password where it is known, else the SCRAM keys from the client's login."}),
  };
  return table;
}

const std::vector<SessionBinding>& session_table() {
  using S = SessionSettings;
  using E = EffectiveSettings;
  static const std::vector<SessionBinding> table = {
      bind_session<&S::pool_mode, &E::pool_mode>(
          {.path = "pool.mode",
           .doc = "When a server connection is released: `transaction`: at the end of each transaction; `session`: "
                  "when the client disconnects. In session mode `route: auto` sends everything to the primary."}),
      bind_session<&S::pool_size, &E::pool_size>(
          {.path = "pool.size",
           .doc = "Server connections per member, database and user, for the whole process.",
           .range = {1, 100000},
           .levels = of_a_pool}),
      bind_session<&S::wait_timeout, &E::wait_timeout>(
          {.path = "pool.wait_timeout",
           .doc = "How long a client waits for a free server connection before it gets 53300.",
           .range = up_to_a_day}),
      bind_session<&S::hold_timeout, &E::hold_timeout>(
          {.path = "pool.hold_timeout",
           .doc = "How long a client waits for a primary before it gets 57P03; also how long a statement is tried if "
                  "every connection ends before it is sent.",
           .range = up_to_a_day}),
      bind_session<&S::hold_limit, &E::hold_limit>(
          {.path = "pool.hold_limit",
           .doc = "Clients that may wait for a primary at once; further ones get 57P03 without waiting.",
           .range = {1, 1000000},
           .zero = "no client waits",
           .levels = of_the_process}),
      bind_session<&S::server_idle_timeout, &E::server_idle_timeout>(
          {.path = "pool.idle_timeout",
           .doc = "Server connections that have been idle for longer are closed.",
           .range = {second, 365 * day},
           .levels = of_a_pool}),
      bind_session<&S::server_lifetime, &E::server_lifetime>(
          {.path = "pool.lifetime",
           .doc = "Server connections that are older are closed when they are released.",
           .range = {second, 365 * day},
           .levels = of_a_pool}),
      bind_session<&S::on_session_state, &E::on_session_state>(
          {.path = "pool.on_session_state",
           .doc = "What happens when a client leaves state in its session that can't be re-created: `pin` keeps the "
                  "server connection for this client until it sends DISCARD ALL or disconnects."}),
      max_clients(),
      bind_session<&S::query_timeout, &E::query_timeout>(
          {.path = "timeouts.query",
           .doc = "The longest that a statement may run before it is canceled (57014).",
           .range = {1, 365 * day},
           .zero = "no limit"}),
      bind_session<&S::idle_in_transaction_timeout, &E::idle_in_transaction_timeout>(
          {.path = "timeouts.idle_in_transaction",
           .doc = "A client that is idle for longer inside a transaction, or in a batch whose Sync it has not sent, "
                  "is disconnected (25P03).",
           .range = {1, 365 * day},
           .zero = "no limit"}),
      bind_session<&S::client_idle_timeout, &E::client_idle_timeout>(
          {.path = "timeouts.client_idle",
           .doc = "A client that is idle for longer outside a transaction is disconnected (57P05).",
           .range = {1, 365 * day},
           .zero = "no limit"}),
      bind_session<&S::message_timeout, &E::message_timeout>(
          {.path = "timeouts.message",
           .doc = "A client that has sent part of a message, and then neither the rest nor another 16KiB of it "
                  "within this time, is disconnected (08006). COPY data may pause for as long as it likes.",
           .range = {1, 365 * day},
           .zero = "no limit"}),
      bind_session<&S::route, &E::route>(
          {.path = "route",
           .doc = "Where statements go: `auto` (safe reads to replicas, everything else to the primary), `primary`, "
                  "`replica` (everything to a replica, whatever `reads.consistency` says; 57P03 while there is "
                  "none), or `replica_or_primary` (everything to a replica, or to the primary while no replica is "
                  "usable and fresh enough for `reads.consistency`)."}),
      reads_consistency(),
      bind_session<&S::freshness_wait, &E::freshness_wait>(
          {.path = "reads.freshness_wait",
           .doc = "How long a read waits for a replica to become fresh enough before it goes to the primary. While it "
                  "waits for a server connection there, it still takes a replica that becomes fresh first.",
           .range = {1, minute},
           .zero = "it goes at once"}),
      bind_session<&S::return_wait, &E::return_wait>(
          {.path = "reads.return_wait",
           .doc = "With `consistency: session`: how long a read may wait to move from the primary back to a replica "
                  "that has the client's own writes but not yet everything the client has read.",
           .range = {1, minute},
           .zero = "it does not wait"}),
      bind_session<&S::max_lag, &E::max_lag>(
          {.path = "reads.max_lag",
           .doc = "A replica that is further behind the primary than this much WAL serves no reads.",
           .range = {1, 1024 * gigabyte},
           .type = Type::size}),
      bind_session<&S::balance, &E::balance>(
          {.path = "reads.balance",
           .doc = "How a replica is chosen among those that are fresh enough: `least_connections` (the fewest server "
                  "connections in use and clients in line for one), `round_robin`, or `weighted` (the fewest of both "
                  "relative to `weight`)."}),
      bind_session<&S::fallback_to_primary, &E::fallback_to_primary>(
          {.path = "reads.fallback_to_primary",
           .doc = "With `route: auto`: whether reads go to the primary when no replica is usable and fresh enough; "
                  "otherwise they get 57P03."}),
      bind_session<&S::read_functions, &E::read_functions>(
          {.path = "reads.functions",
           .doc = "Your own functions that only read and may run on a replica, as name or schema.name."}),
  };
  return table;
}

}  // namespace holdfast::config
