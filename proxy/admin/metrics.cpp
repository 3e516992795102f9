#include "proxy/admin/metrics.hpp"

#include <prometheus/client_metric.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <chrono>
#include <limits>
#include <utility>

#include "health/monitor.hpp"
#include "protocol/invariant.hpp"
#include "protocol/sql/verdict.hpp"

namespace holdfast::proxy {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

namespace {

class Families {
 public:
  using Labels = std::vector<std::pair<std::string, std::string>>;

  void begin(const char* name, const char* help, MetricType type) {
    families_.push_back({});
    families_.back().name = name;
    families_.back().help = help;
    families_.back().type = type;
  }
  void add(double value, const Labels& labels = {}) {
    ClientMetric metric;
    for (const auto& [key, text] : labels) metric.label.push_back({key, text});
    if (families_.back().type == MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
    families_.back().metric.push_back(std::move(metric));
  }
  // A sample of a family of type Summary: the count of observations and their sum.
  void add_sum(std::uint64_t count, double total, const Labels& labels) {
    ClientMetric metric;
    for (const auto& [key, text] : labels) metric.label.push_back({key, text});
    metric.summary.sample_count = count;
    metric.summary.sample_sum = total;
    families_.back().metric.push_back(std::move(metric));
  }
  // A sample of a family of type Histogram; `counts` has those of each bucket, as Durations::count().
  void add_durations(const std::array<std::uint64_t, Durations::bounds.size() + 1>& counts, std::uint64_t microseconds,
                     const Labels& labels = {}) {
    ClientMetric metric;
    for (const auto& [key, text] : labels) metric.label.push_back({key, text});
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      total += counts[i];
      const double bound = i < Durations::bounds.size() ? static_cast<double>(Durations::bounds[i]) / 1e6
                                                        : std::numeric_limits<double>::infinity();
      metric.histogram.bucket.push_back({.cumulative_count = total, .upper_bound = bound});
    }
    metric.histogram.sample_count = total;
    metric.histogram.sample_sum = static_cast<double>(microseconds) / 1e6;
    families_.back().metric.push_back(std::move(metric));
  }
  [[nodiscard]] std::string text() const { return prometheus::TextSerializer().Serialize(families_); }

