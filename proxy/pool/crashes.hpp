// Which members have shown, and when, that a session of theirs crashed: 57P02 to a session beside it, 57P03 to a new one
// behind a connection that ended without a word. Asked and told when servers are lost, never else.
// Thread: any; a lock. One for the process.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "health/topology.hpp"

namespace holdfast::proxy {

class Crashes {
 public:
  void seen(const std::string& cluster, health::MemberIndex member, health::TimePoint now) {
    const std::scoped_lock lock(mutex_);
    last_[{cluster, member}] = now;
  }
  [[nodiscard]] bool since(const std::string& cluster, health::MemberIndex member, health::TimePoint moment) const {
    const std::scoped_lock lock(mutex_);
    const auto found = last_.find({cluster, member});
    return found != last_.end() && found->second >= moment;
  }

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, health::MemberIndex>, health::TimePoint> last_;
};

}  // namespace holdfast::proxy
