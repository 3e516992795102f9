#include "config/validate.hpp"

#include <sys/un.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "config/secrets.hpp"
#include "config/userlist.hpp"
#include "config/value.hpp"

namespace holdfast::config {

namespace {

bool is_folder(std::string_view host) {
  return host.starts_with('/');
}

bool is_any(std::string_view host) {
  return host == "0.0.0.0" || host == "::";
}

std::string quote(std::string_view name) {
  return "'" + printable(name, 64) + "'";
}

class Validator {
 public:
  Validator(const Config& config, const Origins& origins) : config_(config), origins_(origins) {}

  Findings run() {
    check_presence();
    check_listeners();
    for (const auto& cluster : config_.clusters) check_cluster(cluster);
    check_databases();
    check_users();
    if (is_folder(config_.http.address)) error("http.address", "must be an IP address and a port, not a directory");
    return std::move(findings_);
  }

 private:
  Problem problem(const std::string& key, std::string message) const {
    const auto place = origins_.find(key);
    return {origins_.file, place.line, place.column, key, std::move(message)};
  }
  void error(const std::string& key, std::string message) {
    findings_.errors.push_back(problem(key, std::move(message)));
  }
  void warn(const std::string& key, std::string message) {
    findings_.warnings.push_back(problem(key, std::move(message)));
  }

  void check_presence() {
    if (config_.listeners.empty()) error("listen", "is missing or empty: give at least one `- address: 0.0.0.0:6432`");
    if (config_.clusters.empty()) error("clusters", "is missing or empty: give at least one cluster with its members");
    if (config_.databases.empty()) {
      error("databases", "is missing or empty: `\"*\": { cluster: NAME }` serves every database of a cluster");
    }
  }

  void check_listeners() {
    std::map<std::string, std::string> taken;  // address as it is bound → path
    for (std::size_t i = 0; i < config_.listeners.size(); ++i) {
      const auto& listener = config_.listeners[i];
      const auto path = join("listen", i);
      if (!listener.address.empty()) check_address(listener, path + ".address", taken);
      check_listener_tls(listener, path);
    }
    check_http(taken);
  }

  void check_address(const Listener& listener, const std::string& path, std::map<std::string, std::string>& taken) {
    const auto socket = listener.address + "/.s.PGSQL." + std::to_string(listener.port);
    if (is_folder(listener.address) && socket.size() >= sizeof(sockaddr_un::sun_path)) {
      error(path, "the path of a Unix socket is limited to " + std::to_string(sizeof(sockaddr_un::sun_path) - 1) +
                      " bytes: " + socket + " has " + std::to_string(socket.size()));
    }
    if (listener.port == 0) {
      if (is_folder(listener.address)) error(path, "a Unix socket needs a port, which is part of its name");
      return;  // the system chooses one that is free
    }
    const auto port = ":" + std::to_string(listener.port);
    const auto [earlier, fresh] = taken.emplace(listener.address + port, path);
    if (!fresh) return error(path, "is the same as " + earlier->second);
    if (is_folder(listener.address)) return;
    const bool six = listener.address.find(':') != std::string::npos;
    const auto covers = [&](const std::string& any) {
      const auto found = taken.find(any + port);
      if (found != taken.end() && found->second != path) error(path, "is already covered by " + found->second);
    };
    covers(six ? "::" : "0.0.0.0");
    if (!is_any(listener.address)) return;
    for (const auto& [address, other] : taken) {
      const bool same_family = (address.find(':') != address.rfind(':')) == six;
      if (other != path && same_family && !is_folder(address) && address.ends_with(port)) {
        error(path, "also covers " + other + ": remove one of them");
      }
    }
  }

  void check_http(const std::map<std::string, std::string>& taken) {
    const auto& http = config_.http;
    if (http.address.empty() || http.port == 0) return;
    for (const auto& host : {http.address, std::string("0.0.0.0"), std::string("::")}) {
      const bool same_family = (host.find(':') == std::string::npos) == (http.address.find(':') == std::string::npos);
      const auto found = taken.find(host + ":" + std::to_string(http.port));
      if (same_family && found != taken.end()) {
        return error("http.address", "uses the same port as " + found->second);
      }
    }
  }

