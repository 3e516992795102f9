#include "protocol/parameters.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <functional>
#include <map>

#include "protocol/sql/reset.hpp"

namespace holdfast::protocol {

namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

std::string lower(std::string_view text) {
  std::string result(text);
  std::ranges::transform(result, result.begin(), [](char c) { return lower(c); });
  return result;
}

// Changing the role changes what else may be changed.
bool is_role(std::string_view name) {
  return name == "role" || name == "session_authorization";
}

void append_literal(std::string& out, std::string_view value) {
  const auto special = [](char c) { return c == '\\' || static_cast<unsigned char>(c) > 127; };
  if (std::ranges::any_of(value, special)) out += " E";
  out += '\'';
  for (const char c : value) {
    if (static_cast<unsigned char>(c) > 127) {
      constexpr std::string_view digits = "0123456789abcdef";
      out += "\\x";
      out += digits[static_cast<unsigned char>(c) >> 4U];
      out += digits[static_cast<unsigned char>(c) & 15U];
      continue;
    }
    if (c == '\'' || c == '\\') out += c;
    out += c;
  }
  out += '\'';
}

// Null is RESET: set_config_by_name() passes it on as such (utils/misc/guc.c).
void append_change(std::string& out, std::size_t start, std::string_view name, const std::string* value) {
  out += out.size() == start ? "SELECT " : ",";
  out += "pg_catalog.set_config(";
  append_literal(out, name);
  out += ',';
  if (value != nullptr) {
    append_literal(out, *value);
  } else {
    out += "NULL";
  }
  out += ",false) IS NULL";  // the value itself might not exist in client_encoding
}

// Calls change(name, value or null) for each that differs, in the order of names.
template <typename Change>
void each_change(std::span<const Parameter> from, std::span<const Parameter> to, Change&& change) {
  auto old = from.begin();
  auto wanted = to.begin();
  while (old != from.end() || wanted != to.end()) {
    if (wanted == to.end() || (old != from.end() && old->name < wanted->name)) {
      change(old->name, nullptr);
      ++old;
    } else if (old == from.end() || wanted->name < old->name) {
      change(wanted->name, &wanted->value);
      ++wanted;
    } else {
      if (old->value != wanted->value) change(wanted->name, &wanted->value);
      ++old;
      ++wanted;
    }
  }
}

}  // namespace

void SettingsRef::reset() {
  Settings* settings = std::exchange(settings_, nullptr);
  if (settings != nullptr && --settings->references_ == 0) settings->table_->free(settings);
}

bool decides_meaning(std::string_view name) {
  constexpr auto others = std::to_array<std::string_view>(
      {"application_name", "client_connection_check_interval", "client_min_messages",
       "default_transaction_deferrable", "default_transaction_isolation", "default_transaction_read_only",
       "idle_in_transaction_session_timeout", "idle_session_timeout", "lock_timeout",
       "log_min_duration_statement", "log_statement", "maintenance_work_mem", "statement_timeout", "synchronous_commit",
       "temp_buffers", "transaction_deferrable", "transaction_isolation", "transaction_read_only", "work_mem"});
  // A name with a dot belongs to an application or an extension.
  return name.find('.') == std::string_view::npos && !std::ranges::binary_search(others, name);
}

const std::string* Settings::find(std::string_view name) const {
  const std::string wanted = lower(name);
  const auto at = std::ranges::lower_bound(parameters_, wanted, {}, &Parameter::name);
  return at != parameters_.end() && at->name == wanted ? &at->value : nullptr;
}

SettingsTable::~SettingsTable() {
  assert(settings_.empty());
}

SettingsRef SettingsTable::intern(std::vector<Parameter> parameters) {
  if (parameters.empty()) return {};
  std::map<std::string, std::string> sorted;
  for (Parameter& parameter : parameters) sorted[lower(parameter.name)] = std::move(parameter.value);
  parameters.clear();
  for (auto& [name, value] : sorted) parameters.push_back({name, std::move(value)});
  std::uint64_t hash = 0;
  for (const Parameter& parameter : parameters) {
    hash = hash * 31 + std::hash<std::string>{}(parameter.name);
    hash = hash * 31 + std::hash<std::string>{}(parameter.value);
  }
  const auto [first, last] = settings_.equal_range(hash);
  for (auto at = first; at != last; ++at) {
    if (at->second->parameters_ == parameters) return SettingsRef(at->second);
  }
  auto* settings = new Settings();
  settings->table_ = this;
  settings->parameters_ = std::move(parameters);
  settings->hash_ = hash;
  settings->serial_ = ++serial_;
  settings_.emplace(hash, settings);
  return SettingsRef(settings);
}

