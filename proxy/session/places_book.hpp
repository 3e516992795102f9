// The places of the process, and of each listener, database and user with a max_clients of its own. Thread: any; used
// at log-in only.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "proxy/base/places.hpp"

namespace holdfast::proxy {

class PlacesBook {
 public:
  [[nodiscard]] std::shared_ptr<Places> find(const std::string& what, std::uint32_t limit);
  [[nodiscard]] std::size_t size();

 private:
  static constexpr std::size_t most_kept = 1000;

  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Places>> book_;
};

}  // namespace holdfast::proxy
