// From a statement's text to its verdict: shape, cache, and PostgreSQL's own parser on a miss.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "protocol/sql/functions.hpp"
#include "protocol/sql/shape.hpp"
#include "protocol/sql/shape_memo.hpp"
#include "protocol/sql/verdict.hpp"
#include "protocol/sql/verdict_cache.hpp"

namespace holdfast::protocol::sql {

// The verdict of a text by libpg_query alone: no shape, no cache, no hint. Costs 5 µs or more; runs on a thread with a
// larger stack when the text is so long that the parser's recursion could exceed the caller's (see README).
// A text that does not parse gets Access::write and Effect::unparsed.
[[nodiscard]] Verdict classify(std::string_view sql, const ReadFunctions& read_functions = {});

// What to assume of a text that has not been read.
inline constexpr Verdict unseen_verdict{.access = Access::write, .effects = Effect::unparsed};

// What all classifiers of a worker share: how texts fold, which shape a known text has, and one bounded cache of
// verdicts. Owner: the worker; not thread-safe.
struct ShapeStore {
  ShapeStore(std::size_t cache_bytes, std::size_t longest_folded) : shaper(longest_folded), cache(cache_bytes) {}

  Shaper shaper;
  VerdictCache cache;
  ShapeMemo memo;
  // What may still be spent on texts in this turn of the worker's loop.
  std::chrono::nanoseconds left = std::chrono::milliseconds(2);
  std::int64_t turn = -1;
  // Of one of its classifiers; each is used once, so that no verdict is taken for another classifier's.
  [[nodiscard]] std::uint32_t next_epoch() {
    if (++last_epoch_ == 0) ++last_epoch_;
    return last_epoch_;
  }

 private:
  std::uint32_t last_epoch_ = 0;
};

// A text that takes too long to be read on a worker: what another thread needs for it.
struct LongText {
  enum class Stage : std::uint8_t {
    unread,  // `text` is the client's own, too long even to be scanned; no hash
    folded,  // `text` is what the parser should get
  };
  Stage stage = Stage::unread;
  std::string text;
  std::optional<ShapeHash> hash;
  Hint hint = Hint::none;
  std::shared_ptr<const ReadFunctions> read_functions;
  std::size_t longest_folded = 0;
};

// The verdict of a long text. Any thread; takes 100 ms at most, whatever the text (parse_cost).
[[nodiscard]] Verdict judge(const LongText& text);

// Gives the clients of one pool their verdicts. A verdict, and what is learnt from standbys, counts for the pool alone:
// the list of functions is its own, and so are its catalogue and its rights. Owner: the worker; not thread-safe. All
// its memory is bounded by its options.
//
// No call takes longer than a few milliseconds, whatever the text:
//
//   known shape                      one scan, nothing else             ask() and verdict() answer
//   to be parsed within 2 ms         parsed at once                     both answer
//     … but others were in this turn   the next turn has time for it    ask(): later; verdict() parses it
//   takes longer, or the text is
//     longer than 256 KiB            another thread must read it        ask(): elsewhere
//     … and nobody can wait          up to 1 MiB it is looked for       verdict(): unseen_verdict if it isn't known
//   would take longer than 100 ms    nobody reads it                    both: unseen_verdict
class Classifier {
 public:
  struct Options {
    std::size_t cache_bytes = 16U << 20;   // config: limits.statement_cache
    std::size_t longest_text = 16U << 20;  // config: limits.statement_memory; longer: unseen_verdict, unread
    std::size_t longest_folded =
        128U << 10;  // bytes given to the parser, after literals are folded; longer: unseen_verdict
    std::vector<std::string> read_functions;
  };
  struct Counts {
    std::uint64_t hits = 0;
    std::uint64_t misses = 0;    // each one costs a parse, unless the text is refused or too long
    std::uint64_t unparsed = 0;  // misses that could not be parsed, and texts over longest_text
  };

  // What one text, and what all texts of one turn of the worker's loop, may cost on the worker.
  static constexpr std::chrono::nanoseconds most_for_a_text = std::chrono::milliseconds(2);
  static constexpr std::chrono::nanoseconds most_for_a_turn = std::chrono::milliseconds(2);
  // What it may cost on another thread.
  static constexpr std::chrono::nanoseconds most_elsewhere = std::chrono::milliseconds(100);
  // Longer texts are not even scanned on the worker: that takes 2 to 5 ms for a megabyte. A text whose verdict is worth
  // nothing elsewhere, since it can only be found by a scan, may be longer: an INSERT with 65,535 parameters has 520 kB.
  static constexpr std::size_t longest_scanned = 256U << 10;
  static constexpr std::size_t longest_scanned_here = 1U << 20;

