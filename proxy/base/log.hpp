// One line per event: a stable name and key=value pairs, as text or as JSON. Formatting and writing happen on spdlog's
// own thread: a worker only queues, and drops (counted) when the queue is full.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "config/model.hpp"

namespace holdfast::proxy {

enum class LogLevel : std::uint8_t { debug, info, warning, error };

using LogField = std::pair<std::string_view, std::string>;

// Once, at start; and again after a reload, for level and format.
void configure_log(const config::Log& log);
// Writes what is queued; at the end of the process.
void flush_log();

// Any thread. Values are quoted where need be; never pass a secret.
void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields);
void log_event(LogLevel level, std::string_view event, const LogField* fields, std::size_t count);
// Would a line of this level be written? Asked before its fields are put together.
[[nodiscard]] bool logs(LogLevel level);

}  // namespace holdfast::proxy
