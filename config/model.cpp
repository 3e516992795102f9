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

EffectiveSettings Config::effective(const Listener& listener, const Database* database, const User* user) const {
  EffectiveSettings result;
  merge(settings, result);
  merge(listener.settings, result);
  if (database != nullptr) merge(database->settings, result);
  if (user != nullptr) merge(user->settings, result);
  return result;
}

}  // namespace holdfast::config
