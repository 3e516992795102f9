// What one probe of a member gave: a grade, and what the member said of itself when it answered.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "health/freshness.hpp"

namespace holdfast::health {

// How far a probe came. Each value names the layer that stopped it, because they mean different things: a refused
// connect is final, a silent one may be a lost packet, and "too many connections" says that the member is alive.
enum class Grade : std::uint8_t {
  ok,               // answered
  dns,              // its name gives no address, and never gave one
  refused,          // ECONNREFUSED, or no Unix socket there: nothing listens
  unreachable,      // any other failure of the connect itself: ENETUNREACH, EHOSTUNREACH, ECONNRESET…
  connect_timeout,  // no connection, or no login, in time
  tls,              // TLS could not be agreed on
  auth,             // 28xxx, 3D000, 42501 at login: alive, but it refuses the monitor's role
  starting,         // 57P03: starting, recovering, shutting down, or a standby without hot_standby
  too_many,         // 53300: alive, all slots in use
  connection_lost,  // the connection broke while it was in use
  query_timeout,    // connected, but no answer in time
  query_failed,     // the probe's query gave an error: alive, but not understood
  own_shortage,     // this process lacks descriptors, memory or ports: says nothing about the member
};
inline constexpr std::size_t grade_count = 13;
[[nodiscard]] const char* name_of(Grade grade);
// Something on the member's host has answered, if only by refusing: it isn't out of reach.
[[nodiscard]] bool is_answer(Grade grade);

// The states of a WAL receiver (WalRcvGetStateString, src/backend/replication/walreceiver.c); `other`: hidden, or new.
enum class ReceiverStatus : std::uint8_t { other, stopped, starting, streaming, waiting, restarting, stopping };

// pg_stat_wal_receiver of a standby (manual, 28.2.5). Its columns need pg_monitor; without that only its existence
// shows.
struct Receiver {
  bool visible = false;  // the columns below could be read
  ReceiverStatus status = ReceiverStatus::other;
  std::string sender_host;
  std::uint16_t sender_port = 0;
  std::uint32_t timeline = 0;                        // received_tli
  std::optional<std::chrono::milliseconds> silence;  // since the sender's last message, by the standby's own clock
};

// A walsender of a primary's physical replication (pg_stat_replication, manual, 28.2.4). Its columns need pg_monitor.
struct Sender {
  std::int32_t process = 0;
  std::string address;       // client_addr; empty: a Unix socket
  std::int64_t replied = 0;  // reply_time, by the standby's clock: for comparison with itself
  std::uint64_t flushed = 0;
  friend bool operator==(const Sender&, const Sender&) = default;
};

struct Observation {
  bool in_recovery = false;
  bool read_only = false;  // default_transaction_read_only is on: a primary that takes no writes
  std::uint64_t system_identifier = 0;
  // A primary's own timeline. Of a standby: the highest that its receiver or its control file proves it has reached;
  // it may be further, never less far.
  std::uint32_t timeline = 0;
  std::optional<std::uint64_t> lsn;  // primary: insert position; standby: replayed up to (none: nothing replayed yet)
  std::optional<std::uint64_t> received;  // standby: received and flushed up to
  std::optional<Receiver> receiver;       // standby: none when no receiver runs
  std::vector<Sender> senders;            // primary: of standbys that stream or catch up
  std::int64_t started = 0;               // postmaster's start, microseconds since 1970, by the member's clock
  std::uint64_t segment_size = 16U << 20;
  std::uint32_t block_size = 8192;  // of WAL
  int server_version = 0;           // 150004
};

// What a light probe reads: role and position only.
struct Position {
  bool in_recovery = false;
  std::optional<std::uint64_t> lsn;
};

struct ProbeResult {
  Grade grade = Grade::ok;
  std::string detail;                      // for people; empty when ok
  std::optional<Observation> observation;  // of a full probe that is ok
  std::optional<Position> position;        // of every probe that is ok
  TimePoint sent{};                        // when the query was sent: positions are at least as new
  TimePoint received{};
  bool reconnected = false;  // this probe had to open a connection
};

}  // namespace holdfast::health