Result<SettingsRef> SettingsTable::from_startup(const StartupMessage& message) {
  auto parameters = parse_options(message.options);
  if (!parameters) return std::unexpected(std::move(parameters.error()));
  parameters->insert(parameters->end(), message.parameters.begin(), message.parameters.end());
  return intern(std::move(*parameters));
}

void SettingsTable::free(Settings* settings) {
  const auto [first, last] = settings_.equal_range(settings->hash_);
  settings_.erase(std::find_if(first, last, [settings](const auto& entry) { return entry.second == settings; }));
  delete settings;
}

void change_settings(const SettingsRef& from, const SettingsRef& to, std::string& out) {
  if (from == to) return;
  const std::size_t start = out.size();
  // A target list is evaluated from left to right.
  enum class Step : std::uint8_t { reset_role, reset, set, set_role };
  for (const Step step : {Step::reset_role, Step::reset, Step::set, Step::set_role}) {
    each_change(from.parameters(), to.parameters(), [&](std::string_view name, const std::string* value) {
      const Step due = value == nullptr ? (is_role(name) ? Step::reset_role : Step::reset)
                                        : (is_role(name) ? Step::set_role : Step::set);
      if (due == step) append_change(out, start, name, value);
    });
  }
}

std::string change_settings(const SettingsRef& from, const SettingsRef& to) {
  std::string sql;
  change_settings(from, to, sql);
  return sql;
}

std::string restore_settings(const SettingsRef& settings, std::string_view name) {
  std::string sql;
  const std::string reset = lower(name);
  if (reset == sql::everything) {
    change_settings({}, settings, sql);
  } else if (reset == "all" || reset == "session_authorization") {
    // RESET ALL keeps the role (GUC_NO_RESET_ALL); with the authorization it goes.
    const bool roles = reset != "all";
    for (const auto& parameter : settings.parameters())
      if (is_role(parameter.name) == roles) append_change(sql, 0, parameter.name, &parameter.value);
  } else if (const std::string* value = settings.find(name); value != nullptr) {
    append_change(sql, 0, reset, value);
  }
  return sql;
}

// Names without a schema, operators among them, are whatever the client's search_path makes of them: there are none.
std::string restore_if_reset(const SettingsRef& settings, Roles roles) {
  std::string rows;
  for (const auto& parameter : settings.parameters()) {
    const bool role = is_role(parameter.name);
    if (role && roles == Roles::keep) continue;
    rows += rows.empty() ? "(" : ",(";
    append_literal(rows, parameter.name);
    rows += ',';
    append_literal(rows, parameter.value);
    rows += role ? ",'none')" : ",'')";
  }
  if (rows.empty()) return {};
  // The collation: another one's lower('I') may be no i.
  return "SELECT pg_catalog.set_config(w.n,w.v,false) IS NULL FROM (VALUES " + rows +
         ") AS w(n,v,r) LEFT JOIN pg_catalog.pg_settings s"
         " ON pg_catalog.lower(s.name COLLATE pg_catalog.\"C\") OPERATOR(pg_catalog.=) w.n"
         " WHERE CASE WHEN s.name IS NULL THEN COALESCE(pg_catalog.current_setting(w.n,true),w.r) OPERATOR(pg_catalog.=) w.r"
         " ELSE s.source OPERATOR(pg_catalog.<>) 'session' END";
}

bool is_true(std::string_view value) {
  const std::string text = lower(value);
  // "o" could be on or off.
  return text == "1" || text == "on" ||
         (!text.empty() && (std::string_view("true").starts_with(text) || std::string_view("yes").starts_with(text)));
}

std::string quote_literal(std::string_view value) {
  std::string literal;
  append_literal(literal, value);
  return literal;
}

}  // namespace holdfast::protocol
