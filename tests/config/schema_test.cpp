#include "config/schema.hpp"

#include <set>

#include "config/reference.hpp"
#include "config/units.hpp"
#include "config/words.hpp"
#include "tests/config/support.hpp"

namespace holdfast::config {
namespace {

constexpr Scope all_scopes[] = {Scope::process,  Scope::listener, Scope::cluster, Scope::member,
                                Scope::database, Scope::user,     Scope::session};

TEST(Schema, explains_every_key) {
  for (const auto scope : all_scopes) {
    for (const auto* key : keys(scope)) {
      EXPECT_GE(key->doc.size(), 10U) << key->path;
      EXPECT_TRUE(key->doc.ends_with('.')) << key->path;
    }
  }
}

TEST(Schema, gives_every_key_a_default_unless_it_is_required) {
  for (const auto scope : all_scopes) {
    for (const auto* key : keys(scope)) {
      if (key->path == "max_clients") continue;  // none: no limit of its own
      EXPECT_TRUE(key->required || key->standard) << key->path;
    }
  }
}

TEST(Schema, has_no_path_twice_and_none_that_is_also_a_group) {
  for (const auto scope : all_scopes) {
    std::set<std::string_view> paths;
    for (const auto* key : keys(scope)) EXPECT_TRUE(paths.insert(key->path).second) << key->path;
    for (const auto path : paths) {
      for (const auto other : paths) EXPECT_FALSE(other.starts_with(std::string(path) + '.')) << path;
    }
  }
}

TEST(Schema, keeps_defaults_inside_their_ranges) {
  for (const auto scope : all_scopes) {
    for (const auto* key : keys(scope)) {
      if (!key->standard) continue;
      std::optional<std::uint64_t> number;
      if (const auto* plain = std::get_if<std::uint64_t>(&*key->standard)) number = *plain;
      if (const auto* duration = std::get_if<Milliseconds>(&*key->standard)) {
        number = static_cast<std::uint64_t>(duration->count());
      }
      if (!number || (*number == 0 && !key->zero.empty())) continue;
      EXPECT_GE(*number, key->range.min) << key->path;
      EXPECT_LE(*number, key->range.max) << key->path;
    }
  }
}

TEST(Schema, keeps_default_words_available) {
  for (const auto scope : all_scopes) {
    for (const auto* key : keys(scope)) {
      if (key->type != Type::word) continue;
      const auto& text = std::get<std::string>(*key->standard);
      const auto found = std::ranges::find(key->words, text, &Word::text);
      ASSERT_NE(found, key->words.end()) << key->path;
      EXPECT_TRUE(found->available) << key->path;
    }
  }
}

TEST(Schema, ties_every_slot_to_the_field_that_its_reading_gives) {
  // A wrong pointer in the table would show here: each key is given a value unlike its default, and all others keep
  // theirs.
  const auto other_than = [](const Key& key) -> Value {
    switch (key.type) {
      case Type::boolean: return !std::get<bool>(*key.standard);
      case Type::integer:
      case Type::size: return key.range.min + 17;
      case Type::duration: return Milliseconds(key.range.min + 17);
      case Type::word: return std::string(key.words.back().text);
      case Type::text:
      case Type::file: return std::string("something");
      case Type::list: return std::vector<std::string>{"one", "two"};
      case Type::address: return Address{"10.1.2.3", 77};
      case Type::consistency: return Consistency{ReadConsistency::bounded, Milliseconds(17)};
      case Type::secret: return Secret("s3cret");
    }
    return false;
  };
  const auto check = [&]<class Object>(const Object& fresh) {
    const auto before = readings(fresh);
    for (std::size_t i = 0; i < before.size(); ++i) {
      Object changed = fresh;
      const auto value = other_than(*before[i].key);
      slots(changed)[i].assign(value);
      const auto after = readings(changed);
      EXPECT_EQ(after[i].value, value) << before[i].key->path;
      for (std::size_t j = 0; j < after.size(); ++j) {
        if (j == i) continue;
        EXPECT_EQ(after[j].value, before[j].value) << before[i].key->path << " changes " << before[j].key->path;
      }
    }
  };
  check(Config{});
  check(Listener{});
  check(Cluster{});
  check(Member{});
  check(Database{});
  check(User{});
}

TEST(Schema, says_why_a_setting_is_not_for_every_level) {
  for (const auto* key : keys(Scope::session)) {
    const auto& levels = key->levels;
    const bool everywhere = levels.process && levels.listener && levels.database && levels.user;
    EXPECT_EQ(levels.why.empty(), everywhere) << key->path;
    EXPECT_FALSE(to_string(levels).empty()) << key->path;
  }
}

TEST(Schema, keeps_pools_out_of_listeners) {
  const auto at = [](Scope scope, std::string_view path) {
    return std::ranges::any_of(keys(scope), [&](const Key* key) { return key->path == path; });
  };
  for (const auto* path : {"pool.size", "pool.idle_timeout", "pool.lifetime"}) {
    EXPECT_FALSE(at(Scope::listener, path)) << path;
    for (const auto scope : {Scope::process, Scope::database, Scope::user}) EXPECT_TRUE(at(scope, path)) << path;
  }
  EXPECT_TRUE(at(Scope::listener, "pool.mode"));
  EXPECT_TRUE(at(Scope::process, "pool.hold_limit"));
  for (const auto scope : {Scope::listener, Scope::database, Scope::user}) {
    EXPECT_FALSE(at(scope, "pool.hold_limit"));
  }
}

TEST(Levels, are_listed_as_text) {
  EXPECT_EQ(to_string(Levels{}), "at the top level, in a listener, in a database or in a user");
  EXPECT_EQ(to_string(Levels{.process = false, .listener = false, .why = "x"}), "in a database or in a user");
  EXPECT_EQ(to_string(Levels{.listener = false, .database = false, .user = false, .why = "x"}), "at the top level");
}

TEST(Schema, has_a_word_for_every_value) {
  EXPECT_EQ(word_of(Route::automatic), "auto");
  EXPECT_EQ(word_of(Route::replica_or_primary), "replica_or_primary");
  EXPECT_EQ(word_of(SslMode::verify_full), "verify-full");
  EXPECT_EQ(word_of(AuthMethod::trust), "trust");
  EXPECT_EQ(word_of(Balance::latency), "latency");
  EXPECT_EQ(word_of(ReadConsistency::eventual), "eventual");
  EXPECT_EQ(word_of(OnSessionState::ignore), "ignore");
  EXPECT_EQ(word_of(Authority::kubernetes), "kubernetes");
  EXPECT_EQ(word_of(FailoverMode::observe), "observe");
  EXPECT_EQ(word_of(PoolMode::statement), "statement");
  EXPECT_EQ(word_of(ListenTls::require), "require");
  EXPECT_EQ(word_of(LogFormat::json), "json");
}

}  // namespace
}  // namespace holdfast::config
