#include "proxy/pool/permits.hpp"

#include <algorithm>

namespace holdfast::proxy {

bool Permits::want(Handover* worker, health::TimePoint since) {
  const std::lock_guard lock(mutex_);
  auto found = std::ranges::find(wants_, worker, &Want::worker);
  if (found != wants_.end()) {
    found->since = since;
    return false;
  }
  wants_.push_back({worker, since});
  wants_count_.store(static_cast<std::uint32_t>(wants_.size()), std::memory_order_release);
  return true;
}

void Permits::still_wants(Handover* worker, health::TimePoint since) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(wants_, worker, &Want::worker);
  if (found != wants_.end()) found->since = since;
}

void Permits::unwant(Handover* worker) {
  if (!wanted()) return;
  const std::lock_guard lock(mutex_);
  std::erase_if(wants_, [worker](const Want& want) { return want.worker == worker; });
  wants_count_.store(static_cast<std::uint32_t>(wants_.size()), std::memory_order_release);
}

Handover* Permits::take_want(const Handover* self, std::optional<health::TimePoint> own) {
  const std::lock_guard lock(mutex_);
  auto oldest = wants_.end();
  for (auto it = wants_.begin(); it != wants_.end(); ++it) {
    if (it->worker == self || (own && it->since >= *own)) continue;
    if (oldest == wants_.end() || it->since < oldest->since) oldest = it;
  }
  if (oldest == wants_.end()) return nullptr;
  Handover* worker = oldest->worker;
  wants_.erase(oldest);
  wants_count_.store(static_cast<std::uint32_t>(wants_.size()), std::memory_order_release);
  return worker;
}

std::shared_ptr<Permits> PermitBook::find(const PoolKey& key, const std::string& member, std::uint32_t limit) {
  const std::lock_guard lock(mutex_);
  // Permits that no pool uses any more are removed from time to time.
  if (book_.size() >= swept_at_) {
    std::erase_if(book_, [](const auto& entry) { return entry.second.use_count() == 1; });
    swept_at_ = std::max(first_sweep, 2 * book_.size());
  }
  auto& entry = book_[{key, member}];
  if (!entry) {
    entry = std::make_shared<Permits>(limit);
  } else {
    entry->set_limit(limit);
  }
  return entry;
}

}  // namespace holdfast::proxy
