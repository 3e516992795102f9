#include "tests/support/connection.hpp"

#include <poll.h>

#include <algorithm>
#include <utility>

namespace holdfast::testing {
namespace {

struct Clear {
  void operator()(PGresult* result) const { PQclear(result); }
};

void keep_notice(void* notices, const char* message) {
  static_cast<std::vector<std::string>*>(notices)->emplace_back(message);
}

std::string only_value(const Rows& rows, const std::string& sql) {
  if (rows.size() != 1 || rows.front().empty() || !rows.front().front())
    throw SqlError("", "expected one value, got " + std::to_string(rows.size()) + " rows or NULL: " + sql);
  return *rows.front().front();
}

bool begins_copy(const PGresult* result) {
  const auto status = PQresultStatus(result);
  return status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH;
}

}  // namespace

Rows checked_rows(PGresult* result, PGconn* connection) {
  const std::unique_ptr<PGresult, Clear> owned(result);
  if (!owned) throw SqlError("", PQerrorMessage(connection));
  const auto status = PQresultStatus(result);
  if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && status != PGRES_EMPTY_QUERY &&
      status != PGRES_SINGLE_TUPLE && status != PGRES_PIPELINE_SYNC && !begins_copy(result)) {
    const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    throw SqlError(state == nullptr ? "" : state, PQresultErrorMessage(result));
  }
  Rows rows;
  for (int row = 0; row < PQntuples(result); ++row) {
    Row values;
    for (int column = 0; column < PQnfields(result); ++column) {
      if (PQgetisnull(result, row, column) != 0)
        values.emplace_back(std::nullopt);
      else
        values.emplace_back(
            std::string(PQgetvalue(result, row, column), static_cast<std::size_t>(PQgetlength(result, row, column))));
    }
    rows.push_back(std::move(values));
  }
  return rows;
}

Connection::Connection(const std::string& conninfo) {
  open(conninfo);
  if (!alive()) throw SqlError("", PQerrorMessage(raw()));
}

std::optional<Connection> Connection::attempt(const std::string& conninfo) {
  Connection connection;
  connection.open(conninfo);
  if (!connection.alive()) return std::nullopt;
  return connection;
}

void Connection::open(const std::string& conninfo) {
  // The last of two equal keywords wins, so a bound of the caller's own replaces ours.
  connection_.reset(PQconnectdb(("connect_timeout=10 sslmode=prefer gssencmode=disable " + conninfo).c_str()));
  PQsetNoticeProcessor(raw(), keep_notice, notices_.get());
}

// PQexec would hand out the last result only: after a FATAL error that is libpq's own "server closed the connection",
// and the SQLSTATE is lost. Here the first error counts.
Rows Connection::results() {
  Rows rows;
  std::optional<SqlError> first_error;
  while (PGresult* result = PQgetResult(raw())) {
    const bool copies = begins_copy(result);
    try {
      rows = checked_rows(result, raw());
    } catch (const SqlError& error) {
      if (!first_error) first_error = error;
    }
    if (copies) break;  // the caller goes on with PQputCopyData or PQgetCopyData
  }
  if (first_error) throw *first_error;
  return rows;
}

Rows Connection::rows(const std::string& sql) {
  if (PQsendQuery(raw(), sql.c_str()) != 1) throw SqlError("", PQerrorMessage(raw()));
  return results();
}

Rows Connection::rows(const std::string& sql, const std::vector<Value>& parameters) {
  std::vector<const char*> values;
  for (const auto& parameter : parameters) values.push_back(parameter ? parameter->c_str() : nullptr);
  if (PQsendQueryParams(raw(), sql.c_str(), static_cast<int>(values.size()), nullptr, values.data(), nullptr, nullptr,
                        0) != 1)
    throw SqlError("", PQerrorMessage(raw()));
  return results();
}

std::string Connection::scalar(const std::string& sql) {
  return only_value(rows(sql), sql);
}

std::string Connection::scalar(const std::string& sql, const std::vector<Value>& parameters) {
  return only_value(rows(sql, parameters), sql);
}

void Connection::ask(const std::string& sql) {
  if (PQsendQuery(raw(), sql.c_str()) != 1) throw SqlError("", PQerrorMessage(raw()));
}

bool Connection::answered(std::chrono::milliseconds bound) {
  const auto deadline = std::chrono::steady_clock::now() + bound;
  while (PQisBusy(raw()) == 1) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd readable{.fd = PQsocket(raw()), .events = POLLIN, .revents = 0};
    if (::poll(&readable, 1, static_cast<int>(std::max<long>(left.count(), 0))) <= 0) return false;
    if (PQconsumeInput(raw()) != 1) return true;  // PQgetResult tells of the end
  }
  return true;
}

Rows Connection::answer(std::chrono::milliseconds bound) {
  const auto deadline = std::chrono::steady_clock::now() + bound;
  Rows rows;
  std::optional<SqlError> first_error;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (!answered(std::max(left, std::chrono::milliseconds(0)))) throw SqlError("", "no answer came within the bound");
    PGresult* result = PQgetResult(raw());
    if (result == nullptr) break;
    try {
      rows = checked_rows(result, raw());
    } catch (const SqlError& error) {
      if (!first_error) first_error = error;
    }
  }
  if (first_error) throw *first_error;
  return rows;
}

std::string Connection::parameter(const std::string& name) const {
  const char* value = PQparameterStatus(raw(), name.c_str());
  return value == nullptr ? "" : value;
}

}  // namespace holdfast::testing
