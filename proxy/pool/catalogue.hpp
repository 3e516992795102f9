// What is known of the catalogue of each database, shared by all workers: when it was last seen to change, and its
// hidden code (protocol/catalogue_audit).
//
// Task: numbers the states of a catalogue, so that what was concluded from an earlier one is known to be old
// (protocol/vintage); DDL in one database says nothing about another one. Says whether a server may be given to the
// next client as it is, or must first be cleaned, or asked. It is asked on a server that is given back, and not more
// than once a second and database: when DDL was seen, or when the answer is a second old. Nothing is asked while there
// is no traffic. Thread: any; readers take no lock. Lifetime: the process's.
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

// What the log says of a database's audits; the value is the event's name.
enum class AuditEvent : std::uint8_t {
  catalogue_audit_failed,     // until one succeeds, servers are cleaned behind every client
  catalogue_audit_succeeded,  // after one that failed
};
[[nodiscard]] constexpr const char* name_of(AuditEvent event) {
  return event == AuditEvent::catalogue_audit_failed ? "catalogue_audit_failed" : "catalogue_audit_succeeded";
}

// Whether the clients of a database ask for something of their session's that a server may still show of others, in the
// middle of a transaction, when it is too late for another server. It can't be known before they do: so it is taken for
// granted for so many transactions, few at first, and many behind each one that asked.
class Asked {
 public:
  Asked(std::uint32_t at_first, std::uint32_t behind_one) : behind_one_(behind_one), left_(at_first) {}

  void seen() {
    if (left_.load(std::memory_order_relaxed) < behind_one_) left_.store(behind_one_, std::memory_order_relaxed);
  }
  // Asked once for each transaction that begins where others have left something.
  [[nodiscard]] bool expected() {
    const auto left = left_.load(std::memory_order_relaxed);
    if (left == 0) return false;
    left_.store(left - 1, std::memory_order_relaxed);  // two at once may count as one
    return true;
  }

 private:
  const std::uint32_t behind_one_;
  std::atomic<std::uint32_t> left_;
};

class Catalogue {
 public:
  using Hidden = protocol::Hidden;

