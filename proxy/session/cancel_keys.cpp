#include "proxy/session/cancel_keys.hpp"

#include <array>
#include <cstring>

#include "protocol/secure_random.hpp"

namespace holdfast::proxy {

std::optional<CancelKeys::Key> CancelKeys::add(Target target) {
  const std::lock_guard lock(mutex_);
  for (;;) {
    std::array<std::byte, 8> random{};
    if (!protocol::secure_random(random)) return std::nullopt;
    Key key;
    std::memcpy(&key.first, random.data(), 4);
    std::memcpy(&key.second, random.data() + 4, 4);
    key.first &= 0x7fffffffU;  // process ids are positive
    if (key.first != 0 && keys_.try_emplace(key, target).second) return key;
  }
}

void CancelKeys::remove(const Key& key) {
  const std::lock_guard lock(mutex_);
  keys_.erase(key);
}

CancelKeys::Target CancelKeys::find(const Key& key) {
  const std::lock_guard lock(mutex_);
  const auto found = keys_.find(key);
  return found == keys_.end() ? Target{} : found->second;
}

}  // namespace holdfast::proxy
