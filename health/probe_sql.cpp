#include "health/probe_sql.hpp"

#include <algorithm>
#include <charconv>

namespace holdfast::health {

// The role is read once, in a subquery that its volatile function keeps from being merged, so that a promotion between
// two columns can't mix them: functions of a primary are called only after the role said so, which is never taken back.
//
// The timeline (measured on PostgreSQL 15): a primary's is in the name of its WAL file; pg_control_checkpoint() shows
// the old one until the checkpoint after a promotion ends, seconds later. A standby has no function for it:
// pg_walfile_name() fails in recovery. Its receiver's received_tli is right at once, but hidden without pg_monitor and
// gone with the receiver; the control file's min_recovery_end_timeline and checkpoint timeline come later, never too
// high. The highest of the three is therefore a lower bound, and RoleJudge remembers the highest it has seen.
// The standbys of a primary come from the functions behind pg_stat_replication and pg_replication_slots: planning the
// views takes three times as long as the rest of the probe.
#define HOLDFAST_STATE_COLUMNS                                                                            \
  "SELECT s.r,"                                                                                           \
  " CASE WHEN s.r THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END,"                    \
  " CASE WHEN s.r THEN NULL ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END,"                     \
  " CASE WHEN s.r THEN (SELECT greatest(c.timeline_id, d.min_recovery_end_timeline)"                      \
  "   FROM pg_control_checkpoint() c, pg_control_recovery() d) END,"                                      \
  " CASE WHEN s.r THEN pg_last_wal_receive_lsn() END,"                                                    \
  " current_setting('default_transaction_read_only'),"                                                    \
  " CASE WHEN NOT s.r THEN (SELECT string_agg(concat_ws(' ', p.pid, coalesce(host(a.client_addr), '-'),"  \
  "   (extract(epoch FROM p.reply_time) * 1000000)::bigint, p.flush_lsn), ',')"                           \
  "   FROM pg_stat_get_wal_senders() p, pg_stat_get_activity(p.pid) a"                                    \
  "   WHERE p.state IN ('streaming', 'catchup') AND p.reply_time IS NOT NULL AND p.flush_lsn IS NOT NULL" \
  "   AND a.application_name NOT IN ('pg_receivewal', 'pg_basebackup') AND NOT EXISTS (SELECT"            \
  "     FROM pg_get_replication_slots() l WHERE l.slot_type = 'logical' AND l.active_pid = p.pid)) END,"  \
  " w.pid, w.status, w.sender_host, w.sender_port, w.received_tli,"                                       \
  " (extract(epoch FROM clock_timestamp() - w.last_msg_receipt_time) * 1000)::bigint"
#define HOLDFAST_STATE_FROM \
  " FROM (SELECT pg_is_in_recovery() AS r OFFSET 0) s LEFT JOIN pg_stat_wal_receiver w ON true"

const char* const state_sql = HOLDFAST_STATE_COLUMNS HOLDFAST_STATE_FROM;
const char* const state_and_constants_sql = HOLDFAST_STATE_COLUMNS
    ", y.system_identifier, i.bytes_per_wal_segment, i.wal_block_size,"
    " (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint" HOLDFAST_STATE_FROM
    " CROSS JOIN pg_control_system() y CROSS JOIN pg_control_init() i";
const char* const position_sql =
    "SELECT s.r, CASE WHEN s.r THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END"
    " FROM (SELECT pg_is_in_recovery() AS r OFFSET 0) s";

#undef HOLDFAST_STATE_COLUMNS
#undef HOLDFAST_STATE_FROM

namespace {

enum Column : std::size_t {
  in_recovery,
  lsn,
  own_timeline,
  control_timeline,
  received,
  read_only,
  senders,
  receiver_pid,
  receiver_status,
  sender_host,
  sender_port,
  received_timeline,
  receiver_silence,
  state_columns,
  system_identifier = state_columns,
  segment_size,
  block_size,
  started,
  all_columns,
};

template <typename Number>
std::optional<Number> parse(std::string_view text, int base = 10) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return number;
}

template <typename Number>
std::optional<Number> parse(const std::optional<std::string>& column, int base = 10) {
  if (!column) return std::nullopt;
  return parse<Number>(std::string_view(*column), base);
}

std::optional<std::uint64_t> parse_lsn(const std::optional<std::string>& column) {
  return column ? health::parse_lsn(std::string_view(*column)) : std::nullopt;
}

ReceiverStatus receiver_status_of(std::string_view text) {
  if (text == "stopped") return ReceiverStatus::stopped;
  if (text == "starting") return ReceiverStatus::starting;
  if (text == "streaming") return ReceiverStatus::streaming;
  if (text == "waiting") return ReceiverStatus::waiting;
  if (text == "restarting") return ReceiverStatus::restarting;
  if (text == "stopping") return ReceiverStatus::stopping;
  return ReceiverStatus::other;
}

std::optional<Receiver> read_receiver(const Row& row) {
  if (!row[receiver_pid]) return std::nullopt;
  Receiver receiver;
  receiver.visible = row[receiver_status].has_value();
  receiver.status = receiver_status_of(row[receiver_status].value_or(""));
  receiver.sender_host = row[sender_host].value_or("");
  receiver.sender_port = parse<std::uint16_t>(row[sender_port]).value_or(0);
  receiver.timeline = parse<std::uint32_t>(row[received_timeline]).value_or(0);
  if (const auto silence = parse<std::int64_t>(row[receiver_silence])) {
    receiver.silence = std::chrono::milliseconds(*silence);
  }
  return receiver;
}

// "4711 10.0.0.2 1700000000000000 0/3000060,4712 - …": one for each walsender. One that can't be read is left out.
std::vector<Sender> read_senders(std::string_view text) {
  std::vector<Sender> result;
  while (!text.empty()) {
    std::string_view entry = text.substr(0, text.find(','));
    text.remove_prefix(std::min(entry.size() + 1, text.size()));
    const auto next = [&entry] {
      const auto word = entry.substr(0, entry.find(' '));
      entry.remove_prefix(std::min(word.size() + 1, entry.size()));
      return word;
    };
    const auto process = parse<std::int32_t>(next());
    const auto address = next();
    const auto replied = parse<std::int64_t>(next());
    const auto flushed = health::parse_lsn(next());
    if (!process || !replied || !flushed) continue;
    result.push_back({.process = *process,
                      .address = address == "-" ? std::string() : std::string(address),
                      .replied = *replied,
                      .flushed = *flushed});
  }
  return result;
}

}  // namespace

