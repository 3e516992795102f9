#include "protocol/statement_table.hpp"

#include <cassert>
#include <cstring>
#include <new>
#include <random>

namespace holdfast::protocol {

namespace {

constexpr std::size_t first_buckets = 64;

__extension__ using Wide = unsigned __int128;

std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

// Multiply and fold, 16 bytes per step, keyed with a secret so that clients can't build texts that collide.
std::uint64_t hash_bytes(Bytes bytes, std::uint64_t seed) {
  constexpr std::uint64_t odd_a = 0x9e3779b97f4a7c15;
  constexpr std::uint64_t odd_b = 0xd6e8feb86659fd93;
  std::uint64_t state = seed ^ fold(bytes.size() ^ odd_a, odd_b);
  std::uint64_t words[2];
  while (!bytes.empty()) {
    const std::size_t size = bytes.size() < sizeof words ? bytes.size() : sizeof words;
    words[0] = words[1] = 0;
    std::memcpy(words, bytes.data(), size);
    state = fold(words[0] ^ seed ^ odd_a, words[1] ^ state ^ odd_b) + state;
    bytes = bytes.subspan(size);
  }
  return fold(state ^ odd_a, seed ^ odd_b);
}

std::uint64_t random_seed() {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32U) | device();
}

}  // namespace

void StatementRef::reset() {
  Statement* statement = std::exchange(statement_, nullptr);
  if (statement != nullptr && --statement->references_ == 0) statement->table_->unreferenced(statement);
}

StatementRef Statement::without_text() const {
  auto* named = table_->make({}, 0);
  named->id_ = id_;
  return StatementRef(named);
}

StatementTable::StatementTable(std::uint32_t worker)
    : seed_(random_seed()), next_id_((static_cast<std::uint64_t>(worker) << 48U) + 1) {}

StatementTable::~StatementTable() {
  while (oldest_ != nullptr) forget_oldest();
  assert(size_ == 0);
}

Statement* StatementTable::make(Bytes parse_tail, std::size_t text_size) {
  void* memory = ::operator new(sizeof(Statement) + parse_tail.size());
  auto* statement = new (memory) Statement();
  if (!parse_tail.empty()) std::memcpy(static_cast<void*>(statement + 1), parse_tail.data(), parse_tail.size());
  statement->table_ = this;
  statement->id_ = next_id_++;
  statement->text_size_ = static_cast<std::uint32_t>(text_size);
  statement->tail_size_ = static_cast<std::uint32_t>(parse_tail.size());
  ++size_;
  bytes_ += bytes_of(*statement);
  return statement;
}

StatementRef StatementTable::intern(Bytes parse_tail, std::size_t text_size, Scope scope) {
  if (text_size > longest_kept) return make_opaque();
  const std::uint64_t hash = hash_bytes(parse_tail, seed_ ^ scope.meaning);
  if (buckets_.empty()) buckets_.resize(first_buckets);
  for (Statement* at = buckets_[hash & (buckets_.size() - 1)]; at != nullptr; at = at->next_) {
    if (at->hash_ == hash && at->scope_.meaning == scope.meaning && at->tail_size_ == parse_tail.size() &&
        std::memcmp(at->parse_tail().data(), parse_tail.data(), parse_tail.size()) == 0) {
      at->repeated_ = true;
      if (at->references_ == 0) revive(at);
      return StatementRef(at);
    }
  }
  if (full() && parse_tail.size() > longest_kept_when_full) return make_opaque();
  if (size_ >= buckets_.size()) grow();
  Statement* statement = make(parse_tail, text_size);
  statement->hash_ = hash;
  statement->scope_ = scope;
  statement->shared_ = true;
  Statement*& bucket = buckets_[hash & (buckets_.size() - 1)];
  statement->next_ = bucket;
  bucket = statement;
  return StatementRef(statement);
}

std::uint64_t StatementTable::scope_of(std::string_view key) const {
  return hash_bytes(as_bytes(key), ~seed_);
}

StatementRef StatementTable::make_own(Bytes parse_tail, std::size_t text_size) {
  if (text_size > longest_kept || (full() && parse_tail.size() > longest_kept_when_full)) return make_opaque();
  return StatementRef(make(parse_tail, text_size));
}

StatementRef StatementTable::make_opaque() {
  return StatementRef(make({}, 0));
}

void StatementTable::expire(std::uint64_t database) {
  for (Statement* bucket : buckets_) {
    for (Statement* at = bucket; at != nullptr; at = at->next_) {
      if (at->scope_.database == database) at->expire();
    }
  }
}

void StatementTable::unreferenced(Statement* statement) {
  if (!statement->shared_) {
    free(statement);
    return;
  }
  statement->older_ = newest_;
  statement->newer_ = nullptr;
  (newest_ != nullptr ? newest_->newer_ : oldest_) = statement;
  newest_ = statement;
  ++idle_;
  idle_bytes_ += bytes_of(*statement);
  while (idle_ > idle_kept || idle_bytes_ > idle_bytes_kept) forget_oldest();
}

// Takes a statement off the list of those without a reference.
void StatementTable::revive(Statement* statement) {
  (statement->older_ != nullptr ? statement->older_->newer_ : oldest_) = statement->newer_;
  (statement->newer_ != nullptr ? statement->newer_->older_ : newest_) = statement->older_;
  --idle_;
  idle_bytes_ -= bytes_of(*statement);
}

void StatementTable::forget_oldest() {
  Statement* statement = oldest_;
  revive(statement);
  free(statement);
}

void StatementTable::free(Statement* statement) {
  if (statement->shared_) {
    Statement** at = &buckets_[statement->hash_ & (buckets_.size() - 1)];
    while (*at != statement) at = &(*at)->next_;
    *at = statement->next_;
  }
  --size_;
  bytes_ -= bytes_of(*statement);
  statement->~Statement();
  ::operator delete(statement);
}

void StatementTable::grow() {
  std::vector<Statement*> larger(buckets_.size() * 2);
  for (Statement* at : buckets_) {
    while (at != nullptr) {
      Statement* next = at->next_;
      Statement*& bucket = larger[at->hash_ & (larger.size() - 1)];
      at->next_ = bucket;
      bucket = at;
      at = next;
    }
  }
  buckets_.swap(larger);
}

}  // namespace holdfast::protocol
