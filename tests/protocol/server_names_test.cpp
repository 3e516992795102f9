#include "protocol/server_names.hpp"

#include <gtest/gtest.h>

#include "protocol/message.hpp"

namespace holdfast::protocol {
namespace {

std::optional<std::uint64_t> id_in(std::string_view message, std::string_view routine = "exec_bind_message",
                                   char answers = client::bind) {
  const auto name = quoted_name({.message = message, .routine = routine}, answers);
  if (!name) return std::nullopt;
  EXPECT_EQ(message.substr(name->at, name->size), "hf_" + std::to_string(name->id));
  return name->id;
}

TEST(ServerNames, are_found_in_what_speaks_of_statements) {
  EXPECT_EQ(id_in("prepared statement \"hf_12\" does not exist", "FetchPreparedStatement"), 12U);
  EXPECT_EQ(id_in("prepared statement \"hf_12\" already exists", "StorePreparedStatement", client::parse), 12U);
  EXPECT_EQ(id_in("hf_18446744073709551615"), 18446744073709551615U);
  EXPECT_EQ(id_in("parse hf_3: select hf_4", "exec_parse_message", client::parse), 3U);
  EXPECT_EQ(id_in("execute hf_3/p: select 1", "exec_execute_message", client::execute), 3U);
}

TEST(ServerNames, are_whole_words) {
  for (const char* text : {"", "hf_", "hf_x", "xhf_1", "_hf_1", "hf_1x", "hf_1_", "hf_99999999999999999999", "HF_1"})
    EXPECT_EQ(id_in(text), std::nullopt) << text;
}

TEST(ServerNames, are_nobodys_in_other_messages) {
  EXPECT_EQ(id_in("relation \"hf_1\" does not exist", "parserOpenTable"), std::nullopt);
  EXPECT_EQ(id_in("prepared statement \"hf_1\" does not exist", ""), std::nullopt);
  for (const char tag : {client::execute, client::query, client::sync, '\0'})
    EXPECT_EQ(id_in("prepared statement \"hf_1\" does not exist", "FetchPreparedStatement", tag), std::nullopt);
}

}  // namespace
}  // namespace holdfast::protocol
