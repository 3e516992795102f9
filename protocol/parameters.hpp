// Session settings that clients ask for at start-up, and how a shared server gets them.
//
// Task: keeps what a start-up packet asks for as an immutable interned set (equality is pointer equality), and makes
// the SQL that takes a server from one set to another. Owner: SettingsTable, one per worker. Thread: the worker's;
// reference counts are not atomic.
//
// Servers log in without any session parameter, so on a server "no setting" and RESET mean its own default
// (postgresql.conf, ALTER ROLE, ALTER DATABASE). A client's settings are put on top by set_config() before its
// first message there, and taken off when the next client wants others.
//
// RESET must come back to what the client asked for at start. PostgreSQL keeps a start-up packet's value as reset_val
// (guc.c, PGC_S_CLIENT); a value given by set_config() is not kept there, so RESET x, RESET ALL and DISCARD ALL on such
// a server go to the server's default. So the conversation sends restore_settings() right behind the unit with the
// RESET, in the same write. A ROLLBACK undoes both together, since set_config(…, false) is transactional as RESET is.
// Two differences remain: statements behind the RESET within the same unit (Query string or batch), and
// pg_settings.reset_val. Clients without start-up settings, which are most, see no difference at all.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "protocol/error.hpp"
#include "protocol/startup.hpp"

namespace holdfast::protocol {

using Parameter = StartupParameter;

class SettingsTable;

// Names in lower case (ASCII, as guc_name_compare folds), sorted, each once. Immutable.
class Settings {
 public:
  Settings(const Settings&) = delete;
  Settings& operator=(const Settings&) = delete;
  [[nodiscard]] std::span<const Parameter> parameters() const { return parameters_; }
  // Null if it is not among them. `name` in upper or lower case.
  [[nodiscard]] const std::string* find(std::string_view name) const;

 private:
  friend class SettingsTable;
  friend class SettingsRef;
  Settings() = default;
  SettingsTable* table_ = nullptr;
  std::vector<Parameter> parameters_;
  std::uint64_t hash_ = 0;
  std::uint64_t serial_ = 0;
  std::uint32_t references_ = 0;
};

// Whether a setting may decide what a statement's text means: how names, literals and operators in it are read, and what
// its constants come to: '\x41'::bytea::text is computed when the statement is planned, by bytea_output, and the plan is
// kept with the statement. False only for those that certainly don't (time-outs, labels): the same text under others is
// another one.
// `name` in lower case.
[[nodiscard]] bool decides_meaning(std::string_view name);

// A boolean setting's value as PostgreSQL reads it: any case, any unambiguous prefix (parse_bool_with_len,
// src/backend/utils/adt/bool.c). False for what is no boolean: the server refuses it.
[[nodiscard]] bool is_true(std::string_view value);

// Keeps a Settings alive; the default one stands for "none". Compare with ==.
class SettingsRef {
 public:
  SettingsRef() = default;
  explicit SettingsRef(Settings* settings) : settings_(settings) { retain(); }
  SettingsRef(const SettingsRef& other) : settings_(other.settings_) { retain(); }
  SettingsRef(SettingsRef&& other) noexcept : settings_(std::exchange(other.settings_, nullptr)) {}
  SettingsRef& operator=(SettingsRef other) noexcept {
    std::swap(settings_, other.settings_);
    return *this;
  }
  ~SettingsRef() { reset(); }
  void reset();

  [[nodiscard]] bool empty() const { return settings_ == nullptr; }
  // Differs for all settings that a table has ever made, including those that are gone; 0: none.
  [[nodiscard]] std::uint64_t identity() const { return settings_ != nullptr ? settings_->serial_ : 0; }
  [[nodiscard]] std::span<const Parameter> parameters() const {
    return settings_ != nullptr ? settings_->parameters() : std::span<const Parameter>{};
  }
  [[nodiscard]] const std::string* find(std::string_view name) const {
    return settings_ != nullptr ? settings_->find(name) : nullptr;
  }
  friend bool operator==(const SettingsRef&, const SettingsRef&) = default;

 private:
  void retain() const {
    if (settings_ != nullptr) ++settings_->references_;
  }
  Settings* settings_ = nullptr;
};

class SettingsTable {
 public:
  SettingsTable() = default;
  SettingsTable(const SettingsTable&) = delete;
  SettingsTable& operator=(const SettingsTable&) = delete;
  ~SettingsTable();  // no reference may be left

  // Parameters in any order; the last of a name wins. The default SettingsRef if there are none.
  [[nodiscard]] SettingsRef intern(std::vector<Parameter> parameters);
  // What a start-up packet asks for: its parsed `options`, then its parameters, which win
  // (process_startup_options, utils/init/postinit.c). Fails as parse_options() does.
  [[nodiscard]] Result<SettingsRef> from_startup(const StartupMessage& message);

  [[nodiscard]] std::size_t size() const { return settings_.size(); }

 private:
  friend class SettingsRef;
  void free(Settings* settings);
  std::uint64_t serial_ = 0;
  std::unordered_multimap<std::uint64_t, Settings*> settings_;
};

// One statement that takes a server from `from` to `to`, empty if there's nothing to do:
//   SELECT pg_catalog.set_config('work_mem',NULL,false) IS NULL,pg_catalog.set_config('search_path','a, b',false) IS
//   NULL
// (IS NULL: a value may have no equivalent in client_encoding, so it must not come back).
// set_config takes a value as a start-up packet does (SET … TO 'a, b' would be one name in a list); NULL is RESET. The
// role is reset first and set last, since what may be set depends on it. Send the statement alone, as a simple Query,
// outside a transaction or at its start; swallow its answer. When it fails nothing has changed, and the error is for
// the client (22023 for a bad value, 42704 for an unknown name); at login, before anything follows AuthenticationOk.
[[nodiscard]] std::string change_settings(const SettingsRef& from, const SettingsRef& to);
// The same, appended to a buffer that the caller reuses: no allocation once it is large enough.
void change_settings(const SettingsRef& from, const SettingsRef& to, std::string& out);

// The statement that puts the client's start-up settings back after a RESET of `name` as sql::reset_setting() has it;
// empty if there's nothing to put back. In a failed transaction it fails, as the RESET does.
[[nodiscard]] std::string restore_settings(const SettingsRef& settings, std::string_view name);

// The same where it can't be known what has been reset, and what was set again since: puts back those that the session
// has not set itself, as pg_settings tells. Some aren't in that view: of an application's own those that are empty, and
// the role if there is none.
enum class Roles : std::uint8_t { keep, restore };
[[nodiscard]] std::string restore_if_reset(const SettingsRef& settings, Roles roles);

// A string literal that reads the same under any standard_conforming_strings and client_encoding: bytes above 127 are
// written as escapes, which the server takes in its own encoding, as it takes those of a start-up packet.
[[nodiscard]] std::string quote_literal(std::string_view value);

}  // namespace holdfast::protocol
