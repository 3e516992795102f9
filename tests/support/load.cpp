#include "tests/support/load.hpp"

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace holdfast::testing {
namespace {

// Ids: the client's number in front, a running number behind. Transactions take pairs: 2n and 2n + 1.
constexpr std::int64_t per_client = 1'000'000'000;

Gap longest_gap(std::vector<LoadClock::time_point>& moments) {
  std::ranges::sort(moments);
  Gap gap;
  for (std::size_t i = 1; i < moments.size(); ++i) {
    const auto length = std::chrono::duration_cast<std::chrono::microseconds>(moments[i] - moments[i - 1]);
    if (length > gap.length) gap = {length, moments[i - 1], moments[i]};
  }
  return gap;
}

}  // namespace

struct Load::Client {
  enum class Kind { writer, reader, transactor, idle };

  Client(Kind what, std::int64_t which, const std::string& conninfo)
      : kind(what), number(which), connection(conninfo) {}

  Kind kind;
  std::int64_t number;
  Connection connection;
  std::vector<std::int64_t> acknowledged;
  std::vector<std::int64_t> unknown;
  std::vector<LoadClock::time_point> moments;
  std::map<std::string, std::uint64_t> errors;
  std::uint64_t reads = 0;
  std::uint64_t wrong_reads = 0;
  std::uint64_t committed = 0;
  std::uint64_t committed_or_not = 0;
  std::uint64_t disconnects = 0;
  std::chrono::microseconds slowest{0};
};

Load::Load(LoadOptions options) : options_(std::move(options)) {
  {
    Connection setup(options_.conninfo);
    setup.exec("DROP TABLE IF EXISTS load");
    setup.exec("CREATE TABLE load (id bigint, client int)");
  }
  const auto add = [this](Client::Kind kind, int count) {
    for (int i = 0; i < count; ++i) {
      const auto number = static_cast<std::int64_t>(clients_.size()) + 1;
      clients_.push_back(std::make_unique<Client>(kind, number, options_.conninfo));
    }
  };
  add(Client::Kind::writer, options_.writers);
  add(Client::Kind::reader, options_.readers);
  add(Client::Kind::transactor, options_.transactions);
  add(Client::Kind::idle, options_.idle);
}

Load::~Load() {
  stop();
}

void Load::start() {
  for (auto& client : clients_) {
    switch (client->kind) {
      case Client::Kind::writer: threads_.emplace_back([this, c = client.get()] { write(*c); }); break;
      case Client::Kind::reader: threads_.emplace_back([this, c = client.get()] { read(*c); }); break;
      case Client::Kind::transactor: threads_.emplace_back([this, c = client.get()] { transact(*c); }); break;
      case Client::Kind::idle: break;
    }
  }
}

bool Load::failed(Client& client, const SqlError& error) {
  ++client.errors[error.sqlstate().empty() ? "connection lost" : error.sqlstate()];
  if (client.connection.alive()) return true;
  ++client.disconnects;
  return false;
}

void Load::write(Client& client) {
  for (std::uint64_t n = 0; !stopping_ && (options_.writes_each == 0 || n < options_.writes_each); ++n) {
    const auto id = client.number * per_client + static_cast<std::int64_t>(n);
    const auto begun = LoadClock::now();
    try {
      client.connection.exec("INSERT INTO load VALUES (" + std::to_string(id) + ", " + std::to_string(client.number) +
                             ")");
      client.moments.push_back(LoadClock::now());
      client.acknowledged.push_back(id);
      client.slowest =
          std::max(client.slowest, std::chrono::duration_cast<std::chrono::microseconds>(LoadClock::now() - begun));
      ++acknowledged_;
    } catch (const SqlError& error) {
      if (error.sqlstate() == "08007" || error.sqlstate().empty()) client.unknown.push_back(id);
      if (!failed(client, error)) return;
    }
  }
}

void Load::read(Client& client) {
  std::uint64_t before = 0;
  while (!stopping_) {
    try {
      const auto rows =
          std::stoull(client.connection.scalar("SELECT count(*) FROM (SELECT 1 FROM load LIMIT 2000) AS part"));
      client.moments.push_back(LoadClock::now());
      if (rows < before) ++client.wrong_reads;
      before = rows;
      ++client.reads;
      ++reads_;
    } catch (const SqlError& error) {
      if (!failed(client, error)) return;
    }
  }
}

void Load::transact(Client& client) {
  for (std::int64_t n = 0; !stopping_; ++n) {
    const auto id = client.number * per_client + 2 * n;
    const auto insert = [&](std::int64_t which) {
      client.connection.exec("INSERT INTO load VALUES (" + std::to_string(which) + ", " +
                             std::to_string(client.number) + ")");
    };
    bool committing = false;
    try {
      client.connection.exec("BEGIN");
      insert(id);
      insert(id + 1);
      committing = true;
      client.connection.exec("COMMIT");
      client.moments.push_back(LoadClock::now());
      client.acknowledged.push_back(id);
      client.acknowledged.push_back(id + 1);
      ++client.committed;
    } catch (const SqlError& error) {
      if (committing && (error.sqlstate() == "08007" || error.sqlstate().empty())) {
        client.unknown.push_back(id);
        client.unknown.push_back(id + 1);
        ++client.committed_or_not;
      }
      if (!failed(client, error)) return;
      try {
        if (PQtransactionStatus(client.connection.raw()) != PQTRANS_IDLE) client.connection.exec("ROLLBACK");
      } catch (const SqlError& second) {
        if (!failed(client, second)) return;
      }
    }
  }
}

void Load::wait_for_writers() {
  for (std::size_t i = 0; i < static_cast<std::size_t>(options_.writers) && i < threads_.size(); ++i) {
    if (threads_[i].joinable()) threads_[i].join();
  }
}

void Load::stop() {
  if (stopping_.exchange(true)) return;
  for (auto& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
  std::vector<LoadClock::time_point> writes;
  std::vector<LoadClock::time_point> reads;
  for (auto& client : clients_) {
    if (client->kind == Client::Kind::idle) {
      try {
        static_cast<void>(client->connection.scalar("SELECT 1"));
      } catch (const SqlError&) {
        ++report_.idle_broken;
      }
      continue;
    }
    auto& moments = client->kind == Client::Kind::reader ? reads : writes;
    moments.insert(moments.end(), client->moments.begin(), client->moments.end());
    report_.acknowledged.insert(report_.acknowledged.end(), client->acknowledged.begin(), client->acknowledged.end());
    report_.unknown.insert(report_.unknown.end(), client->unknown.begin(), client->unknown.end());
    for (const auto& [state, count] : client->errors) report_.errors[state] += count;
    report_.reads += client->reads;
    report_.wrong_reads += client->wrong_reads;
    report_.transactions += client->committed;
    report_.unknown_transactions += client->committed_or_not;
    report_.disconnects += client->disconnects;
    report_.slowest_write = std::max(report_.slowest_write, client->slowest);
  }
  report_.longest_write_gap = longest_gap(writes);
  report_.longest_read_gap = longest_gap(reads);
}

LoadCheck check_load(Connection& primary, const LoadReport& report) {
  LoadCheck check;
  std::unordered_map<std::int64_t, int> present;
  for (const auto& row : primary.rows("SELECT id FROM load")) {
    ++check.rows;
    if (++present[std::stoll(*row.at(0))] == 2) ++check.twice;
  }
  for (const auto id : report.acknowledged) {
    if (!present.contains(id)) ++check.missing;
  }
  return check;
}

}  // namespace holdfast::testing
