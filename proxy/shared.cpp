#include "proxy/shared.hpp"

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

std::shared_ptr<Places> PlacesBook::find(const std::string& what, std::uint32_t limit) {
  const std::lock_guard lock(mutex_);
  // Names of databases come from clients: those that nobody holds a place of are forgotten.
  if (book_.size() >= most_kept) std::erase_if(book_, [](const auto& entry) { return entry.second.use_count() == 1; });
  auto& places = book_[what];
  if (!places) {
    places = std::make_shared<Places>(limit);
  } else {
    places->set_limit(limit);
  }
  return places;
}

std::size_t PlacesBook::size() {
  const std::lock_guard lock(mutex_);
  return book_.size();
}

}  // namespace holdfast::proxy
