#include "proxy/base/log.hpp"

#include <spdlog/async.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <vector>

namespace holdfast::proxy {
namespace {

constexpr std::size_t queue_size = 8192;
std::atomic<bool> json{false};

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::debug: return spdlog::level::debug;
    case LogLevel::info: return spdlog::level::info;
    case LogLevel::warning: return spdlog::level::warn;
    case LogLevel::error: return spdlog::level::err;
  }
  return spdlog::level::info;
}

void append_escaped(std::string& out, std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      out += "\\u00";
      out += digits[byte >> 4U];
      out += digits[byte & 15U];
    } else {
      out += c;
    }
  }
}

bool plain(std::string_view text) {
  if (text.empty()) return false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte == 0x7f || c == '"' || c == '\\' || c == '=') return false;
  }
  return true;
}

}  // namespace

void configure_log(const config::Log& log) {
  if (!spdlog::get("holdfast")) {
    spdlog::init_thread_pool(queue_size, 1);
    auto sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    auto logger = std::make_shared<spdlog::async_logger>("holdfast", sink, spdlog::thread_pool(),
                                                         spdlog::async_overflow_policy::overrun_oldest);
    spdlog::set_default_logger(logger);
    spdlog::flush_every(std::chrono::seconds(1));
    spdlog::flush_on(spdlog::level::info);
  }
  json = log.format == config::LogFormat::json;
  spdlog::set_pattern(json ? R"({"time":"%Y-%m-%dT%H:%M:%S.%f%z","level":"%l",%v})" : "%Y-%m-%d %H:%M:%S.%e %l %v");
  spdlog::set_level(spdlog::level::from_str(log.level == "warning" ? "warn" : log.level));
}

void flush_log() {
  if (auto logger = spdlog::get("holdfast")) logger->flush();
  spdlog::shutdown();
}

void log_event(LogLevel level, std::string_view event, const LogField* fields, std::size_t count) {
  auto* logger = spdlog::default_logger_raw();
  if (logger == nullptr || !logger->should_log(level_of(level))) return;
  std::string line;
  if (json) {
    line += "\"event\":\"";
    line += event;
    line += '"';
  } else {
    line += event;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const auto& [key, value] = fields[i];
    if (value.empty()) continue;
    if (json) {
      line += ",\"";
      line += key;
      line += "\":\"";
      append_escaped(line, value);
      line += '"';
      continue;
    }
    line += ' ';
    line += key;
    line += '=';
    if (plain(value)) {
      line += value;
    } else {
      line += '"';
      append_escaped(line, value);
      line += '"';
    }
  }
  logger->log(level_of(level), spdlog::string_view_t(line.data(), line.size()));
}

void log_event(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  log_event(level, event, fields.begin(), fields.size());
}

bool logs(LogLevel level) {
  auto* logger = spdlog::default_logger_raw();
  return logger != nullptr && logger->should_log(level_of(level));
}

}  // namespace holdfast::proxy
