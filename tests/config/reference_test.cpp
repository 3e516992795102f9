#include "config/reference.hpp"

#include <sstream>

#include "config/diff.hpp"
#include "config/schema.hpp"
#include "tests/config/support.hpp"

namespace holdfast::config {
namespace {

std::string reference(ReferenceFormat format) {
  std::ostringstream out;
  print_reference(out, format);
  return out.str();
}

// The reference needs somebody who can log in; that is the only thing it can't have a default for.
std::string loadable_yaml() {
  auto text = reference(ReferenceFormat::yaml);
  const std::string method = "method: scram-sha-256";
  text.replace(text.find(method), method.size(), "method: trust");
  return text;
}

TEST(Reference, loads_back_to_the_defaults) {
  const auto printed = test::must_load(loadable_yaml());
  const auto bare = test::must_load(R"(listen: [ { address: 127.0.0.1:6432 } ]
clusters: { main: { members: [ { name: pg1, host: 127.0.0.1 } ] } }
databases: { "*": { cluster: main } }
users: { app: }
auth: { method: trust }
)");
  EXPECT_EQ(testing::PrintToString(diff(bare, printed)), "{}");
  EXPECT_EQ(printed.effective(printed.listeners[0], nullptr, nullptr), EffectiveSettings{});
}

TEST(Reference, names_every_key_in_every_format) {
  const auto yaml = reference(ReferenceFormat::yaml);
  const auto markdown = reference(ReferenceFormat::markdown);
  const auto schema = reference(ReferenceFormat::json_schema);
  for (const auto scope :
       {Scope::process, Scope::listener, Scope::cluster, Scope::member, Scope::database, Scope::user}) {
    for (const auto* key : keys(scope)) {
      const auto leaf = std::string(key->path.substr(key->path.rfind('.') + 1));
      EXPECT_NE(yaml.find(leaf + ":"), std::string::npos) << key->path;
      EXPECT_NE(markdown.find("| `" + std::string(key->path) + "` |"), std::string::npos) << key->path;
      EXPECT_NE(schema.find('"' + leaf + "\":{"), std::string::npos) << key->path;
    }
  }
}

TEST(Reference, says_at_which_levels_a_setting_is_allowed) {
  const auto markdown = reference(ReferenceFormat::markdown);
  const auto line = markdown.substr(markdown.find("| `pool.size` |"));
  EXPECT_THAT(line.substr(0, line.find('\n')),
              testing::HasSubstr("Only at the top level, in a database or in a user."));
  const auto schema = reference(ReferenceFormat::json_schema);
  const auto listen = schema.find("\"listen\":{");
  ASSERT_NE(listen, std::string::npos);
  const auto pool = schema.substr(schema.find("\"pool\":{", listen));
  EXPECT_LT(pool.find("\"mode\":{"), pool.find("\"reads\":{"));
  EXPECT_GT(pool.find("\"size\":{"), pool.find("\"reads\":{"));
}

TEST(Reference, is_a_json_schema_that_is_well_formed) {
  // JSON is YAML: the schema parses when its brackets, quotes and commas are right, and none of its keys stands twice.
  const auto problems = test::must_fail(reference(ReferenceFormat::json_schema));
  for (const auto& problem : problems) {
    EXPECT_EQ(problem.message.find("not valid YAML"), std::string::npos) << problem;
    EXPECT_EQ(problem.message.find("given twice"), std::string::npos) << problem;
  }
}

TEST(Reference, knows_its_formats) {
  EXPECT_EQ(parse_reference_format("yaml"), ReferenceFormat::yaml);
  EXPECT_EQ(parse_reference_format("markdown"), ReferenceFormat::markdown);
  EXPECT_EQ(parse_reference_format("json-schema"), ReferenceFormat::json_schema);
  EXPECT_EQ(parse_reference_format("html"), std::nullopt);
}

}  // namespace
}  // namespace holdfast::config