  // A missing, unreadable or too widely writable file is an error; a key that everybody can read is a warning.
  void check_file(const std::string& path, const std::string& file, bool secret) {
    const auto warning = inspect_file(file, secret);
    if (!warning) return error(path, "file " + quote(file) + " " + warning.error());
    if (!warning->empty()) warn(path, "file " + quote(file) + " " + *warning);
  }

  void check_listener_tls(const Listener& listener, const std::string& path) {
    const auto& tls = listener.tls;
    if (tls.mode == ListenTls::disable) {
      if (!tls.certificate.empty() || !tls.key.empty()) {
        warn(path + ".tls", "has a certificate or key, but tls.mode is disable: it is not used");
      }
      return;
    }
    if (tls.certificate.empty()) error(path + ".tls.certificate", "is missing: tls.mode is not disable");
    if (tls.key.empty()) error(path + ".tls.key", "is missing: tls.mode is not disable");
    if (!tls.certificate.empty()) check_file(path + ".tls.certificate", tls.certificate, false);
    if (!tls.key.empty()) check_file(path + ".tls.key", tls.key, true);
  }

  void check_cluster(const Cluster& cluster) {
    const auto path = join("clusters", cluster.name);
    check_members(cluster, path + ".members");
    check_monitor(cluster.monitor, path + ".monitor");
    check_server_tls(cluster, path + ".tls");
    const bool used = std::ranges::find(config_.databases, cluster.name, &Database::cluster) != config_.databases.end();
    if (!used) warn(path, "no database refers to this cluster");
  }

  void check_members(const Cluster& cluster, const std::string& path) {
    if (cluster.members.empty()) return error(path, "is missing or empty: give at least one `- { name: …, host: … }`");
    std::map<std::string, std::string> names;
    std::map<std::pair<std::string, std::uint16_t>, std::string> places;
    for (std::size_t i = 0; i < cluster.members.size(); ++i) {
      const auto& member = cluster.members[i];
      const auto here = join(path, i);
      if (!member.name.empty()) {
        const auto [earlier, fresh] = names.emplace(member.name, here);
        if (!fresh) error(here + ".name", quote(member.name) + " is also the name of " + earlier->second);
      }
      if (!member.host.empty()) {
        const auto [earlier, fresh] = places.emplace(std::pair{member.host, member.port}, here);
        if (!fresh) error(here + ".host", "is the same server as " + earlier->second);
        check_host(member, here + ".host");
      }
    }
  }

  void check_host(const Member& member, const std::string& path) {
    if (is_folder(member.host)) return;
    if (member.host.find_first_of(" ,/") != std::string::npos) {
      return error(path, "must be one host name or IP address; each further member is an entry of its own");
    }
    const auto colons = std::ranges::count(member.host, ':');
    if (colons == 1 || member.host.starts_with('[')) error(path, "must not have brackets or a port: set `port:`");
  }

  void check_monitor(const Monitor& monitor, const std::string& path) {
    if (monitor.user.empty()) error(path + ".user", "must not be empty");
    if (monitor.database.empty()) error(path + ".database", "must not be empty");
    if (monitor.fast_interval > monitor.interval) {
      error(path + ".fast_interval", "must not be longer than monitor.interval");
    }
  }

  void check_server_tls(const Cluster& cluster, const std::string& path) {
    const auto& tls = cluster.tls;
    if (tls.certificate.empty() != tls.key.empty()) {
      error(path + (tls.key.empty() ? ".key" : ".certificate"), "is missing: certificate and key go together");
    }
    if (tls.mode == SslMode::disable) {
      if (!tls.ca.empty() || !tls.certificate.empty() || !tls.key.empty()) {
        warn(path, "names files, but tls.mode is disable: they are not used");
      }
      return;
    }
    const bool verifies = tls.mode == SslMode::verify_ca || tls.mode == SslMode::verify_full;
    if (verifies && tls.ca.empty())
      error(path + ".ca", "is missing: the members' certificates are verified against it");
    if (!verifies && !tls.ca.empty()) {
      warn(path + ".ca", "is not used: only tls.mode verify-ca and verify-full verify the members' certificates");
    }
    if (!tls.ca.empty()) check_file(path + ".ca", tls.ca, false);
    if (!tls.certificate.empty()) check_file(path + ".certificate", tls.certificate, false);
    if (!tls.key.empty()) check_file(path + ".key", tls.key, true);
  }