  Asked asked_sequences{1'000, 100'000};  // lastval, currval: a round trip each
  Asked asked_settings{100, 5'000};       // current_setting('app.user'): a new connection each

  // Where the numbers of all catalogues come from: none is given twice, so that a database that is forgotten and found
  // again begins with a number of its own. From 1 on.
  using Numbers = std::atomic<std::uint64_t>;

  explicit Catalogue(Numbers& numbers) : numbers_(numbers), schema_(next()) {}

  // The state of the schema, for comparisons. Greater after each change that was seen.
  [[nodiscard]] std::uint64_t schema() const { return schema_.load(std::memory_order_acquire); }
  // Something has ended that may have been DDL, such as a DO: once a second that counts as such.
  void may_have_changed(TimePoint now) {
    const auto ticks = now.time_since_epoch().count();
    auto due = suspects_again_.load(std::memory_order_relaxed);
    if (ticks < due) return;
    const auto next = (now + std::max<TimePoint::duration>(shortest, share * took())).time_since_epoch().count();
    if (suspects_again_.compare_exchange_strong(due, next, std::memory_order_relaxed)) changed();
  }
  // DDL was seen to commit; before its client is told.
  void changed() {
    const auto fresh = next();
    auto known = schema_.load(std::memory_order_relaxed);
    while (known < fresh && !schema_.compare_exchange_weak(known, fresh, std::memory_order_acq_rel)) {
    }
    assume();
  }

  // What is known now. Nothing: the caller must ask its server, before the server goes to anybody else.
  [[nodiscard]] std::optional<Hidden> known(TimePoint now) {
    const auto answer = answer_.load(std::memory_order_acquire);
    if (schema_of(answer) != schema()) return std::nullopt;
    auto due = due_.load(std::memory_order_relaxed);
    const auto ticks = now.time_since_epoch().count();
    // One of those who come when it is due asks; the others go by what is known.
    if (ticks >= due && due_.compare_exchange_strong(due, (now + shortest).time_since_epoch().count()))
      return std::nullopt;
    return hidden_of(answer);
  }
  // The last answer about the schema as it is now. From DDL until the next answer: anything. The next server that is
  // given back is asked. Before the first answer: anything, except that reads write or lock; until then a read is
  // repeated when its server is lost, as it is where nothing is hidden.
  [[nodiscard]] Hidden hidden() const { return assumed_.load(std::memory_order_acquire); }
  // Whether a BEGIN without a level may begin a block with one snapshot for all its statements. Only an answer about
  // this very state of the schema says no.
  [[nodiscard]] bool may_default_to_one_snapshot() const {
    const auto answer = answer_.load(std::memory_order_acquire);
    return schema_of(answer) != schema() || has(hidden_of(answer), Hidden::one_snapshot);
  }
  // An answer that was asked for in this state of the schema, and took so long.
  void learn(Hidden hidden, std::uint64_t schema, TimePoint now, TimePoint::duration took) {
    auto known = answer_.load(std::memory_order_relaxed);
    const auto answer = schema << bits | static_cast<std::uint64_t>(hidden);
    do {
      if (schema < schema_of(known)) return;  // asked before a change that another answer knows of
    } while (!answer_.compare_exchange_weak(known, answer, std::memory_order_acq_rel));
    assume();
    took_.store(took.count(), std::memory_order_relaxed);
    // A query that is expensive there is asked less often: one hundredth of the time at most.
    const auto pause = std::max<TimePoint::duration>(shortest, share * took);
    due_.store((now + pause).time_since_epoch().count(), std::memory_order_relaxed);
  }

  // An audit has ended. The event that the log should tell: when they begin to fail and when they succeed again, not
  // each time; and where some succeed while others fail, as of users with different rights, once a minute.
  [[nodiscard]] std::optional<AuditEvent> audited(bool failed, TimePoint now) {
    auto told = told_.load(std::memory_order_relaxed);
    if (failing(told) == failed) return std::nullopt;
    if (failed && told != 0 && now.time_since_epoch().count() - told / 2 < TimePoint::duration(quiet).count()) {
      return std::nullopt;
    }
    const auto telling = failed ? now.time_since_epoch().count() * 2 + 1 : told - 1;
    if (!told_.compare_exchange_strong(told, telling, std::memory_order_relaxed)) return std::nullopt;
    return failed ? AuditEvent::catalogue_audit_failed : AuditEvent::catalogue_audit_succeeded;
  }

 private:
  static constexpr std::chrono::minutes quiet{1};
  static bool failing(TimePoint::rep told) { return told % 2 != 0; }
  static constexpr std::chrono::seconds shortest{1};
  static constexpr int share = 100;

  static constexpr unsigned bits = 9;  // of Hidden
  static constexpr auto before_the_first =
      static_cast<Hidden>(static_cast<unsigned>(Hidden::anything) &
                          ~(static_cast<unsigned>(Hidden::reads_write) | static_cast<unsigned>(Hidden::reads_lock)));
  static std::uint64_t schema_of(std::uint64_t answer) { return answer >> bits; }
  static Hidden hidden_of(std::uint64_t answer) { return static_cast<Hidden>(answer & ((1U << bits) - 1)); }

  // For hidden(), which every statement asks: one word to read. Whoever changed the answer or the schema says what
  // holds now; the last of several sees what all of them have changed.
  void assume() {
    const std::lock_guard lock(assuming_);
    const auto answer = answer_.load(std::memory_order_acquire);
    const bool old = schema_of(answer) != schema() && schema_of(answer) != 0;
    assumed_.store(old ? Hidden::anything : hidden_of(answer), std::memory_order_release);
  }
  [[nodiscard]] TimePoint::duration took() const { return TimePoint::duration(took_.load(std::memory_order_relaxed)); }
  [[nodiscard]] std::uint64_t next() { return numbers_.fetch_add(1, std::memory_order_relaxed) + 1; }

  Numbers& numbers_;
  std::atomic<std::uint64_t> schema_;
  // The answer and the state of the schema that it is about, in one word: no reader mixes two.
  std::atomic<std::uint64_t> answer_{static_cast<std::uint64_t>(before_the_first)};
  std::atomic<Hidden> assumed_{before_the_first};
  std::mutex assuming_;  // of those who change something, which is rare
  std::atomic<TimePoint::rep> due_{0};
  std::atomic<TimePoint::rep> took_{0};  // the last audit
  std::atomic<TimePoint::rep> suspects_again_{0};
  // When a failure was last told, times two; plus one while they fail. 0: never.
  std::atomic<TimePoint::rep> told_{0};
};

// Finds the catalogue of a database; made on first use and kept while a pool uses it. Outlives them.
class CatalogueBook {
 public:
  [[nodiscard]] std::shared_ptr<Catalogue> find(const std::string& cluster, const std::string& database) {
    const std::lock_guard lock(mutex_);
    std::erase_if(book_, [](const auto& entry) { return entry.second.expired(); });
    auto& known = book_[{cluster, database}];
    auto catalogue = known.lock();
    if (!catalogue) known = catalogue = std::make_shared<Catalogue>(numbers_);
    return catalogue;
  }
  // DDL was seen to commit in this database.
  void changed(const std::string& cluster, const std::string& database) {
    const std::lock_guard lock(mutex_);
    const auto found = book_.find({cluster, database});
    if (found == book_.end()) return;
    if (const auto catalogue = found->second.lock()) catalogue->changed();
  }
  // … of what all databases of the cluster share.
  void changed(const std::string& cluster) {
    const std::lock_guard lock(mutex_);
    for (auto at = book_.lower_bound({cluster, {}}); at != book_.end() && at->first.first == cluster; ++at) {
      if (const auto catalogue = at->second.lock()) catalogue->changed();
    }
  }

 private:
  Catalogue::Numbers numbers_{0};
  std::mutex mutex_;
  std::map<std::pair<std::string, std::string>, std::weak_ptr<Catalogue>> book_;
};

}  // namespace holdfast::proxy
