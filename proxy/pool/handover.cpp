#include "proxy/pool/handover.hpp"

#include <unistd.h>

#include <utility>

#include "proxy/pool/pools.hpp"
#include "proxy/pool/server_reader.hpp"

namespace holdfast::proxy {

// A connection on its way from one worker to another: the parts of a ServerLink that don't depend on a worker's tables.
struct Handover::Parcel {
  Link::Baggage baggage;
  std::shared_ptr<Permits> permits;  // of `permit`
  Permit permit;
  std::uint32_t pid = 0;
  std::vector<std::byte> secret;
  std::vector<protocol::Parameter> reported;
  bool has_settings = false;
  bool has_statements = false;
  protocol::Traces traces;
  std::uint64_t generation = 0;
  Pool::Credentials credentials;  // those that it was opened with
  TimePoint connected_at{};
};

void Handover::give(Handover& other, ServerLink& server, Permit permit) {
  auto parcel = std::make_shared<Parcel>();
  parcel->permits = server.home->permits();
  parcel->permit = std::move(permit);
  parcel->pid = server.pid;
  parcel->secret = server.secret;
  parcel->generation = server.generation;
  parcel->connected_at = server.connected_at;
  parcel->has_settings = !server.session.settings.empty();
  parcel->traces = server.session.traces();
  parcel->has_statements = server.session.statements.size() > 0;
  for (const auto& parameter : server.session.reported.parameters()) parcel->reported.push_back(parameter);
  parcel->credentials = server.home->pool().credentials();
  parcel->baggage = server.link.detach();
  server.link.watch().wake_reader();  // the reader finds the link closed, and ends
  context_.counters.handovers.add();
  other.context_.reactor.post([&other, key = server.home->pool().key(), member = server.home->member(),
                               parcel = std::move(parcel)] { other.adopt(key, member, std::move(*parcel)); });
}

void Handover::adopt(const PoolKey& key, health::MemberIndex member, Parcel parcel) {
  auto* home = pools_.find(key, member);
  if (home == nullptr || context_.stopping) {
    ::close(parcel.baggage.fd);
    parcel.permit = Permit();
    offer_permit(parcel.permits, key, member, std::nullopt);
    return;
  }
  auto server = std::make_unique<ServerLink>(
      *home, context_.pending, context_.runtime->config.limits.prepared_per_server, std::move(parcel.permit));
  server->pid = parcel.pid;
  server->secret = std::move(parcel.secret);
  server->generation = parcel.generation;
  server->credentials = home->pool().version_of(parcel.credentials);
  server->connected_at = parcel.connected_at;
  for (const auto& parameter : parcel.reported) {
    if (auto with = context_.reported.with(server->session.reported, parameter.name, parameter.value)) {
      server->session.reported = std::move(*with);
    }
  }
  server->session.inherit(parcel.traces);
  // Statement names and settings belong to a worker's own tables: the server is emptied on arrival.
  if (parcel.has_settings || parcel.has_statements) server->session.soil(protocol::sql::Effect::discard);
  if (!server->link.attach_baggage(context_.reactor, std::move(parcel.baggage))) {
    server.reset();  // its permit comes back
    offer_permit(parcel.permits, key, member, std::nullopt);
    home->open_more();  // the waiter still needs a server, and the worker's want was removed when this one was given
    return;
  }
  serve(context_, std::move(server));
}

void Handover::ask_others_for_idle(const PoolKey& key, health::MemberIndex member) {
  for (Handover* other : all_) {
    if (other == this) continue;
    other->context_.reactor.post([other, key, member] {
      if (auto* pool = other->pools_.find(key, member)) pool->offer_idle();
    });
  }
}

void Handover::offer_permit(const std::shared_ptr<Permits>& permits, const PoolKey& key, health::MemberIndex member,
                            std::optional<TimePoint> own) {
  if (!permits->wanted()) return;
  Handover* other = permits->take_want(this, own);
  if (other == nullptr) return;
  other->context_.reactor.post([other, permits, key, member] {
    // By the time the message arrives its waiter may be gone, or may have a connection on its way; then the permit is
    // passed on.
    auto* pool = other->pools_.find(key, member);
    if (pool == nullptr || pool->open_more() == 0) other->offer_permit(permits, key, member, std::nullopt);
  });
}

}  // namespace holdfast::proxy
