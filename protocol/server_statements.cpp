#include "protocol/server_statements.hpp"

#include <utility>

#include "protocol/invariant.hpp"

namespace holdfast::protocol {

namespace {
constexpr std::size_t first_index = 16;
constexpr Vintage unlinked{};
}  // namespace

ServerStatements::ServerStatements(PendingPool& pool, std::size_t limit)
    : limit_(limit), now_(&unlinked), pending_(pool) {}

void ServerStatements::begin_link(const Vintage& now) {
  if (++link_ == 0) ++link_;
  altered_ = false;
  now_ = &now;
}

ServerStatements::Presence ServerStatements::use(const Statement& statement) {
  const std::uint32_t slot = find(statement.id());
  if (slot == none) return Presence::absent;
  Entry& entry = entries_[slot];
  const bool unsure = entry.cookie != 0 && entry.changed != batch_;
  // Within its batch, if the Close is skipped, what follows it is skipped too.
  if (entry.removing) return unsure ? Presence::stale : Presence::absent;
  entry.used = batch_;
  unlink(slot);
  link_newest(slot);
  const bool stale =
      unsure || entry.doubtful || entry.generation != statement.generation() || of_another(entry.altered_in);
  if (altered_) entry.altered_in = link_;  // its plan may be of this session's making from here on
  return stale ? Presence::stale : Presence::known;
}

bool ServerStatements::fresh(const Statement& statement) const {
  const std::uint32_t slot = find(statement.id());
  return slot != none && entries_[slot].parsed.fresh(vintage());
}

void ServerStatements::add(StatementRef statement, std::uint32_t cookie) {
  std::uint32_t slot = find(statement->id());
  const bool was_absent = slot == none;
  if (was_absent) {
    slot = insert(statement);
  } else if (entries_[slot].removing) {
    count(entries_[slot]);
  } else {
    unlink(slot);
  }
  Entry& entry = entries_[slot];
  if (entry.statement != statement) entry.statement = statement;  // it had let go of the text
  entry.parsed = vintage();
  entry.generation = statement->generation();
  entry.altered_in = altered_ ? link_ : 0;
  entry.used = batch_;
  entry.cookie = cookie;
  entry.changed = batch_;
  entry.removing = false;
  entry.doubtful = false;
  entry.was_absent = was_absent;
  link_newest(slot);
  Pending& pending = pending_.push();
  pending.cookie = cookie;
  pending.kind = Pending::Kind::add;
  pending.statement = std::move(statement);
}

Statement* ServerStatements::victim() const {
  if (size_ < limit_ && bytes_ <= most_bytes) return nullptr;
  for (std::uint32_t slot = oldest_; slot != none; slot = entries_[slot].newer) {
    const Entry& entry = entries_[slot];
    // The list is in order of use: all entries from here on are of this batch.
    if (entry.used == batch_) return nullptr;
    if (entry.cookie == 0) return entry.statement.get();
  }
  return nullptr;
}

void ServerStatements::remove(const Statement& statement, std::uint32_t cookie) {
  const std::uint32_t slot = find(statement.id());
  if (slot == none || entries_[slot].removing) return;
  Entry& entry = entries_[slot];
  unlink(slot);
  discount(entry);
  entry.removing = true;
  entry.cookie = cookie;
  entry.changed = batch_;
  Pending& pending = pending_.push();
  pending.cookie = cookie;
  pending.kind = Pending::Kind::remove;
  pending.statement = entry.statement;
}

bool ServerStatements::has_unnamed(const Statement& statement) const {
  // If its Parse is in flight since an earlier batch, it may have been skipped: then another statement is there.
  const bool unsure = unnamed_cookie_ != 0 && unnamed_changed_ != batch_;
  return unnamed_.get() == &statement && !unsure && unnamed_generation_ == statement.generation() &&
         !of_another(unnamed_altered_in_);
}

void ServerStatements::load_unnamed(StatementRef statement, std::uint32_t cookie) {
  unnamed_generation_ = statement->generation();
  unnamed_parsed_ = vintage();
  unnamed_altered_in_ = altered_ ? link_ : 0;
  unnamed_ = std::move(statement);
  unnamed_cookie_ = cookie;
  unnamed_changed_ = batch_;
  Pending& pending = pending_.push();
  pending.cookie = cookie;
  pending.kind = Pending::Kind::unnamed;
}

void ServerStatements::drop_unnamed() {
  unnamed_.reset();
  unnamed_cookie_ = 0;
}

void ServerStatements::doubt_all() {
  for (std::uint32_t slot = oldest_; slot != none; slot = entries_[slot].newer) entries_[slot].doubtful = true;
}

void ServerStatements::clear() {
  pending_.clear();
  entries_.clear();
  index_.clear();
  newest_ = oldest_ = free_ = none;
  size_ = 0;
  bytes_ = 0;
  drop_unnamed();
}

void ServerStatements::settle(std::uint32_t cookie, Outcome outcome) {
  const Pending* front = pending_.front();
  if (cookie == 0 || front == nullptr) return;
  if (front->cookie != cookie) {
    // Nothing of this message waits here; but not behind another one.
    static_cast<void>(holds(!pending_.contains(cookie, depth_checked), "a statement's operation is settled out of order"));
    return;
  }
  if (front->kind == Pending::Kind::unnamed) {
    if (unnamed_cookie_ == cookie) {
      unnamed_cookie_ = 0;
      // If it failed, there is none; if it was skipped, an unknown one is there. Either way it must be loaded again.
      if (outcome != Outcome::completed) {
        unnamed_.reset();
      } else if (unnamed_) {
        unnamed_->confirm(unnamed_parsed_);
      }
    }
  } else {
    settle_named(*front, outcome);
  }
  pending_.pop();
}

void ServerStatements::settle_named(const Pending& pending, Outcome outcome) {
  const std::uint32_t slot = find(pending.statement->id());
  if (slot == none) return;
  Entry& entry = entries_[slot];
  // A later operation on it is in flight and will decide.
  if (entry.cookie != pending.cookie) return;
  entry.cookie = 0;
  const bool completed = outcome == Outcome::completed;
  if (entry.removing) {
    if (completed) {
      erase(slot);
      return;
    }
    // It is still there, and is the first to be closed next time.
    entry.removing = false;
    entry.doubtful = true;
    link_oldest(slot);
    count(entry);
  } else if (!completed) {
    if (entry.was_absent) {
      unlink(slot);
      discount(entry);
      erase(slot);
      return;
    }
    entry.doubtful = true;
  } else {
    entry.statement->confirm(entry.parsed);
    if (entry.bytes > longest_text) entry.statement = entry.statement->without_text();
  }
}

// The slot of a statement, also of one that is being removed.
std::uint32_t ServerStatements::find(std::uint64_t id) const {
  if (index_.empty()) return none;
  for (std::size_t at = home(id);; at = (at + 1) & (index_.size() - 1)) {
    const std::uint32_t slot = index_[at];
    if (slot == none || entries_[slot].statement->id() == id) return slot;
  }
}

// A new slot: counted, but not yet in the list of uses.
std::uint32_t ServerStatements::insert(StatementRef statement) {
  std::uint32_t slot = free_;
  if (slot != none) {
    free_ = entries_[slot].older;
    entries_[slot] = Entry{};
  } else {
    slot = static_cast<std::uint32_t>(entries_.size());
    entries_.emplace_back();
  }
  entries_[slot].bytes = static_cast<std::uint32_t>(statement->bytes());
  entries_[slot].statement = std::move(statement);
  // Entries that are being removed are indexed too, so entries_ is what counts.
  if (entries_.size() * 2 > index_.size()) {
    grow_index();
  } else {
    index(slot);
  }
  count(entries_[slot]);
  return slot;
}

void ServerStatements::count(const Entry& entry) {
  ++size_;
  bytes_ += entry.bytes;
}

void ServerStatements::discount(const Entry& entry) {
  --size_;
  bytes_ -= entry.bytes;
}

// Frees a slot that is in no list and no longer counted.
void ServerStatements::erase(std::uint32_t slot) {
  unindex(entries_[slot].statement->id());
  entries_[slot] = Entry{};  // an entry without a statement is free
  entries_[slot].older = free_;
  free_ = slot;
}

void ServerStatements::link_newest(std::uint32_t slot) {
  Entry& entry = entries_[slot];
  entry.older = newest_;
  entry.newer = none;
  (newest_ != none ? entries_[newest_].newer : oldest_) = slot;
  newest_ = slot;
}

void ServerStatements::link_oldest(std::uint32_t slot) {
  Entry& entry = entries_[slot];
  entry.newer = oldest_;
  entry.older = none;
  (oldest_ != none ? entries_[oldest_].older : newest_) = slot;
  oldest_ = slot;
}

void ServerStatements::unlink(std::uint32_t slot) {
  const Entry& entry = entries_[slot];
  (entry.older != none ? entries_[entry.older].newer : oldest_) = entry.newer;
  (entry.newer != none ? entries_[entry.newer].older : newest_) = entry.older;
}

std::size_t ServerStatements::home(std::uint64_t id) const {
  // Ids are ours and count up: a multiplication spreads them well enough.
  return static_cast<std::size_t>((id * 0x9e3779b97f4a7c15) >> 32U) & (index_.size() - 1);
}

void ServerStatements::index(std::uint32_t slot) {
  std::size_t at = home(entries_[slot].statement->id());
  while (index_[at] != none) at = (at + 1) & (index_.size() - 1);
  index_[at] = slot;
}

void ServerStatements::grow_index() {
  std::size_t size = index_.empty() ? first_index : index_.size();
  while (size < entries_.size() * 2) size *= 2;
  index_.assign(size, none);
  for (std::uint32_t slot = 0; slot < entries_.size(); ++slot) {
    if (entries_[slot].statement) index(slot);
  }
}

// Removes an id and closes the gap, so that no search ends early.
void ServerStatements::unindex(std::uint64_t id) {
  const std::size_t mask = index_.size() - 1;
  std::size_t gap = home(id);
  while (entries_[index_[gap]].statement->id() != id) gap = (gap + 1) & mask;
  for (std::size_t at = (gap + 1) & mask; index_[at] != none; at = (at + 1) & mask) {
    const std::size_t wanted = home(entries_[index_[at]].statement->id());
    // It stays if its home lies behind the gap (cyclically).
    if (((at - wanted) & mask) < ((at - gap) & mask)) continue;
    index_[gap] = index_[at];
    gap = at;
  }
  index_[gap] = none;
}

}  // namespace holdfast::protocol
