// Verdicts of any text: the way by shape and cache is never less cautious than PostgreSQL's parser on the text itself,
// and the second look gives what the first gave.
#include <cstdint>
#include <string_view>

#include "protocol/sql/classify.hpp"
#include "protocol/sql/custom_settings.hpp"
#include "tests/fuzz/check.hpp"

using namespace holdfast::protocol::sql;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view sql{reinterpret_cast<const char*>(data), size};
  Classifier classifier({.cache_bytes = 1U << 16, .longest_folded = 32768, .read_functions = {"f"}});
  const Verdict cached = classifier.verdict(sql);
  FUZZ_CHECK(classifier.verdict(sql) == cached);
  FUZZ_CHECK(classifier.cached() <= 1);

  static_cast<void>(custom_settings_made(sql));
  static_cast<void>(custom_settings_asked(sql));

  const Verdict parsed = classify(sql, ReadFunctions({"f"}));
  // A text that the parser refuses is refused by the server, or not understood here; folding may have taken what was
  // wrong.
  if (parsed == unseen_verdict || cached.effects == Effect::unparsed) return 0;
  FUZZ_CHECK(cached.access >= parsed.access);
  FUZZ_CHECK((cached.effects | parsed.effects) == cached.effects);
  FUZZ_CHECK(cached.copy_from_client == parsed.copy_from_client);
  // Two readings may count otherwise.
  if (sql.find("\\'") == std::string_view::npos) {
    FUZZ_CHECK(cached.statements == parsed.statements);
    FUZZ_CHECK(cached.control == parsed.control);
    FUZZ_CHECK(cached.makes_read_only == parsed.makes_read_only);
    FUZZ_CHECK(cached.returns_after_commit == parsed.returns_after_commit);
  }
  return 0;
}