 private:
  std::vector<MetricFamily> families_;
};

struct Simple {
  const char* name;
  const char* help;
  Counter Counters::*counter;
  MetricType type;
};

constexpr auto gauge = MetricType::Gauge;
constexpr auto counter = MetricType::Counter;
constexpr std::array simple{
    Simple{"holdfast_clients", "Clients connected, including those that are logging in.", &Counters::clients, gauge},
    Simple{"holdfast_clients_waiting", "Clients waiting for a server connection, whatever the reason.",
           &Counters::clients_waiting, gauge},
    Simple{"holdfast_clients_held", "Clients waiting for a primary (part of holdfast_clients_waiting).",
           &Counters::clients_held, gauge},
    Simple{"holdfast_clients_accepted_total", "Client connections accepted.", &Counters::clients_accepted, counter},
    Simple{"holdfast_logins_failed_total", "Logins that were refused or took too long.", &Counters::logins_failed,
           counter},
    Simple{"holdfast_clients_refused_total", "Clients refused with 53300 because a max_clients limit was reached.",
           &Counters::clients_refused, counter},
    Simple{"holdfast_units_total",
           "Simple queries, and extended-protocol batches up to their Sync, that were answered.", &Counters::units,
           counter},
    Simple{"holdfast_client_sent_bytes_total", "Bytes of server replies sent to clients.", &Counters::bytes_to_clients,
           counter},
    Simple{"holdfast_pools", "Pools, one per worker, cluster, database and user.", &Counters::pools, gauge},
    Simple{"holdfast_servers", "Server connections open now.", &Counters::servers, gauge},
    Simple{"holdfast_servers_opened_total", "Server connections opened.", &Counters::servers_opened, counter},
    Simple{"holdfast_server_connects_failed_total", "Server connections that could not be opened.",
           &Counters::servers_failed, counter},
    Simple{"holdfast_servers_closed_total", "Server connections closed.", &Counters::servers_closed, counter},
    Simple{"holdfast_servers_cleaned_total", "Server connections cleaned with DISCARD ALL before they were reused.",
           &Counters::servers_cleaned, counter},
    Simple{"holdfast_catalogue_audits_total",
           "Queries that looked for code in a database which may change a session unseen: triggers, defaults, views.",
           &Counters::catalogue_audits, counter},
    Simple{"holdfast_catalogue_audits_failed_total",
           "Of these queries, those without an answer: until one succeeds, servers are cleaned before they are reused.",
           &Counters::catalogue_audits_failed, counter},
    Simple{"holdfast_server_handovers_total", "Server connections handed over from one worker to another.",
           &Counters::handovers, counter},
    Simple{"holdfast_holds_total", "Times a client began to wait for a primary.", &Counters::holds, counter},
    Simple{"holdfast_holds_timed_out_total", "Waits for a primary that ended with 57P03 after pool.hold_timeout.",
           &Counters::holds_timed_out, counter},
    Simple{"holdfast_waits_timed_out_total",
           "Waits for a server connection that ended with 53300 after pool.wait_timeout.", &Counters::waits_timed_out,
           counter},
    Simple{
        "holdfast_stalls_total",
        "Times that a worker had stood still for over a second, and asked for every member's role before it went on.",
        &Counters::stalls, counter},
    Simple{"holdfast_sessions_ended_total",
           "Clients disconnected with the server's own FATAL: it ended their session, and lives.",
           &Counters::sessions_ended, counter},
    Simple{
        "holdfast_commits_unreplicated_total",
        "Clients told 08007 for a commit whose synchronous standbys may not have it: the wait for them was canceled.",
        &Counters::commits_unreplicated, counter},
    Simple{"holdfast_cancels_total", "Cancel requests that named a connected client.", &Counters::cancels, counter},
    Simple{"holdfast_protocol_errors_total", "Clients disconnected because they violated the protocol.",
           &Counters::protocol_errors, counter},
};

std::uint64_t sum(const std::vector<const Counters*>& workers, auto&& pick) {
  std::uint64_t total = 0;
  for (const Counters* worker : workers) total += pick(*worker).value();
  return total;
}

void add_invariants(Families& out) {
  out.begin("holdfast_invariants_broken_total",
            "Facts that the program relies on and that did not hold: a defect of Holdfast; please report it.", counter);
  out.add(static_cast<double>(broken_invariants.load(std::memory_order_relaxed)));
}

void add_workers(Families& out, const std::vector<const Counters*>& workers) {
  const auto total = [&](auto&& pick) { return static_cast<double>(sum(workers, pick)); };
  for (const auto& item : simple) {
    out.begin(item.name, item.help, item.type);
    out.add(total([&](const Counters& c) -> const Counter& { return c.*item.counter; }));
  }
  out.begin("holdfast_server_wait_seconds_total", "Time that clients waited for a server connection.", counter);
  out.add(total([](const Counters& c) -> const Counter& { return c.wait_microseconds; }) / 1e6);
  out.begin("holdfast_hold_seconds", "Time that clients waited for a primary, however the wait ended.",
            MetricType::Histogram);
  std::array<std::uint64_t, Durations::bounds.size() + 1> counts{};
  std::uint64_t held = 0;
  for (const Counters* worker : workers) {
    for (std::size_t i = 0; i < counts.size(); ++i) counts[i] += worker->held.count(i);
    held += worker->held.sum();
  }
  out.add_durations(counts, held);
  out.begin(
      "holdfast_units_routed_total",
      "Units by the reason for their route; those with reason=\"read\" went to a replica, all others to the primary.",
      counter);
  for (std::size_t i = 0; i < route_reasons; ++i) {
    out.add(total([i](const Counters& c) -> const Counter& { return c.routed[i]; }),
            {{"reason", name_of(static_cast<RouteReason>(i))}});
  }
  out.begin(
      "holdfast_retries_total",
      "Units sent to a server again: unsent (nothing of it had left), refused (by a standby: to the primary), lost (a "
      "read whose server was lost; once at most).",
      counter);
  for (std::size_t i = 0; i < repeat_reasons; ++i) {
    out.add(total([i](const Counters& c) -> const Counter& { return c.repeats[i]; }),
            {{"reason", name_of(static_cast<RepeatReason>(i))}});
  }
  out.begin("holdfast_pins_total", "Clients pinned to a server connection, by the reason of the first pin.", counter);
  for (std::size_t i = 0; i < pin_reasons; ++i) {
    const auto effect = static_cast<protocol::sql::Effect>(1U << i);
    if (!has(protocol::sql::pinning, effect)) continue;
    out.add(total([i](const Counters& c) -> const Counter& { return c.pins[i]; }),
            {{"reason", std::string(protocol::sql::pin_reason(effect))}});
  }
  out.begin(
      "holdfast_answers_lost_total",
      "Clients whose server connection was lost while they needed it, by the SQLSTATE they got; sqlstate=\"none\" "
      "were disconnected in the middle of a row.",
      counter);
  out.add(total([](const Counters& c) -> const Counter& { return c.lost_rolled_back; }), {{"sqlstate", "40001"}});
  out.add(total([](const Counters& c) -> const Counter& { return c.lost_unknown; }), {{"sqlstate", "08007"}});
  out.add(total([](const Counters& c) -> const Counter& { return c.lost_pinned; }), {{"sqlstate", "57P01"}});
  out.add(total([](const Counters& c) -> const Counter& { return c.lost_crashed; }), {{"sqlstate", "57P02"}});
  out.add(total([](const Counters& c) -> const Counter& { return c.lost_cut; }), {{"sqlstate", "none"}});
}

using Topologies = std::map<std::string, health::TopologyPtr>;

void add_clusters(Families& out, const Topologies& topologies) {
  const auto each = [&](const char* name, const char* help, auto&& value) {
    out.begin(name, help, gauge);
    for (const auto& [cluster, topology] : topologies) {
      out.add(static_cast<double>(value(*topology)), {{"cluster", cluster}});
    }
  };
  each("holdfast_cluster_has_primary", "1 while the cluster has a primary that takes writes, else 0.",
       [](const health::Topology& topology) { return topology.primary ? 1 : 0; });
  each("holdfast_cluster_split_brain", "1 while more than one member claims to be primary of this cluster, else 0.",
       [](const health::Topology& topology) { return topology.split_brain.empty() ? 0 : 1; });
  each("holdfast_cluster_isolated",
       "1 while too few members of the cluster are in sight to believe its primary (failover.isolation), else 0.",
       [](const health::Topology& topology) { return topology.isolated.empty() ? 0 : 1; });
  each("holdfast_cluster_epoch", "Number of the epoch; each primary that is accepted begins a new one.",
       [](const health::Topology& topology) { return topology.epoch; });
  each("holdfast_cluster_timeline", "Timeline of the primary that was accepted last.",
       [](const health::Topology& topology) { return topology.timeline; });
}

// Visits every member of the configuration; one that a reload removed keeps its index, but is no longer shown.
void each_member(const Topologies& topologies, auto&& visit) {
  for (const auto& [cluster, topology] : topologies) {
    for (health::MemberIndex i = 0; i < topology->members.size(); ++i) {
      const auto& member = topology->members[i];
      if (!member.removed) visit(cluster, i, member);
    }
  }
}

Families::Labels labels_of(const std::string& cluster, const health::MemberStatus& member) {
  return {{"cluster", cluster}, {"member", member.name}};
}

void add_members(Families& out, const Topologies& topologies) {
  using health::MemberStatus;
  out.begin("holdfast_member_state", "1 for the state that the member is in, 0 for the other states.", gauge);
  each_member(topologies, [&](const std::string& cluster, health::MemberIndex, const MemberStatus& member) {
    for (auto i = 0; i <= static_cast<int>(health::MemberState::quarantined); ++i) {
      const auto state = static_cast<health::MemberState>(i);
      auto labels = labels_of(cluster, member);
      labels.emplace_back("state", name_of(state));
      out.add(member.state == state ? 1 : 0, labels);
    }
  });
  out.begin("holdfast_member_accepts_reads", "1 while the member is a replica that may get reads, else 0.", gauge);
  each_member(topologies, [&](const std::string& cluster, health::MemberIndex, const MemberStatus& member) {
    out.add(member.accepts_reads ? 1 : 0, labels_of(cluster, member));
  });
  out.begin("holdfast_member_lag_bytes", "Bytes of WAL that the replica has yet to replay; absent while unknown.",
            gauge);
  each_member(topologies, [&](const std::string& cluster, health::MemberIndex, const MemberStatus& member) {
    if (member.lag_known) out.add(static_cast<double>(member.lag_bytes), labels_of(cluster, member));
  });
}

void add_probes(Families& out, const Topologies& topologies, const Metrics::Monitors& monitors) {
  std::map<std::string, std::vector<health::MemberStatistics>> statistics;
  for (const auto& [cluster, monitor] : monitors) statistics.emplace(cluster, monitor->statistics());
  const auto each = [&](const char* name, const char* help, MetricType type, auto&& visit) {
    out.begin(name, help, type);
    each_member(topologies,
                [&](const std::string& cluster, health::MemberIndex index, const health::MemberStatus& member) {
                  const auto found = statistics.find(cluster);
                  if (found == statistics.end() || index >= found->second.size()) return;
                  visit(found->second[index], labels_of(cluster, member));
                });
  };
  using health::MemberStatistics;
  using Labels = Families::Labels;
  each("holdfast_member_probes_total", "Probes of the member, by result.", counter,
       [&](const MemberStatistics& member, Labels labels) {
         labels.emplace_back("result", "");
         for (std::size_t i = 0; i < health::grade_count; ++i) {
           labels.back().second = name_of(static_cast<health::Grade>(i));
           out.add(static_cast<double>(member.results[i]), labels);
         }
       });
  each("holdfast_member_probe_seconds", "Duration of the probes of the member that succeeded.", MetricType::Summary,
       [&](const MemberStatistics& member, const Labels& labels) {
         out.add_sum(member.results[static_cast<std::size_t>(health::Grade::ok)],
                     std::chrono::duration<double>(member.duration).count(), labels);
       });
  each("holdfast_member_probe_connects_total", "Connections to the member that its probe began to open.", counter,
       [&](const MemberStatistics& member, const Labels& labels) {
         out.add(static_cast<double>(member.connects), labels);
       });
  each("holdfast_member_reachability_changes_total",
       "Changes of the member's reachability: up, suspect, starting or down.", counter,
       [&](const MemberStatistics& member, const Labels& labels) {
         out.add(static_cast<double>(member.transitions), labels);
       });
}

}  // namespace

void Metrics::event(const health::Event& event, health::TimePoint now) {
  ++events_[event.cluster][static_cast<std::size_t>(event.kind)];
  if (const auto* lost = std::get_if<health::WalLeftBehind>(&event.facts)) {
    left_behind_[event.cluster] += lost->wal.bytes();
  }
  auto& without = without_primary_[event.cluster];
  if (event.kind == health::EventKind::primary_lost) {
    without.since = now;
  } else if (event.kind == health::EventKind::primary_changed || event.kind == health::EventKind::primary_back) {
    if (!without.since) return;  // the first one
    const auto time = std::chrono::duration_cast<std::chrono::microseconds>(now - *without.since);
    without.durations.add(static_cast<std::uint64_t>(time.count()));
    without.since.reset();
  }
}

std::string Metrics::text() const {
  Families out;
  add_workers(out, workers_);
  add_invariants(out);
  out.begin("holdfast_reloads_total", "Reloads of the configuration, by outcome.", counter);
  out.add(static_cast<double>(reloads_), {{"outcome", "applied"}});
  out.add(static_cast<double>(reloads_refused_), {{"outcome", "refused"}});
  add_clusters(out, topologies_);
  add_members(out, topologies_);
  add_probes(out, topologies_, monitors_);
  out.begin("holdfast_health_events_total", "Health events, by kind; the log has each with its reason.", counter);
  for (const auto& [cluster, counts] : events_) {
    for (std::size_t i = 0; i < health::event_kinds; ++i) {
      out.add(static_cast<double>(counts[i]),
              {{"cluster", cluster}, {"event", name_of(static_cast<health::EventKind>(i))}});
    }
  }
  out.begin("holdfast_cluster_without_primary_seconds",
            "Time from the loss of a primary until there was one again, the same or another.", MetricType::Histogram);
  for (const auto& [cluster, without] : without_primary_) {
    std::array<std::uint64_t, Durations::bounds.size() + 1> counts{};
    for (std::size_t i = 0; i < counts.size(); ++i) counts[i] = without.durations.count(i);
    out.add_durations(counts, without.durations.sum(), {{"cluster", cluster}});
  }
  out.begin("holdfast_wal_left_behind_bytes_total",
            "Bytes of WAL that accepted primaries lacked of their predecessors', at least.", counter);
  for (const auto& [cluster, bytes] : left_behind_) out.add(static_cast<double>(bytes), {{"cluster", cluster}});
  out.begin("holdfast_record_kept", "1 if the last accepted primary is on record in state_dir, 0 if writing it failed.",
            gauge);
  for (const auto& [cluster, good] : records_) out.add(good ? 1 : 0, {{"cluster", cluster}});
  return out.text();
}

}  // namespace holdfast::proxy
