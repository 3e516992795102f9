#include "config/model.hpp"

#include <algorithm>

#include "config/schema.hpp"

namespace holdfast::config {

namespace {

template <class T>
const T* find(const std::vector<T>& list, std::string_view name) {
  const auto found = std::ranges::find(list, name, &T::name);
  return found == list.end() ? nullptr : &*found;
}

}  // namespace

const Database* Config::find_database(std::string_view name) const {
  // "*" is a pattern and no name: a client that asks for a database called "*" gets what any other unlisted name gets.
  const auto* exact = find(databases, name);
  return exact != nullptr ? exact : find(databases, "*");
}

const User* Config::find_user(std::string_view name) const {
  return find(users, name);
}

const Cluster* Config::find_cluster(std::string_view name) const {
  return find(clusters, name);
}

std::vector<std::string> Config::sharing_servers_with(std::string_view cluster) const {
  std::vector<std::string> names{std::string(cluster)};
  const auto* own = find_cluster(cluster);
  if (own == nullptr || clusters.size() == 1) return names;
  const auto overlap = [](const Cluster& a, const Cluster& b) {
    return std::ranges::any_of(a.members, [&](const Member& one) {
      return std::ranges::any_of(b.members,
                                 [&](const Member& other) { return one.host == other.host && one.port == other.port; });
    });
  };
  std::vector<const Cluster*> found{own};
  for (std::size_t i = 0; i < found.size(); ++i) {
    for (const auto& candidate : clusters) {
      if (std::ranges::find(found, &candidate) != found.end() || !overlap(*found[i], candidate)) continue;
      found.push_back(&candidate);
      names.push_back(candidate.name);
    }
  }
  return names;
}

EffectiveSettings Config::effective(const Listener& listener, const Database* database, const User* user) const {
  EffectiveSettings result;
  merge(settings, result);
  merge(listener.settings, result);
  if (database != nullptr) merge(database->settings, result);
  if (user != nullptr) merge(user->settings, result);
  return result;
}

}  // namespace holdfast::config
