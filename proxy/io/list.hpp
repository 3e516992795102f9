// Intrusive doubly linked lists: being in a list costs no allocation, and leaving it is O(1). A node is in at most one
// list at a time and leaves it when destroyed.
#pragma once

#include <cstddef>

namespace holdfast::proxy {

template <typename T>
class List;

template <typename T>
class ListNode {
 public:
  ListNode() = default;
  ListNode(const ListNode&) = delete;
  ListNode& operator=(const ListNode&) = delete;
  ~ListNode() { leave(); }

  void leave() {
    if (list_ == nullptr) return;
    (previous_ != nullptr ? previous_->next_ : list_->first_) = next_;
    (next_ != nullptr ? next_->previous_ : list_->last_) = previous_;
    --list_->size_;
    list_ = nullptr;
    next_ = previous_ = nullptr;
  }
  [[nodiscard]] bool listed() const { return list_ != nullptr; }
  [[nodiscard]] T* next() const { return static_cast<T*>(next_); }

 private:
  friend class List<T>;
  ListNode* next_ = nullptr;
  ListNode* previous_ = nullptr;
  List<T>* list_ = nullptr;
};

// T derives from ListNode<T>.
template <typename T>
class List {
 public:
  List() = default;
  List(const List&) = delete;
  List& operator=(const List&) = delete;
  ~List() {
    while (T* node = front()) node->ListNode<T>::leave();
  }

  [[nodiscard]] bool empty() const { return first_ == nullptr; }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] T* front() const { return static_cast<T*>(first_); }
  [[nodiscard]] T* back() const { return static_cast<T*>(last_); }

  void push_back(T& item) {
    ListNode<T>& node = item;
    node.leave();
    node.list_ = this;
    node.previous_ = last_;
    (last_ != nullptr ? last_->next_ : first_) = &node;
    last_ = &node;
    ++size_;
  }
  void push_front(T& item) {
    ListNode<T>& node = item;
    node.leave();
    node.list_ = this;
    node.next_ = first_;
    (first_ != nullptr ? first_->previous_ : last_) = &node;
    first_ = &node;
    ++size_;
  }

 private:
  friend class ListNode<T>;
  ListNode<T>* first_ = nullptr;
  ListNode<T>* last_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace holdfast::proxy
