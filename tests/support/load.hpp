// Clients that write and read without pause, and remember what they were told: the judge of every failover test and of
// the demo. Each write has an id of its own; whether an acknowledged one is still there, and none is there twice, can
// be asked of the servers afterwards.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/connection.hpp"

namespace holdfast::testing {

using LoadClock = std::chrono::steady_clock;

// From the last success before something to the first one after it, whoever had them.
struct Gap {
  std::chrono::microseconds length{0};
  LoadClock::time_point from;
  LoadClock::time_point to;
};

struct LoadOptions {
  std::string conninfo;
  int writers = 8;                // autocommit INSERTs
  int readers = 4;                // SELECTs
  int transactions = 0;           // BEGIN, two INSERTs, COMMIT; a failed one is rolled back on the same connection
  int idle = 0;                   // connections that do nothing in between
  std::uint64_t writes_each = 0;  // a writer ends after so many; 0: with stop()
};

struct LoadReport {
  std::vector<std::int64_t> acknowledged;  // ids
  std::vector<std::int64_t> unknown;       // ids whose outcome nobody could tell (08007)
  std::uint64_t reads = 0;
  std::uint64_t wrong_reads = 0;           // a reader saw fewer rows than it had seen before
  std::uint64_t transactions = 0;          // committed
  std::uint64_t unknown_transactions = 0;  // whose COMMIT nobody could tell the outcome of: two ids each in `unknown`
  std::map<std::string, std::uint64_t> errors;  // by SQLSTATE
  std::uint64_t disconnects = 0;                // connections that ended without being asked to
  std::uint64_t idle_broken = 0;                // idle ones that did not answer afterwards
  Gap longest_write_gap;
  Gap longest_read_gap;
  std::chrono::microseconds slowest_write{0};  // of one client
};

class Load {
 public:
  // Makes the table (as that user) and connects everybody; throws if that fails.
  explicit Load(LoadOptions options);
  ~Load();
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  void start();
  // Until every writer has ended (with writes_each).
  void wait_for_writers();
  void stop();  // and asks the idle ones whether they are well
  [[nodiscard]] std::uint64_t acknowledged() const { return acknowledged_.load(); }
  [[nodiscard]] std::uint64_t reads() const { return reads_.load(); }
  // After stop().
  [[nodiscard]] const LoadReport& report() const { return report_; }

 private:
  struct Client;
  void write(Client& client);
  void read(Client& client);
  void transact(Client& client);
  // Notes an error; false: the connection is gone.
  bool failed(Client& client, const SqlError& error);

  LoadOptions options_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<std::thread> threads_;
  std::atomic<bool> stopping_{false};
  std::atomic<std::uint64_t> acknowledged_{0};
  std::atomic<std::uint64_t> reads_{0};
  LoadReport report_;
};

// What the servers say about it: asked of the primary, directly.
struct LoadCheck {
  std::uint64_t rows = 0;
  std::uint64_t missing = 0;  // acknowledged and not there
  std::uint64_t twice = 0;    // ids that are there more than once
};
[[nodiscard]] LoadCheck check_load(Connection& primary, const LoadReport& report);

}  // namespace holdfast::testing
