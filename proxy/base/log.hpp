// One line per event: a stable name and key=value pairs, as text or as JSON. The caller composes and queues the line;
// spdlog's own thread adds time and level and writes it. When the queue is full the oldest line is dropped.
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

// Called at start, and again after a reload to change level and format.
void configure_log(const config::Log& log);
// Writes what is queued and ends logging; called at the end of the process.
void flush_log();

// Any thread. Values are quoted where necessary; never pass a secret.
void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields);
void log_event(LogLevel level, std::string_view event, const LogField* fields, std::size_t count);
// Whether a line of this level would be written: to be checked before its fields are made.
[[nodiscard]] bool logs(LogLevel level);

}  // namespace holdfast::proxy