  // With a store of its own, of the sizes in `options`.
  explicit Classifier(const Options& options);
  // `scope` keeps its verdicts apart from those of others in the store, which outlives it.
  Classifier(const Options& options, ShapeStore& store, std::uint64_t scope);

  // Valid until the next call on this object: copy it to keep it. A hit costs about 1 ns a byte plus some tens of ns
  // and allocates nothing.
  [[nodiscard]] const Verdict& verdict(std::string_view sql);

  // The same for callers who can wait. `verdict` is null unless the answer is `now`.
  enum class Patience : std::uint8_t {
    none,      // as verdict(): what can't be said now is unseen_verdict
    by_shape,  // waits if the verdict can be remembered; a text without a hash is unseen_verdict
    any,
  };
  struct Answer {
    enum class When : std::uint8_t {
      now,
      later,      // in another turn of the loop
      elsewhere,  // take_long_text() says what another thread must judge; then learn() its verdict and ask again
    };
    When when = When::now;
    const Verdict* verdict = nullptr;
  };
  [[nodiscard]] Answer ask(std::string_view sql, Patience patience);
  [[nodiscard]] LongText take_long_text() { return std::move(long_text_); }
  void learn(const ShapeHash& hash, const Verdict& verdict);
  // A turn of the worker's loop has begun, if `turn` is another one than before.
  void turn(std::int64_t turn) {
    if (turn != store_.turn) store_.left = most_for_a_turn;
    store_.turn = turn;
  }
  // While this lives, the text at exactly this place has this verdict: the client that waited for it asks again, and
  // nothing that was ever learnt of a text as long as this could tell that it is the same one.
  class Known {
   public:
    Known(Classifier& classifier, std::string_view text, const Verdict& verdict) : classifier_(classifier) {
      classifier.known_ = {.text = text, .verdict = verdict};
    }
    Known(const Known&) = delete;
    Known& operator=(const Known&) = delete;
    ~Known() { classifier_.known_ = {}; }

   private:
    Classifier& classifier_;
  };

  // A standby refused this text (25006, 0A000, 55000): its shape goes to the primary until forget_learnt(), or until it
  // is evicted from the cache. A hint in the text still applies.
  void learn_needs_primary(std::string_view sql);
  // Called after DDL, and from time to time.
  void forget_learnt();
  // A verdict that was kept elsewhere holds as long as this is what it was then: another epoch begins when something is
  // learnt from a standby, and when that is forgotten. Never 0.
  [[nodiscard]] std::uint32_t epoch() const { return epoch_; }

  // Reads no text at all: for sessions whose client_encoding hides ASCII bytes in other characters (shape.hpp,
  // is_ascii_transparent), where every statement goes to the primary and pins. Its verdicts don't apply to others.
  [[nodiscard]] bool blind() const { return longest_text_ == 0; }

  [[nodiscard]] const Counts& counts() const { return counts_; }
  [[nodiscard]] std::size_t cache_bytes() const { return store_.cache.bytes(); }
  [[nodiscard]] std::size_t cached() const { return store_.cache.size(); }

 private:
  [[nodiscard]] ShapeHash scoped(const ShapeHash& hash) const { return {.low = hash.low ^ scope_, .high = hash.high}; }
  [[nodiscard]] Answer unseen();
  [[nodiscard]] Answer elsewhere(std::string_view sql);
  [[nodiscard]] Answer elsewhere(const Shape& shape, std::string_view sql);
  struct KnownText {
    std::string_view text;
    Verdict verdict;
  };

  std::size_t longest_text_;
  std::shared_ptr<const ReadFunctions> read_functions_;
  std::unique_ptr<ShapeStore> own_;
  ShapeStore& store_;
  std::uint64_t scope_;
  std::uint32_t epoch_;
  std::vector<ShapeHash> learnt_;  // bounded: the oldest half is forgotten when full
  LongText long_text_;
  KnownText known_;
  Verdict uncached_;
  Counts counts_;
};

}  // namespace holdfast::protocol::sql
