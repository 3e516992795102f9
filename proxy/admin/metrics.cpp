#include "proxy/admin/metrics.hpp"

#include <prometheus/client_metric.h>
#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <array>
#include <utility>

#include "proxy/shared.hpp"
#include "proxy/worker.hpp"

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
  [[nodiscard]] std::string text() const { return prometheus::TextSerializer().Serialize(families_); }

 private:
  std::vector<MetricFamily> families_;
};

struct Simple {
  const char* name;
  const char* help;
  Counter Counters::* counter;
  MetricType type;
};

constexpr auto gauge = MetricType::Gauge;
constexpr auto counter = MetricType::Counter;
constexpr std::array simple{
    Simple{"holdfast_clients", "Client connections, log-ins included.", &Counters::clients, gauge},
    Simple{"holdfast_clients_waiting", "Clients that wait for a server connection.", &Counters::clients_waiting, gauge},
    Simple{"holdfast_clients_held", "Of them: clients that wait for a primary.", &Counters::clients_held, gauge},
    Simple{"holdfast_clients_accepted_total", "Client connections taken.", &Counters::clients_accepted, counter},
    Simple{"holdfast_logins_failed_total", "Log-ins that did not succeed.", &Counters::logins_failed, counter},
    Simple{"holdfast_clients_refused_total", "Clients refused by max_clients.", &Counters::clients_refused, counter},
    Simple{"holdfast_units_total", "Queries and batches answered.", &Counters::units, counter},
    Simple{"holdfast_client_sent_bytes_total", "Bytes of answers sent to clients.", &Counters::bytes_to_clients,
           counter},
    Simple{"holdfast_pools", "Pools of a database and user, on all workers.", &Counters::pools, gauge},
    Simple{"holdfast_servers", "Server connections.", &Counters::servers, gauge},
    Simple{"holdfast_servers_opened_total", "Server connections opened.", &Counters::servers_opened, counter},
    Simple{"holdfast_server_connects_failed_total", "Attempts to open one that failed.", &Counters::servers_failed,
           counter},
    Simple{"holdfast_servers_closed_total", "Server connections closed.", &Counters::servers_closed, counter},
    Simple{"holdfast_servers_cleaned_total", "Server connections cleaned by DISCARD ALL before reuse.",
           &Counters::servers_cleaned, counter},
    Simple{"holdfast_server_handovers_total", "Server connections given to another worker.", &Counters::handovers,
           counter},
    Simple{"holdfast_holds_total", "Times a client began to wait for a primary.", &Counters::holds, counter},
    Simple{"holdfast_holds_timed_out_total", "Of them: waits that ended by hold_timeout.", &Counters::holds_timed_out,
           counter},
    Simple{"holdfast_server_wait_microseconds_total", "Time clients waited for a server connection.",
           &Counters::wait_microseconds, counter},
    Simple{"holdfast_waits_timed_out_total", "Waits that ended by wait_timeout.", &Counters::waits_timed_out, counter},
    Simple{"holdfast_retries_total", "Units run again elsewhere, nothing of them having taken effect.",
           &Counters::retries, counter},
    Simple{"holdfast_cancels_total", "Cancel requests for clients here.", &Counters::cancels, counter},
    Simple{"holdfast_protocol_errors_total", "Clients closed for breaking the protocol.", &Counters::protocol_errors,
           counter},
};

std::uint64_t sum(const std::vector<std::unique_ptr<Worker>>& workers, auto&& pick) {
  std::uint64_t total = 0;
  for (const auto& worker : workers) total += pick(worker->counted()).value();
  return total;
}

}  // namespace

void Metrics::event(const health::Event& event) {
  ++events_[{event.cluster, event.name}];
}

