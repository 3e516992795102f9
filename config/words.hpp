// The words of each enum, as an operator writes them. Indexed by the enum's value; words that this version does not
// support yet are marked, so that the answer is "not available" instead of "unknown".
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "config/model.hpp"
#include "config/schema.hpp"

namespace holdfast::config {

template <class E>
inline constexpr std::span<const Word> words_of = {};

namespace words {
inline constexpr Word pool_mode[] = {{"transaction"}, {"session"}, {"statement", false}};
inline constexpr Word route[] = {{"auto"}, {"primary"}, {"replica"}, {"replica_or_primary"}};
inline constexpr Word read_consistency[] = {{"session"}, {"global"}, {"bounded"}, {"eventual"}};
inline constexpr Word balance[] = {{"least_connections"}, {"round_robin"}, {"weighted"}, {"latency", false}};
inline constexpr Word on_session_state[] = {{"pin"}, {"reject", false}, {"ignore", false}};
inline constexpr Word failover_mode[] = {{"follow"}, {"trigger", false}, {"observe", false}};
inline constexpr Word isolation[] = {{"auto"}, {"hold"}, {"warn"}, {"ignore"}};
inline constexpr Word authority[] = {{"sql"}, {"patroni", false}, {"kubernetes", false}};
inline constexpr Word auth_method[] = {{"scram-sha-256"}, {"trust"}};
inline constexpr Word listen_tls[] = {{"disable"}, {"allow"}, {"require"}};
inline constexpr Word ssl_mode[] = {{"disable"}, {"allow"}, {"prefer"}, {"require"}, {"verify-ca"}, {"verify-full"}};
inline constexpr Word log_format[] = {{"text"}, {"json"}};
inline constexpr Word log_level[] = {{"trace"}, {"debug"}, {"info"}, {"warn"}, {"error"}};
}  // namespace words

template <>
inline constexpr std::span<const Word> words_of<PoolMode> = words::pool_mode;
template <>
inline constexpr std::span<const Word> words_of<Route> = words::route;
template <>
inline constexpr std::span<const Word> words_of<ReadConsistency> = words::read_consistency;
template <>
inline constexpr std::span<const Word> words_of<Balance> = words::balance;
template <>
inline constexpr std::span<const Word> words_of<OnSessionState> = words::on_session_state;
template <>
inline constexpr std::span<const Word> words_of<FailoverMode> = words::failover_mode;
template <>
inline constexpr std::span<const Word> words_of<Isolation> = words::isolation;
template <>
inline constexpr std::span<const Word> words_of<Authority> = words::authority;
template <>
inline constexpr std::span<const Word> words_of<AuthMethod> = words::auth_method;
template <>
inline constexpr std::span<const Word> words_of<ListenTls> = words::listen_tls;
template <>
inline constexpr std::span<const Word> words_of<SslMode> = words::ssl_mode;
template <>
inline constexpr std::span<const Word> words_of<LogFormat> = words::log_format;

// The word for a value: word_of(Route::automatic) is "auto". For logs and messages.
template <class E>
[[nodiscard]] constexpr std::string_view word_of(E value) {
  static_assert(!words_of<E>.empty(), "this enum has no words");
  return words_of<E>[static_cast<std::size_t>(value)].text;
}

}  // namespace holdfast::config
