// What the pools of one worker use. Everything outlives them.
#pragma once

#include <functional>
#include <string>

#include "health/topology.hpp"
#include "protocol/pending.hpp"
#include "protocol/reported.hpp"
#include "proxy/base/counters.hpp"
#include "proxy/base/key_service.hpp"
#include "proxy/base/places.hpp"
#include "proxy/base/runtime.hpp"
#include "proxy/io/reactor.hpp"
#include "proxy/io/task.hpp"
#include "proxy/pool/catalogue.hpp"
#include "proxy/pool/crashes.hpp"
#include "proxy/pool/last_writes.hpp"
#include "proxy/pool/permits.hpp"
#include "proxy/pool/welcomes.hpp"

namespace holdfast::proxy {

class Handover;

// What the pools of all workers share.
struct PoolShared {
  PermitBook permits;
  Welcomes welcomes;
  CatalogueBook catalogues;
  Crashes crashes;
  LastWritesBook last_writes;
  Places hold_places;  // limit: hold_limit
  KeyService key_service;
  // Posts what traffic saw to the cluster's monitor. Any thread.
  std::function<void(const std::string& cluster, health::MemberIndex member, health::Evidence evidence)> report;
  // Has every monitor look at all its members once more, not before `since`. Any thread.
  std::function<void(TimePoint since)> want_look;
  // Tells the cluster's monitor that readers ask for newer marks. Any thread.
  std::function<void(const std::string& cluster)> want_marks;
};

struct PoolContext {
  Reactor& reactor;
  Gate& gate;  // counts the coroutines that read servers, connect and cancel
  Counters& counters;
  protocol::PendingPool& pending;
  protocol::ReportedTable& reported;
  PoolShared& shared;
  const RuntimePtr& runtime;  // the worker's current one
  const bool& stopping;       // the process ends: no connection is kept, no evidence reported
  Handover& handover;

  void report(const std::string& cluster, health::MemberIndex member, health::Evidence evidence) const {
    if (evidence == health::Evidence::crash_shutdown) shared.crashes.seen(cluster, member, health::Clock::now());
    if (!stopping) shared.report(cluster, member, evidence);
  }
};

}  // namespace holdfast::proxy