std::string Metrics::text() const {
  Families out;
  for (const auto& item : simple) {
    out.begin(item.name, item.help, item.type);
    out.add(static_cast<double>(sum(workers_, [&](const Counters& c) -> const Counter& { return c.*item.counter; })));
  }
  out.begin("holdfast_units_routed_total", "Units by where they went and why; reason=\"read\": to a replica.", counter);
  for (std::size_t i = 0; i < route_reasons; ++i) {
    out.add(static_cast<double>(sum(workers_, [i](const Counters& c) -> const Counter& { return c.routed[i]; })),
            {{"reason", name_of(static_cast<RouteReason>(i))}});
  }
  out.begin("holdfast_pins_total", "Clients pinned to a server, by the reason of the first pin.", counter);
  for (std::size_t i = 0; i < pin_reasons; ++i) {
    const auto effect = static_cast<protocol::sql::Effect>(1U << i);
    if (!has(protocol::sql::pinning, effect)) continue;
    out.add(static_cast<double>(sum(workers_, [i](const Counters& c) -> const Counter& { return c.pins[i]; })),
            {{"reason", std::string(protocol::sql::pin_reason(effect))}});
  }
  out.begin("holdfast_answers_lost_total", "Clients whose server died under them, by what they were told.", counter);
  out.add(static_cast<double>(sum(workers_, [](const Counters& c) -> const Counter& { return c.lost_rolled_back; })),
          {{"sqlstate", "40001"}});
  out.add(static_cast<double>(sum(workers_, [](const Counters& c) -> const Counter& { return c.lost_unknown; })),
          {{"sqlstate", "08007"}});
  out.add(static_cast<double>(sum(workers_, [](const Counters& c) -> const Counter& { return c.lost_pinned; })),
          {{"sqlstate", "57P01"}});
  out.add(static_cast<double>(sum(workers_, [](const Counters& c) -> const Counter& { return c.lost_cut; })),
          {{"sqlstate", "none"}});
  out.begin("holdfast_reloads_total", "SIGHUPs, by outcome.", counter);
  out.add(static_cast<double>(reloads_), {{"outcome", "applied"}});
  out.add(static_cast<double>(reloads_refused_), {{"outcome", "refused"}});

  out.begin("holdfast_cluster_has_primary", "1: the cluster has an accepted primary.", gauge);
  for (const auto& [name, topology] : topologies_) out.add(topology->primary ? 1 : 0, {{"cluster", name}});
  out.begin("holdfast_cluster_epoch", "Grows with every accepted primary.", gauge);
  for (const auto& [name, topology] : topologies_) out.add(static_cast<double>(topology->epoch), {{"cluster", name}});
  out.begin("holdfast_cluster_timeline", "The accepted primary's timeline.", gauge);
  for (const auto& [name, topology] : topologies_) out.add(topology->timeline, {{"cluster", name}});
  out.begin("holdfast_member_state", "1 for the state that the member is in.", gauge);
  for (const auto& [name, topology] : topologies_) {
    for (const auto& member : topology->members) {
      for (auto i = 0; i <= static_cast<int>(health::MemberState::quarantined); ++i) {
        const auto state = static_cast<health::MemberState>(i);
        out.add(member.state == state ? 1 : 0, {{"cluster", name}, {"member", member.name}, {"state", name_of(state)}});
      }
    }
  }
  out.begin("holdfast_member_accepts_reads", "1: the member may get reads that replicas can serve.", gauge);
  for (const auto& [name, topology] : topologies_) {
    for (const auto& member : topology->members) {
      out.add(member.accepts_reads ? 1 : 0, {{"cluster", name}, {"member", member.name}});
    }
  }
  out.begin("holdfast_member_lag_bytes", "WAL that a replica has yet to replay; absent while unknown.", gauge);
  for (const auto& [name, topology] : topologies_) {
    for (const auto& member : topology->members) {
      if (member.lag_known)
        out.add(static_cast<double>(member.lag_bytes), {{"cluster", name}, {"member", member.name}});
    }
  }
  out.begin("holdfast_health_events_total", "What health reported, by event.", counter);
  for (const auto& [key, count] : events_) {
    out.add(static_cast<double>(count), {{"cluster", key.first}, {"event", key.second}});
  }
  return out.text();
}

}  // namespace holdfast::proxy
