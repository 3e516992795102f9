// What is known of the hidden code of each database (protocol/catalogue_audit), shared by all workers.
//
// Task: says whether a server may be given to the next client as it is, or must first be cleaned, or asked. It is asked
// on a server that is given back, and not more than once a second and database: when DDL was seen, or when the
// answer is a second old. Nothing is asked while there is no traffic. Thread: any; atomics only. Lifetime: the
// process's.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "protocol/catalogue_audit.hpp"
#include "proxy/io/wheel.hpp"

namespace holdfast::proxy {

class Catalogue {
 public:
  using Hidden = protocol::Hidden;

  // What is known now. Nothing: the caller must ask its server, before the server goes to anybody else. `schema`: how
  // many changes of the schema have been seen.
  [[nodiscard]] std::optional<Hidden> known(std::uint64_t schema, TimePoint now) {
    const auto answer = answer_.load(std::memory_order_acquire);
    if (schema_of(answer) != schema) return std::nullopt;
    auto due = due_.load(std::memory_order_relaxed);
    const auto ticks = now.time_since_epoch().count();
    // One of those who come when it is due asks; the others go by what is known.
    if (ticks >= due && due_.compare_exchange_strong(due, (now + shortest).time_since_epoch().count()))
      return std::nullopt;
    return hidden_of(answer);
  }
  // The last answer, however old; before the first one: anything.
  [[nodiscard]] Hidden hidden() const { return hidden_of(answer_.load(std::memory_order_relaxed)); }
  // An answer that was asked for when `schema` changes had been seen, and took so long.
  void learn(Hidden hidden, std::uint64_t schema, TimePoint now, TimePoint::duration took) {
    auto known = answer_.load(std::memory_order_relaxed);
    const auto answer = schema << bits | static_cast<std::uint64_t>(hidden);
    do {
      if (schema < schema_of(known)) return;  // asked before a change that another answer knows of
    } while (!answer_.compare_exchange_weak(known, answer, std::memory_order_acq_rel));
    // A query that is expensive there is asked less often: one hundredth of the time at most.
    const auto pause = std::max<TimePoint::duration>(shortest, share * took);
    due_.store((now + pause).time_since_epoch().count(), std::memory_order_relaxed);
  }

 private:
  static constexpr std::chrono::seconds shortest{1};
  static constexpr int share = 100;

  static constexpr unsigned bits = 4;  // of Hidden
  static std::uint64_t schema_of(std::uint64_t answer) { return answer >> bits; }
  static Hidden hidden_of(std::uint64_t answer) { return static_cast<Hidden>(answer & ((1U << bits) - 1)); }

  // The answer and the state of the schema that it is about, in one word: no reader mixes two.
  std::atomic<std::uint64_t> answer_{static_cast<std::uint64_t>(Hidden::anything)};
  std::atomic<TimePoint::rep> due_{0};
};

// Finds the catalogue of a database; made on first use and kept while a pool uses it.
class CatalogueBook {
 public:
  [[nodiscard]] std::shared_ptr<Catalogue> find(const std::string& cluster, const std::string& database) {
    const std::lock_guard lock(mutex_);
    std::erase_if(book_, [](const auto& entry) { return entry.second.expired(); });
    auto& known = book_[{cluster, database}];
    auto catalogue = known.lock();
    if (!catalogue) known = catalogue = std::make_shared<Catalogue>();
    return catalogue;
  }

 private:
  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::weak_ptr<Catalogue>> book_;
};

}  // namespace holdfast::proxy
