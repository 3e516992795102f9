#include "protocol/client_statements.hpp"

#include <algorithm>
#include <utility>

#include "protocol/invariant.hpp"

namespace holdfast::protocol {

namespace {
constexpr std::size_t buckets_kept = 64;
// Of the map's node and bucket, beside the name.
constexpr std::size_t bytes_per_name = 128;
}

const ClientStatements::Binding* ClientStatements::binding(std::string_view name) const {
  if (name.empty()) return &unnamed_;
  // The router has just looked up the same name.
  if (last_found_ != nullptr && last_found_->first == name) return &last_found_->second;
  if (!names_) return nullptr;
  const auto at = names_->find(name);
  if (at == names_->end()) return nullptr;
  last_found_ = &*at;
  return &at->second;
}

std::uint32_t ClientStatements::change(std::string_view name, Binding& binding, StatementRef statement) {
  Pending& pending = pending_.push();
  pending.cookie = issue();
  pending.kind = name.empty() ? Pending::Kind::unnamed : Pending::Kind::name;
  pending.name = name;
  if (!name.empty()) count(name, binding.statement, statement);
  pending.before = std::exchange(binding.statement, std::move(statement));
  binding.cookie = pending.cookie;
  binding.batch = batch_;
  return pending.cookie;
}

std::size_t ClientStatements::weight(std::string_view name, const Statement& statement) {
  return bytes_per_name + name.size() + statement.bytes();
}

bool ClientStatements::has_room(std::string_view name, const Statement& statement, std::size_t most_bytes) const {
  return size() < limits_.names && bytes_ + weight(name, statement) <= std::min(limits_.bytes, most_bytes);
}

// A name stood for `before`, and stands for `after` from now on; either may be none.
void ClientStatements::count(std::string_view name, const StatementRef& before, const StatementRef& after) {
  if (before) bytes_ -= weight(name, *before);
  if (after) bytes_ += weight(name, *after);
}

ClientStatements::Change ClientStatements::parse(std::string_view name, StatementRef statement,
                                                 std::size_t most_bytes) {
  // This replaces the unnamed statement whatever the outcome of an earlier operation: no need to wait.
  if (name.empty()) return {.cookie = change(name, unnamed_, std::move(statement))};
  if (const Binding* known = binding(name); known != nullptr) {
    if (in_doubt(*known)) return {.answer = Answer::wait};
    if (known->statement) return {.answer = Answer::duplicate};
  }
  if (!has_room(name, *statement, most_bytes)) return {.answer = Answer::too_many};
  if (!names_) names_ = std::make_unique<Names>();
  auto at = names_->find(name);
  if (at == names_->end()) at = names_->emplace(std::string(name), Binding{}).first;
  return {.cookie = change(name, at->second, std::move(statement))};
}

ClientStatements::Lookup ClientStatements::find(std::string_view name) const {
  const Binding* known = binding(name);
  if (known == nullptr) return {.answer = Answer::unknown};
  if (in_doubt(*known)) return {.answer = Answer::wait};
  if (!known->statement) return {.answer = Answer::unknown};
  return {.statement = known->statement.get()};
}

ClientStatements::Change ClientStatements::close(std::string_view name) {
  // Afterwards the name is free whatever the outcome of earlier operations: no need to wait, but a binding that is in
  // doubt must be recorded even if it looks free now.
  if (name.empty()) {
    if (!unnamed_.statement && unnamed_.cookie == 0) return {};
    return {.cookie = change(name, unnamed_, {})};
  }
  if (!names_) return {};
  const auto at = names_->find(name);
  if (at == names_->end()) return {};
  return {.cookie = change(name, at->second, {})};
}

ClientStatements::Change ClientStatements::query() {
  if (!unnamed_.statement && unnamed_.cookie == 0) return {};
  return {.cookie = change({}, unnamed_, {})};
}

void ClientStatements::deallocate_all() {
  if (!names_) return;
  last_found_ = nullptr;
  for (auto at = names_->begin(); at != names_->end();) {
    // An operation behind it in the pipeline stands; if that one is undone there is nothing to go back to.
    if (at->second.cookie != 0) {
      ++at;
      continue;
    }
    count(at->first, at->second.statement, {});
    at = names_->erase(at);
  }
  for (Pending* node = pending_.front(); node != nullptr; node = node->next) {
    if (node->kind == Pending::Kind::name) node->before.reset();
  }
  if (names_->empty()) names_.reset();
}

std::string_view ClientStatements::name_of(std::uint64_t id) const {
  const auto is = [id](const StatementRef& statement) { return statement && statement->id() == id; };
  if (last_found_ != nullptr && is(last_found_->second.statement)) return last_found_->first;
  if (names_) {
    for (const auto& [name, binding] : *names_)
      if (is(binding.statement)) return name;
  }
  // Closed since, by a message whose turn hasn't come.
  for (const Pending* node = pending_.front(); node != nullptr; node = node->next)
    if (is(node->before)) return node->name;
  return {};
}

void ClientStatements::settle(std::uint32_t cookie, Outcome outcome) {
  const Pending* front = pending_.front();
  if (cookie == 0 || front == nullptr) return;
  if (front->cookie != cookie) {
    // Nothing of this message waits here; but not behind another one.
    static_cast<void>(holds(!pending_.contains(cookie, depth_checked), "a statement's operation is settled out of order"));
    return;
  }
  if (front->kind == Pending::Kind::unnamed) {
    settle_unnamed(outcome);
  } else {
    settle_name(outcome);
  }
  pending_.pop();
}

// The next operation in flight on the same name. Only called when there is one.
Pending* ClientStatements::next_on(const Pending& node) const {
  Pending* at = node.next;
  while (at != nullptr && (at->kind != node.kind || at->name != node.name)) at = at->next;
  return at;
}

void ClientStatements::settle_unnamed(Outcome outcome) {
  Pending& node = *pending_.front();
  const bool last = unnamed_.cookie == node.cookie;
  if (outcome != Outcome::completed) {
    // exec_parse_message and exec_simple_query drop the unnamed statement before they look at the text
    // (tcop/postgres.c).
    StatementRef now = outcome == Outcome::skipped ? std::move(node.before) : StatementRef();
    if (last) {
      unnamed_.statement = std::move(now);
    } else if (Pending* later = next_on(node); later != nullptr) {
      later->before = std::move(now);
    }
  }
  if (last) unnamed_.cookie = 0;
}

void ClientStatements::settle_name(Outcome outcome) {
  Pending& node = *pending_.front();
  const auto at = names_ ? names_->find(node.name) : Names::iterator{};
  if (!names_ || at == names_->end()) return;
  Binding& binding = at->second;
  const bool last = binding.cookie == node.cookie;
  if (outcome != Outcome::completed) {
    if (last) {
      count(node.name, binding.statement, node.before);
      binding.statement = std::move(node.before);
    } else if (Pending* later = next_on(node); later != nullptr) {
      later->before = std::move(node.before);
    }
  }
  if (!last) return;
  binding.cookie = 0;
  if (!binding.statement) {
    last_found_ = nullptr;
    names_->erase(at);
    // A small map is kept for the next name; the memory of a big one goes with its last name.
    if (names_->empty() && names_->bucket_count() > buckets_kept) names_.reset();
  }
}

}  // namespace holdfast::protocol
