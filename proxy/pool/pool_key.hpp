// What makes server connections interchangeable: the cluster, the database on its servers and the user.
#pragma once

#include <functional>
#include <string>

namespace holdfast::proxy {

struct PoolKey {
  std::string cluster;
  std::string database;  // as the servers call it
  std::string user;

  friend bool operator==(const PoolKey&, const PoolKey&) = default;
  friend auto operator<=>(const PoolKey&, const PoolKey&) = default;
};

}  // namespace holdfast::proxy
