#include "proxy/pool/last_writes.hpp"

namespace holdfast::proxy {

std::shared_ptr<LastWrites> LastWritesBook::find(const std::string& cluster, const std::string& database) {
  const std::lock_guard lock(mutex_);
  // Names of databases come from clients.
  if (book_.size() >= most_kept) forget_unused();
  auto& of_cluster = shared_[cluster];
  if (!of_cluster) {
    of_cluster = std::make_shared<LatestMoment>();
    of_cluster->note(start_);
  }
  auto& writes = book_[{cluster, database}];
  if (!writes) writes = std::make_shared<LastWrites>(of_cluster);
  return writes;
}

// What is forgotten counts as written to all databases of its cluster: reads may stay at home for a moment more.
void LastWritesBook::forget_unused() {
  std::erase_if(book_, [](const auto& entry) {
    const auto& writes = *entry.second;
    if (entry.second.use_count() > 1) return false;
    writes.shared_->note(writes.own_.get());
    return true;
  });
}

std::size_t LastWritesBook::size() {
  const std::lock_guard lock(mutex_);
  return book_.size();
}

}  // namespace holdfast::proxy
