// Server connections are interchangeable if they have the same cluster, database and user.
#pragma once

#include <functional>
#include <string>

namespace holdfast::proxy {

struct PoolKey {
  std::string cluster;
  std::string database;  // its name on the servers
  std::string user;

  // The three, with a NUL in between.
  [[nodiscard]] std::string text() const { return cluster + '\0' + database + '\0' + user; }

  // What text() begins with for all pools of a cluster, or of one database.
  [[nodiscard]] static std::string all_of(const std::string& cluster) { return cluster + '\0'; }
  [[nodiscard]] static std::string all_of(const std::string& cluster, const std::string& database) {
    return cluster + '\0' + database + '\0';
  }

  friend bool operator==(const PoolKey&, const PoolKey&) = default;
  friend auto operator<=>(const PoolKey&, const PoolKey&) = default;
};

}  // namespace holdfast::proxy
