#include "protocol/server_names.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <string_view>

#include "protocol/message.hpp"

namespace holdfast::protocol {
namespace {

bool may_quote(std::string_view routine, char answers) {
  if (answers == client::execute) return routine == "exec_execute_message";
  constexpr auto routines =
      std::to_array<std::string_view>({"FetchPreparedStatement", "StorePreparedStatement", "exec_parse_message",
                                       "exec_bind_message", "exec_describe_statement_message"});
  const bool names = answers == client::parse || answers == client::bind || answers == client::describe;
  return names && std::ranges::find(routines, routine) != routines.end();
}

bool is_word(char byte) {
  const auto value = static_cast<unsigned char>(byte);
  return std::isalnum(value) != 0 || byte == '_' || byte == '$';
}

}  // namespace

std::optional<QuotedName> quoted_name(const ErrorFields& fields, char answers) {
  if (!may_quote(fields.routine, answers)) return std::nullopt;
  constexpr std::string_view prefix = "hf_";
  const auto text = fields.message;
  for (auto at = text.find(prefix); at != std::string_view::npos; at = text.find(prefix, at + 1)) {
    if (at > 0 && is_word(text[at - 1])) continue;
    QuotedName name{.at = at};
    const char* digits = text.data() + at + prefix.size();
    const char* end = text.data() + text.size();
    const auto [last, failed] = std::from_chars(digits, end, name.id);
    if (failed != std::errc{} || (last != end && is_word(*last))) continue;
    name.size = static_cast<std::size_t>(last - text.data()) - at;
    return name;
  }
  return std::nullopt;
}

}  // namespace holdfast::protocol
