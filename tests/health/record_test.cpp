#include "health/record.hpp"

#include <gtest/gtest.h>

#include <random>

namespace holdfast::health {
namespace {

Record sample() {
  return {.cluster = "main",
          .system_identifier = 7710897170907958821U,
          .timeline = 3,
          .epoch = 12,
          .primary = "pg2",
          .started = 1764493000123456,
          .refused = {{"pg1", 4}, {"pg 3", 7}}};
}

TEST(RecordText, comes_back_as_it_went) {
  Record record = sample();
  for (const auto* name : {"main", "a b", "läger", "x\ny", "../etc", "%41", "", "a=b#c"}) {
    record.cluster = record.primary = name;
    const auto back = parse_record(to_text(record), name);
    ASSERT_TRUE(back) << name << ": " << back.error().message;
    EXPECT_EQ(*back, record);
  }
}

TEST(RecordText, says_what_to_do_with_it) {
  EXPECT_NE(to_text(sample()).find("then remove this file and reload"), std::string::npos);
}

TEST(RecordText, skips_what_a_later_version_adds) {
  EXPECT_TRUE(parse_record(to_text(sample()) + "witness pg3 pg4\n\n# more\n", "main"));
}

TEST(RecordText, refuses_what_it_can_not_be_sure_of) {
  const auto text = to_text(sample());
  EXPECT_FALSE(parse_record(text, "other"));
  EXPECT_FALSE(parse_record("", "main"));
  EXPECT_FALSE(parse_record(text + "timeline 3\n", "main")) << "twice";
  EXPECT_FALSE(parse_record(text + "lonely\n", "main"));
  for (const auto* value : {"pg2", "pg2 0", "pg2 x", "pg1 5", "% 5", "pg2 5 6"}) {
    EXPECT_FALSE(parse_record(text + "refused " + value + "\n", "main")) << value;
  }
  for (const auto* key : {"cluster", "system_identifier", "timeline", "epoch", "primary", "started"}) {
    const auto at = text.find(std::string("\n") + key + " ") + 1;
    const auto end = text.find('\n', at);
    EXPECT_FALSE(parse_record(text.substr(0, at) + text.substr(end + 1), "main")) << "without " << key;
    for (const auto* value : {"%", "%4", "%zz", "1 ", "-", "0x1", "99999999999999999999999"}) {
      const bool a_name = std::string_view(value).find_first_of("% ") == std::string_view::npos;
      if (a_name && std::string_view(key) == "primary") continue;
      const auto bent = text.substr(0, at) + key + " " + value + text.substr(end);
      EXPECT_FALSE(parse_record(bent, "main")) << key << ' ' << value;
    }
  }
  for (const auto* key : {"system_identifier", "timeline", "epoch"}) {
    const auto at = text.find(std::string("\n") + key + " ") + 1;
    EXPECT_FALSE(parse_record(text.substr(0, at) + key + " 0" + text.substr(text.find('\n', at)), "main")) << key;
  }
}

TEST(RecordText, cut_anywhere_is_refused_or_whole) {
  const auto text = to_text(sample());
  for (std::size_t size = 0; size < text.size(); ++size)
    EXPECT_FALSE(parse_record(text.substr(0, size), "main")) << size;
}

TEST(RecordText, garbage_is_refused) {
  std::mt19937 random(4711);
  for (int round = 0; round < 2000; ++round) {
    auto text = to_text(sample());
    for (int i = 0; i < 3; ++i) text[random() % text.size()] = static_cast<char>(random());
    static_cast<void>(parse_record(text, "main"));  // the sanitizers watch
  }
}

TEST(RecordFileName, stays_in_its_folder) {
  EXPECT_EQ(record_file_name("main"), "main.record");
  EXPECT_EQ(record_file_name("../x"), "%2E%2E%2Fx.record");
  EXPECT_NE(record_file_name("a.b"), record_file_name("a%2Eb"));
}

}  // namespace
}  // namespace holdfast::health
