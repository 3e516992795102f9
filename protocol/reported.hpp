// What servers report about themselves (ParameterStatus), and what a client must be told when it gets another server.
//
// Task: keeps the reported parameters of one connection as an immutable interned set. Servers of one cluster mostly
// report the same, so that thousands of links share one set, "is there anything to tell?" is a comparison of pointers,
// and values that change back and forth follow remembered transitions without allocating. Owner: ReportedTable, one per
// worker. Thread: the worker's. Values are as the server reports them (UTF8, not 'utf-8'); the client is told of each
// change once.
//
// in_hot_standby is not passed on from members: the endpoint answers for the role that it promises. Make the client's
// first set with the role's value and call difference() with RoleReports::keep, which leaves it out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "protocol/parameters.hpp"

namespace holdfast::protocol {

class ReportedTable;

// Sorted by name as reported (GUC names keep their case on the wire: "DateStyle"). Immutable.
class ReportedSet {
 public:
  ReportedSet(const ReportedSet&) = delete;
  ReportedSet& operator=(const ReportedSet&) = delete;
  [[nodiscard]] std::span<const Parameter> parameters() const { return parameters_; }

 private:
  friend class ReportedTable;
  friend class ReportedRef;
  ReportedSet() = default;

  // One change that was made from this set before. Sets without a reference stay until drop_idle(), which also forgets
  // all steps, so `to` is valid.
  struct Step {
    std::string name;
    std::string value;
    ReportedSet* to = nullptr;
  };
  static constexpr std::size_t steps_kept = 8;

  ReportedTable* table_ = nullptr;
  std::vector<Parameter> parameters_;
  std::vector<Step> steps_;
  std::uint32_t references_ = 0;
  std::uint32_t next_step_ = 0;
};

class ReportedRef {
 public:
  ReportedRef() = default;  // nothing reported yet
  explicit ReportedRef(ReportedSet* set) : set_(set) { retain(); }
  ReportedRef(const ReportedRef& other) : set_(other.set_) { retain(); }
  ReportedRef(ReportedRef&& other) noexcept : set_(std::exchange(other.set_, nullptr)) {}
  ReportedRef& operator=(ReportedRef other) noexcept {
    std::swap(set_, other.set_);
    return *this;
  }
  ~ReportedRef() { reset(); }
  void reset();

  [[nodiscard]] std::span<const Parameter> parameters() const {
    return set_ != nullptr ? set_->parameters() : std::span<const Parameter>{};
  }
  // Null if it was not reported.
  [[nodiscard]] const std::string* find(std::string_view name) const;
  friend bool operator==(const ReportedRef&, const ReportedRef&) = default;

 private:
  friend class ReportedTable;
  void retain() const;
  ReportedSet* set_ = nullptr;
};

class ReportedTable {
 public:
  // Bounds on what one server can make us keep. PostgreSQL 15 reports 14 parameters; extensions may add some.
  static constexpr std::size_t max_parameters = 64;
  static constexpr std::size_t max_bytes = 16384;  // names and values of a set
  static constexpr std::size_t idle_kept = 256;    // sets without a reference that are kept for their transitions

  ReportedTable() = default;
  ReportedTable(const ReportedTable&) = delete;
  ReportedTable& operator=(const ReportedTable&) = delete;
  ~ReportedTable();  // no reference may be left

  // `from` with this parameter added or changed. 54000 when the server reports more than the limits: close that server.
  [[nodiscard]] Result<ReportedRef> with(const ReportedRef& from, std::string_view name, std::string_view value);

  [[nodiscard]] std::size_t size() const { return sets_.size(); }

 private:
  friend class ReportedRef;
  void unreferenced();
  void drop_idle();
  ReportedSet* intern(std::vector<Parameter> parameters);
  static void remember(ReportedSet& from, std::string_view name, std::string_view value, ReportedSet* to);

  std::unordered_multimap<std::uint64_t, ReportedSet*> sets_;
  std::size_t idle_ = 0;  // how many of them have no reference
};

enum class RoleReports : std::uint8_t { pass, keep };  // keep: in_hot_standby stays what the client was told

// What a client that knows `from` must be told to know `to`: calls tell(name, value) for each parameter that differs.
// Parameters that `to` lacks are left as they are: a report can't be withdrawn. No work when both are the same set.
template <typename Tell>
void difference(const ReportedRef& from, const ReportedRef& to, RoleReports role, Tell&& tell) {
  if (from == to) return;
  const auto known = from.parameters();
  auto at = known.begin();
  for (const Parameter& parameter : to.parameters()) {
    while (at != known.end() && at->name < parameter.name) ++at;
    if (at != known.end() && at->name == parameter.name && at->value == parameter.value) continue;
    if (role == RoleReports::keep && parameter.name == "in_hot_standby") continue;
    tell(std::string_view{parameter.name}, std::string_view{parameter.value});
  }
}

}  // namespace holdfast::protocol
