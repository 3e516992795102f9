// A quota that threads share: clients of a database, clients that may be held, connections to a member; and one place
// of it, which returns itself when destroyed.
// Thread: any. Lifetime: `Places` outlives every `Place` of it, or is kept alive by them (shared_ptr).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>

#include "protocol/invariant.hpp"

namespace holdfast::proxy {

class Places {
 public:
  explicit Places(std::uint32_t limit = 0) : limit_(limit) {}
  [[nodiscard]] bool try_take() {
    auto used = used_.load(std::memory_order_relaxed);
    while (used < limit_.load(std::memory_order_relaxed)) {
      if (used_.compare_exchange_weak(used, used + 1, std::memory_order_acq_rel)) return true;
    }
    return false;
  }
  // Takes a place even beyond the limit.
  void take() { used_.fetch_add(1, std::memory_order_acq_rel); }
  void give_back() {
    if (holds(used() > 0, "a place is given back that was never taken")) used_.fetch_sub(1, std::memory_order_acq_rel);
  }
  void set_limit(std::uint32_t limit) { limit_.store(limit, std::memory_order_relaxed); }
  [[nodiscard]] std::uint32_t used() const { return used_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::uint32_t limit() const { return limit_.load(std::memory_order_relaxed); }
  // More places are taken than the limit allows, after a reload lowered it or after take().
  [[nodiscard]] bool too_many() const { return used() > limit(); }

 private:
  std::atomic<std::uint32_t> used_{0};
  std::atomic<std::uint32_t> limit_;
};

// One place that was taken, or none. Move-only.
class Place {
 public:
  Place() = default;
  // Takes a place if one is free: test with `if (place)`.
  [[nodiscard]] static Place try_take(std::shared_ptr<Places> places) {
    return places->try_take() ? Place(std::move(places)) : Place();
  }
  // For `places` that outlive the Place.
  [[nodiscard]] static Place try_take(Places& places) { return try_take(unowned(places)); }
  [[nodiscard]] static Place take(Places& places) {
    places.take();
    return Place(unowned(places));
  }
  Place(Place&& other) noexcept : places_(std::move(other.places_)) {}
  Place& operator=(Place&& other) noexcept {
    std::swap(places_, other.places_);
    return *this;
  }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;
  ~Place() {
    if (places_) places_->give_back();
  }
  [[nodiscard]] explicit operator bool() const { return places_ != nullptr; }

 private:
  explicit Place(std::shared_ptr<Places> places) : places_(std::move(places)) {}
  static std::shared_ptr<Places> unowned(Places& places) { return {std::shared_ptr<Places>{}, &places}; }

  std::shared_ptr<Places> places_;
};

}  // namespace holdfast::proxy