  void check_databases() {
    std::set<std::string_view> names;
    for (const auto& database : config_.databases) {
      const auto path = join("databases", database.name);
      if (!names.insert(database.name).second) error(path, "is given twice");
      if (!database.cluster.empty() && config_.find_cluster(database.cluster) == nullptr) {
        error(path + ".cluster", "there is no cluster " + quote(database.cluster) + known_clusters());
      }
      if (database.name == "*" && !database.database.empty()) {
        warn(path + ".database", "every database name that a client asks for leads to this one database");
      }
      check_shared_pools(database, path);
      if (database.name == "holdfast" || database.name == "pgbouncer") {
        error(path, "is reserved for the admin console: choose another name and set `database:`");
      }
    }
  }

  // Entries that lead to the same database of the same cluster share its pools, so their settings must agree.
  void check_shared_pools(const Database& alias, const std::string& path) {
    if (alias.database.empty()) return;
    for (const auto& other : config_.databases) {
      const bool reported = !other.database.empty() && &other > &alias;  // a pair of aliases once, at the later one
      if (&other == &alias || reported) continue;
      if (other.cluster == alias.cluster && leads_to(other, alias.database)) compare_pools(alias, other, path);
    }
  }

  // Does a client reach the database `name` of the servers by this entry?
  [[nodiscard]] bool leads_to(const Database& entry, std::string_view name) const {
    if (!entry.database.empty()) return entry.database == name;
    return config_.find_database(name) == &entry;
  }

  void compare_pools(const Database& alias, const Database& other, const std::string& path) {
    const auto ours = config_.effective({}, &alias, nullptr);
    const auto theirs = config_.effective({}, &other, nullptr);
    const auto compare = [&](const char* key, const auto& a, const auto& b) {
      if (a == b) return;
      warn(path + "." + key, "differs from that of " + join("databases", other.name) +
                                 ": both lead to the same database and share its pools; set both to the same value");
    };
    compare("pool.size", ours.pool_size, theirs.pool_size);
    compare("pool.idle_timeout", ours.server_idle_timeout, theirs.server_idle_timeout);
    compare("pool.lifetime", ours.server_lifetime, theirs.server_lifetime);
  }

  [[nodiscard]] std::string known_clusters() const {
    std::string result;
    for (const auto& cluster : config_.clusters)
      result += (result.empty() ? "; there is " : ", ") + quote(cluster.name);
    return result;
  }

  void check_users() {
    std::set<std::string_view> listed;
    for (const auto& user : config_.users) {
      const auto path = join("users", user.name);
      if (!listed.insert(user.name).second) error(path, "is given twice");
      if (user.password.empty()) continue;
      if (const auto wrong = judge_secret(user.password.reveal())) error(path + ".password", *wrong);
      const auto times = std::ranges::count(config_.auth.credentials, user.name, &Credential::user);
      if (times > 1) error(path + ".password", "is set in auth.users_file as well: remove one of them");
    }
    if (config_.auth.method == AuthMethod::trust) {
      warn("auth.method", "trust lets every client that can reach the listeners log in as any user");
    } else if (config_.auth.users_file.empty() && config_.auth.credentials.empty()) {
      error("auth.users_file", "is missing: without it, and without a password in `users:`, no client can log in");
    }
  }

  const Config& config_;
  const Origins& origins_;
  Findings findings_;
};

}  // namespace

Findings validate(const Config& config, const Origins& origins) {
  return Validator(config, origins).run();
}

}  // namespace holdfast::config
