// What can go wrong, as values: the data path never throws.
#pragma once

#include <expected>
#include <string>
#include <string_view>
#include <utility>

namespace holdfast {

// An SQLSTATE: five characters of PostgreSQL's errcodes (manual, appendix A), stored inside: never allocates.
struct SqlState {
  char code[6] = "XX000";

  constexpr SqlState() = default;
  constexpr explicit SqlState(std::string_view text) {
    for (std::size_t i = 0; i < 5 && i < text.size(); ++i) code[i] = text[i];
  }
  [[nodiscard]] constexpr std::string_view view() const { return {code, 5}; }
  friend constexpr bool operator==(const SqlState& a, const SqlState& b) { return a.view() == b.view(); }
  friend constexpr bool operator==(const SqlState& a, std::string_view b) { return a.view() == b; }
};

namespace sqlstate {
inline constexpr SqlState warning{"01000"};
inline constexpr SqlState connection_failure{"08006"};
inline constexpr SqlState out_of_memory{"53200"};
inline constexpr SqlState idle_in_transaction_session_timeout{"25P03"};
inline constexpr SqlState transaction_resolution_unknown{"08007"};
inline constexpr SqlState protocol_violation{"08P01"};
inline constexpr SqlState feature_not_supported{"0A000"};
inline constexpr SqlState active_sql_transaction{"25001"};
inline constexpr SqlState read_only_sql_transaction{"25006"};
inline constexpr SqlState in_failed_sql_transaction{"25P02"};
inline constexpr SqlState invalid_sql_statement_name{"26000"};
inline constexpr SqlState invalid_authorization{"28000"};
inline constexpr SqlState invalid_password{"28P01"};
inline constexpr SqlState invalid_catalog_name{"3D000"};
inline constexpr SqlState serialization_failure{"40001"};
inline constexpr SqlState deadlock_detected{"40P01"};
inline constexpr SqlState duplicate_prepared_statement{"42P05"};
inline constexpr SqlState too_many_connections{"53300"};
inline constexpr SqlState program_limit_exceeded{"54000"};
inline constexpr SqlState object_not_in_prerequisite_state{"55000"};
inline constexpr SqlState query_canceled{"57014"};
inline constexpr SqlState admin_shutdown{"57P01"};
inline constexpr SqlState crash_shutdown{"57P02"};
inline constexpr SqlState cannot_connect_now{"57P03"};
inline constexpr SqlState idle_session_timeout{"57P05"};
inline constexpr SqlState internal_error{"XX000"};
}  // namespace sqlstate

// An error as a value. `message` is for a person and never contains a secret. `hint` says what to do about it: a string
// literal, or empty.
struct Error {
  SqlState state = sqlstate::internal_error;
  std::string message;
  std::string_view hint = {};
};

template <typename T>
using Result = std::expected<T, Error>;

// return fail(sqlstate::protocol_violation, "message length 3 is below 4");
[[nodiscard]] inline std::unexpected<Error> fail(SqlState state, std::string message) {
  return std::unexpected(Error{state, std::move(message)});
}

}  // namespace holdfast
