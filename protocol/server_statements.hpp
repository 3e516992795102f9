// Which statements one server connection has.
//
// Task: tracks the named statements ("hf_<id>", a bounded LRU) and which one is loaded as the unnamed. Changes are
// applied when a message is planned and settled by its cookie, like a client's. An entry that was parsed in an earlier
// generation, that is in doubt, or that an earlier client parsed while its session read texts otherwise, is stale: it is
// closed and parsed again at its next use (Close of an unknown name is no error). Owner: the server's link. Thread: its worker's. A hand-over to another worker begins an empty one there;
// the server is emptied on arrival. Long texts are the clients': the list knows these statements by their ids alone.
//
//   absent ── add ──> in flight ── completed ──> known ── add of others over the limit ──> evicted (Close sent)
//                         └─────── failed, skipped ──> absent       (Close skipped: known again)
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "protocol/pending.hpp"
#include "protocol/statement_table.hpp"

namespace holdfast::protocol {

class ServerStatements {
 public:
  enum class Presence : std::uint8_t { absent, known, stale };

  explicit ServerStatements(PendingPool& pool, std::size_t limit = 500);

  // The server is linked to a client. `now`: what a Parse that is sent now is worth; kept up to date, and outlives this.
  void begin_link(const Vintage& now);
  // From now on, and until the next client, the session may read names and literals in another way than its start-up
  // settings say, or see a catalogue that others don't.
  void alter() { altered_ = true; }

  // Whether the statement is there. A `known` one becomes the most recently used.
  [[nodiscard]] Presence use(const Statement& statement);
  // Whether a new Parse of a `known` statement would find what the last one did.
  [[nodiscard]] bool fresh(const Statement& statement) const;
  // The Parse of hf_<id> goes out under this cookie.
  void add(StatementRef statement, std::uint32_t cookie);
  // The statement to close so that one more fits within the limits: the least recently used that no message of the
  // current batch uses and that has no operation in flight. Null if there is room, or if none can be closed; then the
  // list exceeds its limit for a while.
  [[nodiscard]] Statement* victim() const;
  // The Close of hf_<id> goes out under this cookie.
  void remove(const Statement& statement, std::uint32_t cookie);

  // Whether the next message will find this statement as the unnamed one.
  [[nodiscard]] bool has_unnamed(const Statement& statement) const;
  // A Parse of the unnamed statement goes out.
  void load_unnamed(StatementRef statement, std::uint32_t cookie);
  // A simple Query goes out, which destroys it. If the Query is skipped, an unknown one remains.
  void drop_unnamed();

  // DISCARD ALL or DEALLOCATE ALL goes out: everything is in doubt, whatever its outcome.
  void doubt_all();
  // The connection is new, or known to be empty. Nothing may be in flight.
  void clear();
  void end_batch() { ++batch_; }
  void settle(std::uint32_t cookie, Outcome outcome);

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool settled() const { return pending_.empty(); }
  // A lower limit takes effect as statements are added.
  void set_limit(std::size_t limit) { limit_ = limit; }
  // A bound on their texts, too: the server keeps them, and the list keeps those up to longest_text alive when their
  // client has left, so that the next client with the same text finds it parsed.
  static constexpr std::size_t most_bytes = 4U << 20;
  static constexpr std::size_t longest_text = 16U << 10;
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

 private:
  static constexpr std::uint32_t none = 0xffffffff;
  struct Entry {
    StatementRef statement;
    Vintage parsed;
    std::uint32_t bytes = 0;       // of the statement with its text, which may have been let go
    std::uint32_t generation = 0;  // the one that was parsed
    std::uint32_t altered_in = 0;  // parsed in this link, whose session read texts in its own way; 0: as others do
    std::uint32_t used = 0;        // batch of its last use
    std::uint32_t cookie = 0;      // of the last operation on it while that is pending
    std::uint32_t changed = 0;     // and its batch
    std::uint32_t newer = none;
    std::uint32_t older = none;
    bool removing = false;    // its Close is in flight; not in the list of uses
    bool doubtful = false;    // it may be there or not, or be outdated
    bool was_absent = false;  // it was certainly absent before the Parse in flight
  };

  [[nodiscard]] Vintage vintage() const { return altered_ ? Vintage{} : *now_; }
  [[nodiscard]] bool of_another(std::uint32_t altered_in) const { return altered_in != 0 && altered_in != link_; }
  [[nodiscard]] std::uint32_t find(std::uint64_t id) const;
  [[nodiscard]] std::uint32_t insert(StatementRef statement);
  void erase(std::uint32_t slot);
  void count(const Entry& entry);
  void discount(const Entry& entry);
  void settle_named(const Pending& pending, Outcome outcome);
  void link_newest(std::uint32_t slot);
  void link_oldest(std::uint32_t slot);
  void unlink(std::uint32_t slot);
  void grow_index();
  void index(std::uint32_t slot);
  void unindex(std::uint64_t id);
  [[nodiscard]] std::size_t home(std::uint64_t id) const;

  std::vector<Entry> entries_;
  std::vector<std::uint32_t> index_;  // open addressing, a power of two: id → slot in entries_
  std::uint32_t newest_ = none;
  std::uint32_t oldest_ = none;
  std::uint32_t free_ = none;  // entries without a statement, linked by `older`
  std::size_t size_ = 0;
  std::size_t bytes_ = 0;  // of the texts of those that are counted in size_
  std::size_t limit_;
  std::uint32_t batch_ = 0;
  std::uint32_t link_ = 1;
  bool altered_ = false;
  const Vintage* now_;
  StatementRef unnamed_;
  Vintage unnamed_parsed_;
  std::uint32_t unnamed_altered_in_ = 0;
  std::uint32_t unnamed_generation_ = 0;
  std::uint32_t unnamed_cookie_ = 0;   // of the Parse that loads it, while that is pending
  std::uint32_t unnamed_changed_ = 0;  // and its batch
  PendingQueue pending_;
};

}  // namespace holdfast::protocol
