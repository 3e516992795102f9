// A plain client of PostgreSQL for tests: libpq, blocking, errors as exceptions.
#pragma once

#include <libpq-fe.h>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace holdfast::testing {

// What the server (or libpq: then `sqlstate` is empty) answered instead of a result.
class SqlError : public std::runtime_error {
 public:
  SqlError(std::string state, const std::string& message) : std::runtime_error(message), sqlstate_(std::move(state)) {}
  [[nodiscard]] const std::string& sqlstate() const { return sqlstate_; }

 private:
  std::string sqlstate_;
};

using Value = std::optional<std::string>;  // nothing is NULL
using Row = std::vector<Value>;
using Rows = std::vector<Row>;

// One connection, used by one thread. Connecting is bounded by 10 s unless the conninfo says otherwise.
class Connection {
 public:
  explicit Connection(const std::string& conninfo);  // throws SqlError
  // A connection, or nothing when the server can't be reached or refuses.
  static std::optional<Connection> attempt(const std::string& conninfo);

  // The simple protocol; any number of statements; returns the rows of the last one. A COPY is begun, no more.
  Rows rows(const std::string& sql);
  // The extended protocol with text parameters and the unnamed statement.
  Rows rows(const std::string& sql, const std::vector<Value>& parameters);
  void exec(const std::string& sql) { static_cast<void>(rows(sql)); }
  // The first column of the only row; throws SqlError when there isn't exactly one row or it is NULL.
  std::string scalar(const std::string& sql);
  std::string scalar(const std::string& sql, const std::vector<Value>& parameters);

  // For answers that may never come: ask() sends by the simple protocol and returns at once. answered(): all of the
  // answer, or the connection's end, is here within `bound`. answer() returns the rows of the last statement; it throws
  // SqlError, with an empty SQLSTATE when nothing came within `bound`.
  void ask(const std::string& sql);
  [[nodiscard]] bool answered(std::chrono::milliseconds bound);
  Rows answer(std::chrono::milliseconds bound = std::chrono::seconds(10));

  [[nodiscard]] bool alive() const { return PQstatus(raw()) == CONNECTION_OK; }
  [[nodiscard]] int backend_pid() const { return PQbackendPID(raw()); }
  [[nodiscard]] std::string parameter(const std::string& name) const;  // ParameterStatus; empty when unknown
  [[nodiscard]] const std::vector<std::string>& notices() const { return *notices_; }  // since the connect
  [[nodiscard]] PGconn* raw() const { return connection_.get(); }  // for COPY, pipelines, notifications

 private:
  struct Finish {
    void operator()(PGconn* connection) const { PQfinish(connection); }
  };
  Connection() = default;
  void open(const std::string& conninfo);
  Rows results();

  std::unique_ptr<std::vector<std::string>> notices_ = std::make_unique<std::vector<std::string>>();
  std::unique_ptr<PGconn, Finish> connection_;
};

// Throws SqlError unless the result is a success; then returns its rows in text.
Rows checked_rows(PGresult* result, PGconn* connection);

}  // namespace holdfast::testing
