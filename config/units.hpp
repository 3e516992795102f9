// Durations and sizes as text. A number without a unit is refused: "30" of what?
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>

namespace holdfast::config {

// `500ms`, `30s`, `5m`, `1h`, `1d`: digits, maybe a space, a unit. `0` needs no unit. At most 100 years.
// Errors say what to write; they are sentences for Problem::message.
[[nodiscard]] std::expected<std::chrono::milliseconds, std::string> parse_duration(std::string_view text);

// Bytes: `16MiB`, `512kB`, `1GB`, `100B`, units in any case. kB, MB, GB and TB are powers of 1024, as in
// postgresql.conf (manual, 20.1.1), and KiB, MiB, GiB, TiB are the same. `0` needs no unit. Errors say what to write.
[[nodiscard]] std::expected<std::uint64_t, std::string> parse_size(std::string_view text);

// Whole numbers: digits only, at most 2^64-1.
[[nodiscard]] std::expected<std::uint64_t, std::string> parse_integer(std::string_view text);

// The shortest exact text that parses back to the same value: 90000ms → "90s", 16777216 → "16MB", 0 → "0".
[[nodiscard]] std::string print_duration(std::chrono::milliseconds value);
[[nodiscard]] std::string print_size(std::uint64_t bytes);

}  // namespace holdfast::config
