// The names that a client has given its prepared statements.
//
// Task: name → Statement, and the unnamed one, as that client would see them on a server of its own. Messages are
// pipelined: an operation is applied when its message is read and *settled* when its outcome is known. Until then it is
// pending, under a cookie that travels with the message (Exchange). Cookies are settled in the order they were issued.
// Owner: the client's session. Thread: its worker's. Without names and with nothing pending it owns no memory.
//
//          op ──────────────> pending ─── completed ──> done
//     (state changed)            ├─────── failed ─────> undone; an unnamed Parse that failed leaves no unnamed
//     statement
//                                └─────── skipped ────> undone
//
// Within a batch (up to Sync) later operations may rely on earlier ones: if an earlier one fails, the later ones are
// skipped too. Across batches they can't: `Answer::wait` says that the result depends on what is in flight, so the
// client's next message must wait.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "protocol/pending.hpp"
#include "protocol/statement_table.hpp"

namespace holdfast::protocol {

// Lets a map of strings be searched with a view.
struct NameHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view name) const { return std::hash<std::string_view>{}(name); }
};

class ClientStatements {
 public:
  // What the names of one client, and the texts behind them, may take; PostgreSQL's limit is its memory. A text counts
  // for each name that stands for it, although it is kept once.
  struct Limits {
    std::size_t names = 50000;
    std::size_t bytes = 16U << 20;  // config: limits.prepared_memory_per_client
  };

  enum class Answer : std::uint8_t { ok, duplicate, unknown, too_many, wait };
  struct Lookup {
    Answer answer = Answer::ok;
    Statement* statement = nullptr;  // find(): for `ok`; valid until the next operation
  };
  struct Change {
    Answer answer = Answer::ok;
    std::uint32_t cookie = 0;  // 0: nothing to settle
  };

  explicit ClientStatements(PendingPool& pool) : ClientStatements(pool, Limits{}) {}
  ClientStatements(PendingPool& pool, Limits limits) : pending_(pool), limits_(limits) {}

  // What this client's texts are read by: see StatementTable.
  void set_scope(Scope scope) { scope_ = scope; }
  [[nodiscard]] Scope scope() const { return scope_; }
  // Its session may read them otherwise (true), until it has let its server go (false).
  void set_altered(bool altered) { altered_ = altered; }
  [[nodiscard]] bool altered() const { return altered_; }

  // Parse: `duplicate` (42P05) for a name in use; the unnamed one is replaced. `most_bytes`: a bound on bytes() that is
  // lower than the client's own, while memory is short.
  [[nodiscard]] Change parse(std::string_view name, StatementRef statement,
                             std::size_t most_bytes = ~std::size_t{0});
  // Bind, Describe: `unknown` (26000).
  [[nodiscard]] Lookup find(std::string_view name) const;
  // Close S: an unknown name is no error (manual, 55.2.3).
  [[nodiscard]] Change close(std::string_view name);
  // A simple Query destroys the unnamed statement, whatever its text and its outcome (exec_simple_query calls
  // drop_unnamed_stmt first, tcop/postgres.c).
  [[nodiscard]] Change query();
  // DEALLOCATE ALL or DISCARD ALL completed; the unnamed statement is spared (DropAllPreparedStatements,
  // commands/prepare.c). No message behind it may have been processed yet: it would have found the old names.
  void deallocate_all();
  // A Sync was read. (A Query ends no batch: in a batch that failed it is skipped as well, tcop/postgres.c.)
  void end_batch() { ++batch_; }

  // The name by which the client knows a statement, the one that it used last if there are several; empty for its
  // unnamed one, and for those that are none of its own.
  [[nodiscard]] std::string_view name_of(std::uint64_t id) const;

  // The outcome of the message with this cookie; called in the order of the messages. A cookie with nothing pending
  // here is ignored.
  void settle(std::uint32_t cookie, Outcome outcome);
  // A cookie for an injected message, which is no operation of the client's.
  [[nodiscard]] std::uint32_t issue() { return ++cookie_ == 0 ? ++cookie_ : cookie_; }

  // Whether another name may stand for this statement.
  [[nodiscard]] bool has_room(std::string_view name, const Statement& statement,
                              std::size_t most_bytes = ~std::size_t{0}) const;
  [[nodiscard]] std::size_t bytes() const { return bytes_; }
  [[nodiscard]] std::size_t size() const { return names_ ? names_->size() : 0; }
  [[nodiscard]] bool settled() const { return pending_.empty(); }

 private:
  // What a name stands for. Without a statement: closed, and the Close is in flight.
  struct Binding {
    StatementRef statement;
    std::uint32_t cookie = 0;  // of the last operation on the name while that is pending
    std::uint32_t batch = 0;   // and its batch
  };
  using Names = std::unordered_map<std::string, Binding, NameHash, std::equal_to<>>;

  [[nodiscard]] const Binding* binding(std::string_view name) const;
  [[nodiscard]] bool in_doubt(const Binding& binding) const { return binding.cookie != 0 && binding.batch != batch_; }
  std::uint32_t change(std::string_view name, Binding& binding, StatementRef statement);
  [[nodiscard]] static std::size_t weight(std::string_view name, const Statement& statement);
  void count(std::string_view name, const StatementRef& before, const StatementRef& after);
  void settle_unnamed(Outcome outcome);
  void settle_name(Outcome outcome);
  [[nodiscard]] Pending* next_on(const Pending& node) const;

  Binding unnamed_;
  std::unique_ptr<Names> names_;
  mutable const Names::value_type* last_found_ = nullptr;  // in names_; its nodes stay where they are
  PendingQueue pending_;
  Limits limits_;
  std::size_t bytes_ = 0;
  Scope scope_;
  std::uint32_t cookie_ = 0;
  std::uint32_t batch_ = 0;
  bool altered_ = false;
};

}  // namespace holdfast::protocol
