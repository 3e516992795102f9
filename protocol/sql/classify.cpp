#include "protocol/sql/classify.hpp"

#include <pg_query.h>
#include <pthread.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "protocol/sql/analyze.hpp"
#include "protocol/sql/parse_cost.hpp"
#include "protocol/sql/parse_tree.hpp"

namespace holdfast::protocol::sql {
namespace {

// libpg_query writes the tree recursively and doesn't limit the depth: "a+a+a+…" takes about 100 bytes of stack for two
// bytes of text (measured: 8 MiB overflow between 50,000 and 100,000 levels). Up to this size any text fits a worker's
// stack of 8 MiB with room to spare; longer ones get a thread whose stack is in proportion.
constexpr std::size_t longest_on_this_stack = 16U << 10;
constexpr std::size_t stack_per_byte = 256;
constexpr std::size_t stack_base = 1U << 20;

constexpr std::size_t most_learnt = 4096;

// What the scan of a byte costs at most: a token of one byte.
constexpr std::chrono::nanoseconds scan_per_byte{7};

constexpr Verdict unparsed_verdict = unseen_verdict;

Verdict parse_and_analyze(const std::string& sql, const ReadFunctions& read_functions) {
  PgQueryParseResult result = pg_query_parse(sql.c_str());
  struct Free {
    void operator()(PgQueryParseResult* parsed) const { pg_query_free_parse_result(*parsed); }
  };
  std::unique_ptr<PgQueryParseResult, Free> guard(&result);
  if (result.error != nullptr || result.parse_tree == nullptr) return unparsed_verdict;
  std::optional<ParseTree> tree = ParseTree::read(result.parse_tree);
  return tree ? analyze(*tree, read_functions) : unparsed_verdict;
}

struct Job {
  const std::string& sql;
  const ReadFunctions& read_functions;
  Verdict verdict = unparsed_verdict;
};

// The same on a thread of its own, for its stack; the caller waits. The kernel allocates pages as they are touched.
Verdict parse_on_large_stack(const std::string& sql, const ReadFunctions& read_functions) {
  Job job{.sql = sql, .read_functions = read_functions};
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return unparsed_verdict;
  std::size_t size = (stack_base + stack_per_byte * sql.size() + 4095) / 4096 * 4096;
  pthread_t thread{};
  auto run = [](void* argument) -> void* {
    auto& todo = *static_cast<Job*>(argument);
    todo.verdict = parse_and_analyze(todo.sql, todo.read_functions);
    return nullptr;
  };
  bool started =
      pthread_attr_setstacksize(&attributes, size) == 0 && pthread_create(&thread, &attributes, run, &job) == 0;
  pthread_attr_destroy(&attributes);
  if (!started) return unparsed_verdict;
  pthread_join(thread, nullptr);
  return job.verdict;
}

// The cost of what the parser would get for this shape; of an ambiguous text both readings.
std::chrono::nanoseconds cost_of(const Shape& shape) {
  return parse_cost(shape.text) * (shape.kind == ShapeKind::ambiguous ? 2 : 1);
}

// A text whose parse costs more than `most` is not parsed.
Verdict parse_within(std::string_view text, const ReadFunctions& read_functions, std::chrono::nanoseconds most) {
  const auto cost = parse_cost(text);
  if (cost > most || text.find('\0') != std::string_view::npos) return unparsed_verdict;
  // What is cheap can't be nested deeply.
  if (cost <= Classifier::most_for_a_text) return parse_and_analyze(std::string(text), read_functions);
  return classify(text, read_functions);
}

Verdict judge(std::string_view sql, const Shape& shape, Shaper& shaper, const ReadFunctions& read_functions,
              std::chrono::nanoseconds most) {
  switch (shape.kind) {
    case ShapeKind::folded: return parse_within(shape.text, read_functions, most);
    case ShapeKind::odd:
      // The parser knows only one reading of plain strings; where the other could end one elsewhere, it isn't used.
      if (shape.text.find("\\'") != std::string_view::npos) return unparsed_verdict;
      return parse_within(shape.text, read_functions, most);
    case ShapeKind::ambiguous: break;
    case ShapeKind::refused:
    case ShapeKind::too_long: return unparsed_verdict;
  }
  // Ambiguous: takes both readings. If the server's reading has a string without an end, it refuses the whole text
  // before anything runs, so such a reading doesn't count.
  std::optional<Verdict> united;
  for (Strings strings : {Strings::standard_only, Strings::escaped}) {
    Shape reading = shaper.shape(sql, strings);
    if (reading.kind == ShapeKind::refused) continue;
    Verdict verdict =
        reading.kind == ShapeKind::folded ? parse_within(reading.text, read_functions, most) : unparsed_verdict;
    if (!united) {
      united = verdict;
    } else if (*united != verdict) {
      // It is one string of statements after all: the count is that of the reading with more of them.
      std::uint16_t statements = std::max(united->statements, verdict.statements);
      united = unite(*united, verdict);
      united->statements = statements;
    }
  }
  return united.value_or(unparsed_verdict);
}

}  // namespace

Verdict classify(std::string_view sql, const ReadFunctions& read_functions) {
  // libpg_query reads up to a NUL: anything behind it would go unseen.
  if (sql.find('\0') != std::string_view::npos) return unparsed_verdict;
  std::string text{sql};
  return text.size() <= longest_on_this_stack ? parse_and_analyze(text, read_functions)
                                              : parse_on_large_stack(text, read_functions);
}

Verdict judge(const LongText& text) {
  if (text.stage == LongText::Stage::folded) {
    Verdict verdict = parse_within(text.text, *text.read_functions, Classifier::most_elsewhere);
    verdict.hint = text.hint;
    return verdict;
  }
  // The hash is not used: any key will do.
  Shaper shaper(text.longest_folded, ShapeKey(1, 1));
  const Shape shape = shaper.shape(text.text);
  Verdict verdict = judge(text.text, shape, shaper, *text.read_functions, Classifier::most_elsewhere);
  verdict.hint = shape.hint;
  return verdict;
}

Classifier::Classifier(const Options& options)
    : longest_text_(options.longest_text),
      read_functions_(std::make_shared<const ReadFunctions>(options.read_functions)),
      own_(std::make_unique<ShapeStore>(options.cache_bytes, options.longest_folded)),
      store_(*own_),
      scope_(0),
      epoch_(store_.next_epoch()) {}

Classifier::Classifier(const Options& options, ShapeStore& store, std::uint64_t scope)
    : longest_text_(options.longest_text),
      read_functions_(std::make_shared<const ReadFunctions>(options.read_functions)),
      store_(store),
      scope_(scope),
      epoch_(store_.next_epoch()) {}

const Verdict& Classifier::verdict(std::string_view sql) {
  return *ask(sql, Patience::none).verdict;
}

Classifier::Answer Classifier::unseen() {
  ++counts_.unparsed;
  uncached_ = unseen_verdict;
  return {.verdict = &uncached_};
}

Classifier::Answer Classifier::elsewhere(std::string_view sql) {
  long_text_ = {
      .text = std::string(sql), .read_functions = read_functions_, .longest_folded = store_.shaper.longest()};
  return {.when = Answer::When::elsewhere};
}

Classifier::Answer Classifier::elsewhere(const Shape& shape, std::string_view sql) {
  const bool folded = shape.kind == ShapeKind::folded;
  (void)elsewhere(folded ? shape.text : sql);
  if (folded) long_text_.stage = LongText::Stage::folded;
  if (shape.hashed) long_text_.hash = shape.hash;
  long_text_.hint = shape.hint;
  return {.when = Answer::When::elsewhere};
}

Classifier::Answer Classifier::ask(std::string_view sql, Patience patience) {
  if (!known_.text.empty() && known_.text.data() == sql.data() && known_.text.size() == sql.size()) {
    return {.verdict = &known_.verdict};
  }
  if (sql.size() > longest_text_) return unseen();
  if (patience == Patience::any && sql.size() > longest_scanned) return elsewhere(sql);
  if (sql.size() > longest_scanned_here) return unseen();
  if (const ShapeHash* hash = store_.memo.find(sql)) {
    if (const Verdict* known = store_.cache.find(scoped(*hash))) {
      ++counts_.hits;
      return {.verdict = known};
    }
  }
  const bool spent = store_.left.count() <= 0;
  store_.left -= scan_per_byte * sql.size();
  const Shape shape = store_.shaper.shape(sql);
  if (shape.hashed) {
    if (const Verdict* known = store_.cache.find(scoped(shape.hash))) {
      ++counts_.hits;
      if (shape.kind == ShapeKind::folded) store_.memo.learn(sql, store_.shaper.holes(), shape.hash);
      return {.verdict = known};
    }
  } else if (shape.kind == ShapeKind::ambiguous) {
    // It can't be remembered: parsed each time that it comes, it would be too dear for here.
    return patience == Patience::any ? elsewhere(shape, sql) : unseen();
  }
  const auto cost = shape.hashed ? cost_of(shape) : std::chrono::nanoseconds(0);
  if (cost > most_for_a_text && cost <= most_elsewhere) {
    return patience == Patience::none ? unseen() : elsewhere(shape, sql);
  }
  if (patience != Patience::none && spent) return {.when = Answer::When::later};
  ++counts_.misses;
  store_.left -= std::min(cost, most_for_a_text);
  Verdict judged = judge(sql, shape, store_.shaper, *read_functions_, most_for_a_text);
  judged.hint = shape.hint;
  if (has(judged.effects, Effect::unparsed)) ++counts_.unparsed;
  if (shape.hashed) return {.verdict = &store_.cache.insert(scoped(shape.hash), judged)};
  uncached_ = judged;
  return {.verdict = &uncached_};
}

void Classifier::learn(const ShapeHash& hash, const Verdict& verdict) {
  store_.cache.insert(scoped(hash), verdict);
}

void Classifier::learn_needs_primary(std::string_view sql) {
  Verdict learnt = verdict(sql);
  if (learnt.access == Access::write) return;
  Shape shape = store_.shaper.shape(sql);
  if (!shape.hashed) return;
  learnt.access = Access::write;
  store_.cache.insert(scoped(shape.hash), learnt);
  if (learnt_.size() == most_learnt) {
    // The oldest half is forgotten: standbys get those again, and they are learnt again if refused.
    auto half = learnt_.begin() + most_learnt / 2;
    for (auto hash = learnt_.begin(); hash != half; ++hash) store_.cache.erase(scoped(*hash));
    learnt_.erase(learnt_.begin(), half);
  }
  learnt_.push_back(shape.hash);
  epoch_ = store_.next_epoch();
}

void Classifier::forget_learnt() {
  for (const ShapeHash& hash : learnt_) store_.cache.erase(scoped(hash));
  learnt_.clear();
  epoch_ = store_.next_epoch();
}

}  // namespace holdfast::protocol::sql
