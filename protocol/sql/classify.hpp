// From a statement's text to its verdict: shape, cache, and PostgreSQL's own parser on a miss.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
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
};

// Gives the clients of one pool their verdicts. A verdict, and what is learnt from standbys, counts for the pool alone:
// the list of functions is its own, and so are its catalogue and its rights. Owner: the worker; not thread-safe. All
// its memory is bounded by its options.
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

  // With a store of its own, of the sizes in `options`.
  explicit Classifier(const Options& options);
  // `scope` keeps its verdicts apart from those of others in the store, which outlives it.
  Classifier(const Options& options, ShapeStore& store, std::uint64_t scope);

  // Valid until the next call on this object: copy it to keep it. A hit costs about 1 ns a byte plus some tens of ns
  // and allocates nothing.
  [[nodiscard]] const Verdict& verdict(std::string_view sql);

  // A standby refused this text (25006, 0A000, 55000): its shape goes to the primary until forget_learnt(), or until it
  // is evicted from the cache. A hint in the text still applies.
  void learn_needs_primary(std::string_view sql);
  // Called after DDL, and from time to time.
  void forget_learnt();

  // Reads no text at all: for sessions whose client_encoding hides ASCII bytes in other characters (shape.hpp,
  // is_ascii_transparent), where every statement goes to the primary and pins. Its verdicts don't apply to others.
  [[nodiscard]] bool blind() const { return longest_text_ == 0; }

  [[nodiscard]] const Counts& counts() const { return counts_; }
  [[nodiscard]] std::size_t cache_bytes() const { return store_.cache.bytes(); }
  [[nodiscard]] std::size_t cached() const { return store_.cache.size(); }

 private:
  [[nodiscard]] Verdict judge(std::string_view sql, const Shape& shape);
  [[nodiscard]] ShapeHash scoped(const ShapeHash& hash) const { return {.low = hash.low ^ scope_, .high = hash.high}; }

  std::size_t longest_text_;
  ReadFunctions read_functions_;
  std::unique_ptr<ShapeStore> own_;
  ShapeStore& store_;
  std::uint64_t scope_;
  std::vector<ShapeHash> learnt_;  // bounded: the oldest half is forgotten when full
  Verdict uncached_;
  Counts counts_;
};

}  // namespace holdfast::protocol::sql
