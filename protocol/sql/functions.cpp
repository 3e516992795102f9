#include "protocol/sql/functions.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <utility>

#include "protocol/sql/builtin_names.hpp"

namespace holdfast::protocol::sql {
namespace {

static_assert(std::ranges::is_sorted(builtin_functions));
static_assert(std::ranges::is_sorted(builtin_types));

constexpr FunctionFacts write{.kind = FunctionClass::write};
constexpr FunctionFacts role{.kind = FunctionClass::primary_only, .effects = Effect::role_question};
constexpr FunctionFacts asks{.kind = FunctionClass::primary_only, .effects = Effect::role_question | Effect::asks_setting};
constexpr FunctionFacts node{.kind = FunctionClass::node_local};
constexpr FunctionFacts text{.kind = FunctionClass::runs_text, .effects = Effect::unknown_function};
constexpr FunctionFacts lock{.kind = FunctionClass::write, .effects = Effect::advisory_lock};
constexpr FunctionFacts unlock{.kind = FunctionClass::write, .effects = Effect::discard};
constexpr FunctionFacts sequence{.kind = FunctionClass::write, .effects = Effect::sequence};
constexpr FunctionFacts setting{.kind = FunctionClass::write, .effects = Effect::set | Effect::custom_setting};
// Leaves state in the server process that nothing resets: the server is closed afterwards.
constexpr FunctionFacts process{.kind = FunctionClass::write, .effects = Effect::load};

struct Entry {
  std::string_view name;
  FunctionFacts facts;
};

// Every built-in function that isn't safe, compiled by hand from the manual's chapter 9 and the sources of version 15
// (PreventCommandDuringRecovery, RecoveryInProgress, static variables in the function's file).
constexpr auto table = std::to_array<Entry>({
    {"brin_desummarize_range", write},
    {"brin_summarize_new_values", write},
    {"brin_summarize_range", write},
    {"current_setting", asks},  // transaction_read_only, in_hot_standby: the name is a literal, not part of the shape
    {"currval", sequence},
    {"cursor_to_xml", text},
    {"cursor_to_xmlschema", text},
    {"gin_clean_pending_list", write},
    {"inet_client_addr", node},
    {"inet_client_port", node},
    {"inet_server_addr", role},
    {"inet_server_port", role},
    {"lastval", sequence},
    {"lo_close", write},
    {"lo_creat", write},
    {"lo_create", write},
    {"lo_export", write},
    {"lo_from_bytea", write},
    {"lo_get",
     write},  // opens for reading only, but shares its file with those that write: large objects stay on the primary
    {"lo_import", write},
    {"lo_lseek", write},
    {"lo_lseek64", write},
    {"lo_open", write},
    {"lo_put", write},
    {"lo_tell", write},
    {"lo_tell64", write},
    {"lo_truncate", write},
    {"lo_truncate64", write},
    {"lo_unlink", write},
    {"loread", write},
    {"lowrite", write},
    {"nextval", write},
    {"pg_advisory_lock", lock},
    {"pg_advisory_lock_shared", lock},
    {"pg_advisory_unlock", unlock},
    {"pg_advisory_unlock_all", unlock},
    {"pg_advisory_unlock_shared", unlock},
    {"pg_advisory_xact_lock", write},
    {"pg_advisory_xact_lock_shared", write},
    {"pg_available_extension_versions", node},
    {"pg_available_extensions", node},
    {"pg_backend_pid", node},
    {"pg_backup_start", process},  // the backup ends with the session
    {"pg_backup_stop", write},
    {"pg_blocking_pids", role},
    {"pg_cancel_backend", write},
    {"pg_collation_actual_version", node},
    {"pg_conf_load_time", node},
    {"pg_config", node},
    {"pg_control_checkpoint", role},
    {"pg_control_init", role},
    {"pg_control_recovery", role},
    {"pg_control_system", role},
    {"pg_copy_logical_replication_slot", write},
    {"pg_copy_physical_replication_slot", write},
    {"pg_create_logical_replication_slot", write},
    {"pg_create_physical_replication_slot", write},
    {"pg_create_restore_point", write},
    {"pg_current_logfile", node},
    {"pg_current_snapshot", role},
    {"pg_current_wal_flush_lsn", role},
    {"pg_current_wal_insert_lsn", role},
    {"pg_current_wal_lsn", role},
    {"pg_current_xact_id", write},
    {"pg_current_xact_id_if_assigned", role},
    {"pg_cursor", node},
    {"pg_database_collation_actual_version", node},
    {"pg_database_size", node},
    {"pg_drop_replication_slot", write},
    {"pg_export_snapshot", write},
    {"pg_extension_config_dump", write},
    {"pg_get_backend_memory_contexts", node},
    {"pg_get_multixact_members", role},
    {"pg_get_replication_slots", role},
    {"pg_get_shmem_allocations", node},
    {"pg_get_wal_replay_pause_state", role},
    {"pg_hba_file_rules", node},
    {"pg_ident_file_mappings", node},
    {"pg_import_system_collations", write},
    {"pg_is_in_recovery", role},
    {"pg_is_wal_replay_paused", role},
    {"pg_isolation_test_session_is_blocked", role},
    {"pg_jit_available", node},
    {"pg_last_committed_xact", role},
    {"pg_last_wal_receive_lsn", role},
    {"pg_last_wal_replay_lsn", role},
    {"pg_last_xact_replay_timestamp", role},
    {"pg_listening_channels", node},
    {"pg_lock_status", role},
    {"pg_log_backend_memory_contexts", write},
    {"pg_logical_emit_message", write},
    {"pg_logical_slot_get_binary_changes", write},
    {"pg_logical_slot_get_changes", write},
    {"pg_logical_slot_peek_binary_changes", write},
    {"pg_logical_slot_peek_changes", write},
    {"pg_ls_archive_statusdir", node},
    {"pg_ls_dir", node},
    {"pg_ls_logdir", node},
    {"pg_ls_logicalmapdir", node},
    {"pg_ls_logicalsnapdir", node},
    {"pg_ls_replslotdir", node},
    {"pg_ls_tmpdir", node},
    {"pg_ls_waldir", node},
    {"pg_my_temp_schema", node},
    {"pg_nextoid", write},
    {"pg_notification_queue_usage", role},
    {"pg_notify", write},
    {"pg_postmaster_start_time", node},
    {"pg_prepared_statement", node},
    {"pg_prepared_xact", role},
    {"pg_promote", write},
    {"pg_read_binary_file", node},
    {"pg_read_file", node},
    {"pg_read_file_old", node},
    {"pg_reload_conf", write},
    {"pg_replication_origin_advance", write},
    {"pg_replication_origin_create", write},
    {"pg_replication_origin_drop", write},
    {"pg_replication_origin_oid", role},
    {"pg_replication_origin_progress", role},
    {"pg_replication_origin_session_is_setup", node},
    {"pg_replication_origin_session_progress", node},
    {"pg_replication_origin_session_reset", process},
    {"pg_replication_origin_session_setup", process},
    {"pg_replication_origin_xact_reset", process},
    {"pg_replication_origin_xact_setup", process},
    {"pg_replication_slot_advance", write},
    {"pg_rotate_logfile", write},
    {"pg_rotate_logfile_old", write},
    {"pg_safe_snapshot_blocking_pids", role},
    {"pg_sequence_last_value", role},  // a standby is ahead by the values logged in advance (SEQ_LOG_VALS)
    {"pg_settings_get_flags", role},
    {"pg_show_all_file_settings", node},
    {"pg_show_all_settings", role},
    {"pg_show_replication_origin_status", role},
    {"pg_stat_file", node},
    {"pg_stop_making_pinned_objects", write},
    {"pg_switch_wal", write},
    {"pg_tablespace_databases", node},
    {"pg_tablespace_location", node},
    {"pg_tablespace_size", node},
    {"pg_terminate_backend", write},
    {"pg_try_advisory_lock", lock},
    {"pg_try_advisory_lock_shared", lock},
    {"pg_try_advisory_xact_lock", write},
    {"pg_try_advisory_xact_lock_shared", write},
    {"pg_wal_replay_pause", write},
    {"pg_wal_replay_resume", write},
    {"pg_walfile_name", write},  // refused in recovery
    {"pg_walfile_name_offset", write},
    {"pg_xact_commit_timestamp", role},
    {"pg_xact_commit_timestamp_origin", role},
    {"pg_xact_status", role},
    {"query_to_xml", text},
    {"query_to_xml_and_xmlschema", text},
    {"query_to_xmlschema", text},
    {"set_config", setting},  // analyze.cpp treats it as safe if its third argument is TRUE
    {"setseed", process},
    {"setval", write},
    {"ts_rewrite", text},
    {"ts_stat", text},
    {"txid_current", write},
    {"txid_current_if_assigned", role},
    {"txid_current_snapshot", role},
    {"txid_status", role},
    {"version", node},
});
static_assert(std::ranges::is_sorted(table, {}, &Entry::name));

constexpr auto server_relations = std::to_array<std::string_view>({
    "pg_available_extension_versions",
    "pg_available_extensions",
    "pg_backend_memory_contexts",
    "pg_config",
    "pg_cursors",
    "pg_file_settings",
    "pg_hba_file_rules",
    "pg_ident_file_mappings",
    "pg_locks",
    "pg_prepared_statements",
    "pg_prepared_xacts",
    "pg_replication_origin_status",
    "pg_replication_slots",
    "pg_sequences",
    "pg_settings",
    "pg_shmem_allocations",
});
static_assert(std::ranges::is_sorted(server_relations));

// Takes one word of "schema.name", folded if unquoted; false if there is no valid word.
bool take_word(std::string_view& from, std::string& word) {
  word.clear();
  if (from.empty()) return false;
  if (from.front() != '"') {
    while (!from.empty() && from.front() != '.') {
      word += static_cast<char>(std::tolower(static_cast<unsigned char>(from.front())));
      from.remove_prefix(1);
    }
    return !word.empty();
  }
  for (from.remove_prefix(1); !from.empty(); from.remove_prefix(1)) {
    if (from.front() == '"') {
      from.remove_prefix(1);
      if (!from.starts_with('"')) return !word.empty();
    }
    word += from.front();
  }
  return false;
}

}  // namespace

FunctionFacts find_builtin_function(std::string_view name) {
  auto found = std::ranges::lower_bound(table, name, {}, &Entry::name);
  if (found != table.end() && found->name == name) return found->facts;
  if (!std::ranges::binary_search(builtin_functions, name)) return {};
  if (name.starts_with("pg_stat_reset")) return write;
  if (name.starts_with("pg_stat_")) return role;
  if (name.starts_with("binary_upgrade_")) return process;
  return {.kind = FunctionClass::safe};
}

bool is_builtin_type(std::string_view name) {
  return std::ranges::binary_search(builtin_types, name);
}

bool is_server_relation(std::string_view name) {
  return name.starts_with("pg_stat_") || name.starts_with("pg_statio_") ||
         std::ranges::binary_search(server_relations, name);
}

ReadFunctions::ReadFunctions(const std::vector<std::string>& names) {
  std::string first;
  std::string second;
  for (std::string_view rest : names) {
    if (!take_word(rest, first)) continue;
    if (rest.starts_with('.')) {
      rest.remove_prefix(1);
      if (!take_word(rest, second) || !rest.empty()) continue;
      names_.push_back(first + '\0' + second);
    } else if (rest.empty()) {
      names_.push_back(first);
    }
  }
  std::ranges::sort(names_);
}

bool ReadFunctions::contains(std::string_view schema, std::string_view name) const {
  if (names_.empty()) return false;
  if (std::ranges::binary_search(names_, name)) return true;
  if (schema.empty()) return false;
  std::string qualified{schema};
  qualified += '\0';
  qualified += name;
  return std::ranges::binary_search(names_, qualified);
}

}  // namespace holdfast::protocol::sql
