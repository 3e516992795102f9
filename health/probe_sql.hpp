// What a probe asks, and how its row is read. No sockets here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "health/observation.hpp"

namespace holdfast::health {

// The columns of one row; none: NULL.
using Row = std::vector<std::optional<std::string>>;

// Facts that can't change while one connection lives, because it would not survive the postmaster.
struct ServerConstants {
  std::uint64_t system_identifier = 0;
  std::uint64_t segment_size = 16U << 20;
  std::uint32_t block_size = 8192;
  std::int64_t started = 0;
  int server_version = 0;
};

extern const char* const state_and_constants_sql;  // first query of a connection
extern const char* const state_sql;
extern const char* const position_sql;

// "0/400E9C8" as a number; none if it isn't one.
[[nodiscard]] std::optional<std::uint64_t> parse_lsn(std::string_view text);

// None: a column is missing or unreadable.
[[nodiscard]] std::optional<ServerConstants> read_constants(const Row& row, int server_version);
[[nodiscard]] std::optional<Observation> read_state(const Row& row, const ServerConstants& constants);
[[nodiscard]] std::optional<Position> read_position(const Row& row);

}  // namespace holdfast::health
