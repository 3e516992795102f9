#include "protocol/reported.hpp"

#include <algorithm>
#include <cassert>
#include <functional>

namespace holdfast::protocol {

namespace {

std::size_t bytes_of(std::span<const Parameter> parameters) {
  std::size_t bytes = 0;
  for (const Parameter& parameter : parameters) bytes += parameter.name.size() + parameter.value.size();
  return bytes;
}

}  // namespace

void ReportedRef::retain() const {
  if (set_ == nullptr) return;
  if (set_->references_++ == 0) --set_->table_->idle_;
}

void ReportedRef::reset() {
  ReportedSet* set = std::exchange(set_, nullptr);
  if (set != nullptr && --set->references_ == 0) set->table_->unreferenced();
}

const std::string* ReportedRef::find(std::string_view name) const {
  for (const Parameter& parameter : parameters()) {
    if (parameter.name == name) return &parameter.value;
  }
  return nullptr;
}

ReportedTable::~ReportedTable() {
  assert(idle_ == sets_.size());
  drop_idle();
}

Result<ReportedRef> ReportedTable::with(const ReportedRef& from, std::string_view name, std::string_view value) {
  const auto old = from.parameters();
  const auto at = std::ranges::lower_bound(old, name, {}, [](const Parameter& p) { return std::string_view(p.name); });
  const bool known = at != old.end() && at->name == name;
  if (known && at->value == value) return from;
  if (from.set_ != nullptr) {
    for (const auto& step : from.set_->steps_) {
      if (step.name == name && step.value == value) return ReportedRef(step.to);
    }
  }
  const std::size_t bytes = bytes_of(old) + value.size() + (known ? 0 : name.size());
  if (bytes - (known ? at->value.size() : 0) > max_bytes || (!known && old.size() >= max_parameters)) {
    return fail(sqlstate::program_limit_exceeded, "the server reports more parameters than are kept");
  }
  std::vector<Parameter> parameters(old.begin(), old.end());
  const auto place = parameters.begin() + (at - old.begin());
  if (known) {
    place->value = value;
  } else {
    parameters.insert(place, {std::string(name), std::string(value)});
  }
  ReportedRef to(intern(std::move(parameters)));
  if (from.set_ != nullptr) remember(*from.set_, name, value, to.set_);
  return to;
}

// Makes the next such change a look-up. Values mostly alternate between a few: beyond that the oldest step is
// forgotten.
void ReportedTable::remember(ReportedSet& from, std::string_view name, std::string_view value, ReportedSet* to) {
  ReportedSet::Step step{.name = std::string(name), .value = std::string(value), .to = to};
  if (from.steps_.size() < ReportedSet::steps_kept) {
    from.steps_.push_back(std::move(step));
  } else {
    from.steps_[from.next_step_++ % ReportedSet::steps_kept] = std::move(step);
  }
}

ReportedSet* ReportedTable::intern(std::vector<Parameter> parameters) {
  std::uint64_t hash = 0;
  for (const Parameter& parameter : parameters) {
    hash = hash * 31 + std::hash<std::string>{}(parameter.name);
    hash = hash * 31 + std::hash<std::string>{}(parameter.value);
  }
  const auto [first, last] = sets_.equal_range(hash);
  for (auto at = first; at != last; ++at) {
    if (at->second->parameters_ == parameters) return at->second;
  }
  auto* set = new ReportedSet();
  set->table_ = this;
  set->parameters_ = std::move(parameters);
  sets_.emplace(hash, set);
  ++idle_;  // until its first reference
  return set;
}

void ReportedTable::unreferenced() {
  if (++idle_ > idle_kept) drop_idle();
}

void ReportedTable::drop_idle() {
  // Steps may lead to sets that are deleted here: all steps are forgotten, and learnt again.
  for (auto& [hash, set] : sets_) {
    set->steps_.clear();
    set->next_step_ = 0;
  }
  std::erase_if(sets_, [](const auto& entry) {
    if (entry.second->references_ > 0) return false;
    delete entry.second;
    return true;
  });
  idle_ = 0;
}

}  // namespace holdfast::protocol
