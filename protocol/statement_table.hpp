// Prepared statements by their content (text and parameter types) and by what else decides their meaning, whatever
// clients call them.
//
// Task: keeps one Statement for equal Parse messages of one scope, however many clients send them and under whatever
// names. A scope is everything that names and literals are read by: the database, the user, the settings asked for at
// start-up. What is read by something else (a session that has changed its settings, a literal 'now') is a Statement of
// its own, for one Parse message. A server knows a statement as "hf_<id>". Owner: the worker; one table each. Thread: the worker's; reference counts are not atomic.
// Lifetime: a Statement lives while it has a StatementRef (from a client's name, a server's list, a message in flight),
// each kind of which has its own limit. The last few without a reference are kept, bounded by number and bytes: unnamed
// statements come back again and again, without allocation and with their verdict. The table outlives every reference.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/sql/verdict.hpp"
#include "protocol/vintage.hpp"

namespace holdfast::protocol {

class StatementTable;
class StatementRef;

// By what the names and literals of a text are read.
struct Scope {
  std::uint64_t meaning = 0;   // all of it
  std::uint64_t database = 0;  // the database alone, of a cluster

  friend bool operator==(const Scope&, const Scope&) = default;
};

// Immutable but for the verdict's slot and the generation. Text and types stand behind it in the same allocation.
class Statement {
 public:
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  // Never reused within a process: the worker's number stands in the high bits. No statement has id 0.
  [[nodiscard]] std::uint64_t id() const { return id_; }
  [[nodiscard]] std::string_view text() const { return {reinterpret_cast<const char*>(this + 1), text_size_}; }
  // What follows the name in a Parse message: the text with its NUL, the count and the type oids, as the client sent
  // them.
  [[nodiscard]] Bytes parse_tail() const { return {reinterpret_cast<const std::byte*>(this + 1), tail_size_}; }
  // Its text was not kept (too long, or there is no room): it can be used where it was parsed, but not be parsed
  // elsewhere.
  [[nodiscard]] bool opaque() const { return tail_size_ == 0; }
  // One of this name without the text: enough to know that a server has it, and to close it there. Opaque.
  [[nodiscard]] StatementRef without_text() const;

  // The routing verdict, filled in by the first caller that needs it. It holds in the epoch of the classifier that gave
  // it (sql::Classifier::epoch), which is never 0.
  [[nodiscard]] bool verdict_known(std::uint32_t epoch) const { return verdict_epoch_ == epoch; }
  [[nodiscard]] const sql::Verdict& verdict() const { return verdict_; }
  void set_verdict(const sql::Verdict& verdict, std::uint32_t epoch) {
    verdict_ = verdict;
    verdict_epoch_ = epoch;
  }

  // Servers that parsed an earlier generation parse the statement again before its next use.
  [[nodiscard]] std::uint32_t generation() const { return generation_; }
  // Begins a new generation: a server answered 0A000 "cached plan must not change result type" (RevalidateCachedQuery,
  // utils/cache/plancache.c). A statement that can't be parsed again keeps its generation.
  void expire() { generation_ += opaque() ? 0 : 1; }
  // A server has parsed this generation without an error: while that is fresh, clients of the scope can have its Parse
  // answered without a server.
  void confirm(const Vintage& parsed) {
    confirmed_ = parsed;
    confirmed_generation_ = generation_;
  }
  [[nodiscard]] bool confirmed(const Vintage& now) const {
    return confirmed_generation_ == generation_ && confirmed_.fresh(now);
  }
  [[nodiscard]] std::size_t bytes() const { return sizeof(Statement) + tail_size_; }
  // Any client has parsed it before, recently: worth keeping on servers (UnnamedStatements::shared).
  [[nodiscard]] bool repeated() const { return repeated_; }

 private:
  friend class StatementTable;
  friend class StatementRef;
  Statement() = default;

