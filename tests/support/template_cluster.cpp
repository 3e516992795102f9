// TemplateCluster: initdb and the test roles, once per user and content.
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "tests/support/files.hpp"
#include "tests/support/postgres.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

// Run in single-user mode: one statement a line, in template1 so that every database has the grants. Roles as an
// operator would make them: `holdfast` may watch, promote, freeze and re-point, and is no superuser.
constexpr std::string_view roles = R"(
CREATE ROLE app LOGIN PASSWORD 'app-secret'
CREATE ROLE app2 LOGIN PASSWORD 'app-secret'
SET password_encryption = 'md5'
CREATE ROLE app_md5 LOGIN PASSWORD 'app-secret'
RESET password_encryption
CREATE ROLE holdfast LOGIN REPLICATION PASSWORD 'holdfast-secret'
GRANT pg_monitor, pg_signal_backend, pg_checkpoint TO holdfast
GRANT ALTER SYSTEM ON PARAMETER primary_conninfo, primary_slot_name, wal_receiver_timeout, synchronous_standby_names, default_transaction_read_only TO holdfast
)";
constexpr std::string_view function_grants = R"(
GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer), pg_wal_replay_resume(), pg_wal_replay_pause(), pg_reload_conf() TO holdfast
)";
constexpr std::string_view databases = R"(
CREATE DATABASE app OWNER app
GRANT CREATE ON DATABASE app TO app2, app_md5
)";

std::uint64_t fnv1a(std::string_view text) {
  std::uint64_t hash = 14695981039346656037ULL;
  for (const char byte : text) hash = (hash ^ static_cast<unsigned char>(byte)) * 1099511628211ULL;
  return hash;
}

void single_user(const std::filesystem::path& folder, const std::string& database, std::string_view sql) {
  const auto script = folder / "script.sql";
  // Single-user mode takes a line as a statement; the leading line break would be an empty one.
  write_file(script, std::string(sql.substr(1)));
  const auto output = run_checked({.program = postgres_program("postgres"),
                                   .arguments = {"--single", "-D", (folder / "data").string(), database},
                                   .input = script,
                                   .as_postgres = true});
  // It ends with 0 whatever the statements did.
  if (output.find("ERROR:") != std::string::npos) throw std::runtime_error("preparing the template failed:\n" + output);
}

void make(const std::filesystem::path& target) {
  const TempDir folder("holdfast-template-");
  const auto data = folder.path() / "data";
  run_checked(
      {.program = postgres_program("initdb"),
       .arguments = {"-N", "-D", data.string(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"},
       .as_postgres = true});
  single_user(folder.path(), "template1", roles);
  single_user(folder.path(), "template1", function_grants);
  single_user(folder.path(), "postgres", function_grants);
  single_user(folder.path(), "postgres", databases);
  write_file(data / "postgresql.conf", "include 'test.conf'\n");
  // Copy beside the target and rename: another program sees the whole template or none.
  const auto partial = target.string() + ".partial";
  std::filesystem::remove_all(partial);
  run_checked({.program = "cp", .arguments = {"-a", data.string(), partial}});
  std::filesystem::rename(partial, target);
}

}  // namespace

std::string postgres_program(const std::string& name) {
  const char* configured = std::getenv("HOLDFAST_POSTGRES_BIN");
  return std::string(configured != nullptr ? configured : "/usr/lib/postgresql/15/bin") + "/" + name;
}

TemplateCluster TemplateCluster::prepare(const std::string& identity) {
  const auto version = run_checked({.program = postgres_program("postgres"), .arguments = {"--version"}});
  const auto content = version + std::string(roles) + std::string(function_grants) + std::string(databases);
  const auto path = shared_test_folder() / ("template-" + identity + "-" + std::to_string(fnv1a(content)));
  const FileLock lock(shared_test_folder() / ("template-" + identity + ".lock"));
  if (!std::filesystem::exists(path)) make(path);
  return TemplateCluster(path);
}

void TemplateCluster::copy_to(const std::filesystem::path& data_directory) const {
  run_checked({.program = "cp",
               .arguments = {"-a", "--reflink=auto", path_.string(), data_directory.string()},
               .as_postgres = true});
}

}  // namespace holdfast::testing