std::optional<std::uint64_t> parse_lsn(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto high = parse<std::uint32_t>(text.substr(0, slash), 16);
  const auto low = parse<std::uint32_t>(text.substr(slash + 1), 16);
  if (!high || !low) return std::nullopt;
  return (std::uint64_t{*high} << 32U) | *low;
}

std::optional<ServerConstants> read_constants(const Row& row, int server_version) {
  if (row.size() != all_columns) return std::nullopt;
  // bigint in SQL, unsigned in the control file: the high bit may be set.
  const auto identifier = parse<std::int64_t>(row[system_identifier]);
  const auto segment = parse<std::uint64_t>(row[segment_size]);
  const auto block = parse<std::uint32_t>(row[block_size]);
  const auto start = parse<std::int64_t>(row[started]);
  if (!identifier || !segment || !block || !start) return std::nullopt;
  return ServerConstants{.system_identifier = static_cast<std::uint64_t>(*identifier),
                         .segment_size = *segment,
                         .block_size = *block,
                         .started = *start,
                         .server_version = server_version};
}

std::optional<Observation> read_state(const Row& row, const ServerConstants& constants) {
  if (row.size() < state_columns || !row[in_recovery] || !row[read_only]) return std::nullopt;
  Observation seen;
  seen.in_recovery = *row[in_recovery] == "t";
  seen.read_only = *row[read_only] == "on";
  seen.lsn = parse_lsn(row[lsn]);
  seen.system_identifier = constants.system_identifier;
  seen.started = constants.started;
  seen.segment_size = constants.segment_size;
  seen.block_size = constants.block_size;
  seen.server_version = constants.server_version;
  if (!seen.in_recovery) {
    const auto timeline = parse<std::uint32_t>(row[own_timeline], 16);
    if (!timeline || !seen.lsn) return std::nullopt;
    seen.timeline = *timeline;
    if (row[senders]) seen.senders = read_senders(*row[senders]);
    return seen;
  }
  seen.received = parse_lsn(row[received]);
  seen.receiver = read_receiver(row);
  seen.timeline =
      std::max(parse<std::uint32_t>(row[control_timeline]).value_or(0), seen.receiver ? seen.receiver->timeline : 0U);
  return seen;
}

std::optional<Position> read_position(const Row& row) {
  if (row.size() != 2 || !row[0]) return std::nullopt;
  return Position{.in_recovery = *row[0] == "t", .lsn = parse_lsn(row[1])};
}

}  // namespace holdfast::health