  StatementTable* table_ = nullptr;
  Statement* next_ = nullptr;   // in the same bucket
  Statement* older_ = nullptr;  // among those without a reference
  Statement* newer_ = nullptr;
  std::uint64_t id_ = 0;
  std::uint64_t hash_ = 0;
  Scope scope_;
  std::uint32_t references_ = 0;
  Vintage confirmed_;
  std::uint32_t confirmed_generation_ = 0;
  std::uint32_t generation_ = 0;
  std::uint32_t text_size_ = 0;
  std::uint32_t tail_size_ = 0;
  sql::Verdict verdict_;
  std::uint32_t verdict_epoch_ = 0;  // 0: it has none
  bool repeated_ = false;
  bool shared_ = false;  // found by its content
};

// Keeps a Statement alive. One pointer wide.
class StatementRef {
 public:
  StatementRef() = default;
  explicit StatementRef(Statement* statement) : statement_(statement) { retain(); }
  StatementRef(const StatementRef& other) : statement_(other.statement_) { retain(); }
  StatementRef(StatementRef&& other) noexcept : statement_(std::exchange(other.statement_, nullptr)) {}
  StatementRef& operator=(StatementRef other) noexcept {
    std::swap(statement_, other.statement_);
    return *this;
  }
  ~StatementRef() { reset(); }

  void reset();
  [[nodiscard]] Statement* get() const { return statement_; }
  Statement& operator*() const { return *statement_; }
  Statement* operator->() const { return statement_; }
  explicit operator bool() const { return statement_ != nullptr; }
  friend bool operator==(const StatementRef&, const StatementRef&) = default;

 private:
  void retain() const {
    if (statement_ != nullptr) ++statement_->references_;
  }
  Statement* statement_ = nullptr;
};

class StatementTable {
 public:
  // `worker` makes ids differ between workers, for servers that are handed over. Below 65,536.
  explicit StatementTable(std::uint32_t worker = 0);
  StatementTable(const StatementTable&) = delete;
  StatementTable& operator=(const StatementTable&) = delete;
  ~StatementTable();  // no reference may be left

  // The one Statement of this scope for this Parse tail: text, NUL, int16 count, count × int32 oids; `text_size` without
  // the NUL. The caller must have checked that form. If there is no room for it, one whose text is not kept.
  [[nodiscard]] StatementRef intern(Bytes parse_tail, std::size_t text_size, Scope scope = {});
  // The scope that `key` describes: a hash with this table's secret, so that nobody can choose two keys of one scope.
  [[nodiscard]] std::uint64_t scope_of(std::string_view key) const;
  // A Statement for this one Parse message; never shared. If there is no room for it, one whose text is not kept.
  [[nodiscard]] StatementRef make_own(Bytes parse_tail, std::size_t text_size);
  // A Statement whose text is not kept; never shared.
  [[nodiscard]] StatementRef make_opaque();
  // Begins a new generation of a database's statements: a server said that plans are stale.
  void expire(std::uint64_t database);

  [[nodiscard]] std::size_t size() const { return size_ - idle_; }  // statements with a reference
  [[nodiscard]] std::size_t idle() const { return idle_; }          // statements without one
  [[nodiscard]] std::size_t bytes() const { return bytes_; }        // memory of both
  // A bound on that memory: when it is reached, long texts are not kept any more, and clients may name little
  // (Prepared::understand). Then a client with a long statement stays where that was parsed.
  void set_most_bytes(std::size_t most) { most_bytes_ = most; }
  [[nodiscard]] bool full() const { return bytes_ >= most_bytes_; }
  static constexpr std::size_t longest_kept = 1U << 20;
  static constexpr std::size_t longest_kept_when_full = 16U << 10;
  // Bounds on those without a reference.
  static constexpr std::size_t idle_kept = 1024;
  static constexpr std::size_t idle_bytes_kept = 1U << 20;

 private:
  friend class Statement;
  friend class StatementRef;
  Statement* make(Bytes parse_tail, std::size_t text_size);
  void unreferenced(Statement* statement);
  void revive(Statement* statement);
  void forget_oldest();
  void free(Statement* statement);
  void grow();
  [[nodiscard]] static std::size_t bytes_of(const Statement& statement) { return statement.bytes(); }

  std::vector<Statement*> buckets_;  // a power of two
  std::uint64_t seed_;               // clients choose texts: they must not choose buckets
  Statement* oldest_ = nullptr;      // of those without a reference
  Statement* newest_ = nullptr;
  std::size_t size_ = 0;
  std::size_t bytes_ = 0;
  std::size_t most_bytes_ = ~std::size_t{0};
  std::size_t idle_ = 0;
  std::size_t idle_bytes_ = 0;
  std::uint64_t next_id_;
};

}  // namespace holdfast::protocol
