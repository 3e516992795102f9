#include "protocol/pending.hpp"

#include <cassert>
#include <utility>

namespace holdfast::protocol {

PendingPool::~PendingPool() {
  assert(in_use_ == 0);
  while (free_ != nullptr) delete std::exchange(free_, free_->next);
}

Pending* PendingPool::take() {
  ++in_use_;
  if (free_ == nullptr) return new Pending();
  --free_count_;
  Pending* node = std::exchange(free_, free_->next);
  node->next = nullptr;
  return node;
}

void PendingPool::give(Pending* node) {
  constexpr std::size_t name_kept = 256;  // a node keeps the memory of a name up to this length
  --in_use_;
  node->before.reset();
  node->statement.reset();
  if (free_count_ >= kept || node->name.capacity() > name_kept) {
    delete node;
    return;
  }
  node->name.clear();
  node->next = free_;
  free_ = node;
  ++free_count_;
}

Pending& PendingQueue::push() {
  Pending* node = pool_->take();
  (last_ != nullptr ? last_->next : first_) = node;
  last_ = node;
  return *node;
}

void PendingQueue::pop() {
  Pending* node = first_;
  first_ = node->next;
  if (first_ == nullptr) last_ = nullptr;
  pool_->give(node);
}

void PendingQueue::clear() {
  while (first_ != nullptr) pop();
}

}  // namespace holdfast::protocol
