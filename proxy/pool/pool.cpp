#include "proxy/pool/pool.hpp"

#include <algorithm>
#include <atomic>
#include <utility>

#include "protocol/client_errors.hpp"

namespace holdfast::proxy {

namespace {

// An answer that is overdue by this makes the monitor probe the member.
constexpr std::chrono::milliseconds overdue_after{1000};

bool same(const Pool::Credentials& a, const Pool::Credentials& b) {
  if (a.index() != b.index()) return false;
  if (const auto* password = std::get_if<protocol::LoginRequest::Password>(&a)) {
    return password->text == std::get<protocol::LoginRequest::Password>(b).text;
  }
  if (const auto* keys = std::get_if<protocol::scram::Keys>(&a)) return *keys == std::get<protocol::scram::Keys>(b);
  return true;
}

std::atomic<std::uint64_t> next_pool_id{1};  // NOLINT: ids are the process's

// A pool's settings come from its database and user; they can't be set at a listener, so any listener will do.
config::EffectiveSettings settings_of(const PoolKey& key, const config::Config& config) {
  const auto* database = config.find_database(key.database);
  for (const auto& candidate : config.databases) {
    if (candidate.cluster == key.cluster && candidate.database == key.database) database = &candidate;
  }
  return config.effective(config.listeners.front(), database, config.find_user(key.user));
}

// Clusters that have servers in common are one to those who read there: they share their last writes.
std::string writes_of(const PoolKey& key, const config::Config& config) {
  return std::ranges::min(config.sharing_servers_with(key.cluster));
}

}  // namespace

Pool::Pool(PoolContext& context, PoolKey key, health::TopologyPtr topology)
    : context_(context),
      key_(std::move(key)),
      id_(next_pool_id.fetch_add(1, std::memory_order_relaxed)),
      catalogue_(context.shared.catalogues.find(key_.cluster, key_.database)),
      settings_(settings_of(key_, context.runtime->config)),
      writes_of_(writes_of(key_, context.runtime->config)),
      last_writes_(context.shared.last_writes.find(writes_of_, key_.database)),
      users_(std::make_shared<char>()),
      topology_(std::move(topology)) {}

void Pool::make_members(health::MemberIndex last) {
  while (members_.size() <= last) {
    const auto next = static_cast<health::MemberIndex>(members_.size());
    const auto& name = topology_->members[next].name;
    members_.push_back(
        std::make_unique<MemberPool>(*this, next, context_.shared.permits.find(key_, name, settings_.pool_size)));
  }
}

void Pool::topology_changed(health::TopologyPtr topology) {
  const auto before = std::exchange(topology_, std::move(topology));
  if (before->epoch != topology_->epoch) welcomes_.clear();
  for (auto& member : members_) {
    if (member->member() >= topology_->members.size()) continue;
    leave_member(*member, *topology_);
    member->member_changed(topology_->members[member->member()]);
  }
  if (topology_->primary) primary_available();
}

// Clients that wait for a member that can't serve them any more start over: writers are held until there is a primary,
// readers are routed again.
void Pool::leave_member(MemberPool& member, const health::Topology& topology) {
  const bool primary = topology.primary == member.member();
  const bool serves_reads = primary || topology.members[member.member()].accepts_reads;
  for (Waiter* waiter = member.line().front(); waiter != nullptr;) {
    Waiter* next = waiter->next();
    if (waiter->kind() == Waiter::Kind::write) {
      if (!primary) {
        held_.push_back(*waiter);
        waiter->hold(Place::take(context_.shared.hold_places));  // it waits already: the limit is for new waiters
      }
    } else if (!serves_reads) {
      waiter->settle(Waiter::AskAgain{});
    }
    waiter = next;
  }
}

// The line of held clients moves to the primary as a whole, oldest first; its idle servers are leased at once.
void Pool::primary_available() {
  auto& primary = member(*topology_->primary);
  while (Waiter* waiter = held_.front()) {
    if (ServerLease lease = primary.lease_now()) {
      waiter->settle(std::move(lease));
    } else {
      primary.wait(*waiter);
    }
  }
}

void Pool::wait_for_primary(Waiter& waiter) {
  if (topology_->primary) {
    member(*topology_->primary).wait(waiter);
    return;
  }
  auto place = Place::try_take(context_.shared.hold_places);
  if (!place) {
    waiter.settle(protocol::told(protocol::Tell::hold_limit_reached));
    return;
  }
  held_.push_back(waiter);
  waiter.hold(std::move(place));
}

void Pool::reconfigure() {
  settings_ = settings_of(key_, context_.runtime->config);
  if (auto cluster = writes_of(key_, context_.runtime->config); cluster != writes_of_) {
    writes_of_ = std::move(cluster);
    former_writes_.push_back(std::exchange(last_writes_, context_.shared.last_writes.find(writes_of_, key_.database)));
    last_writes_->wrote_shared(health::Clock::now());  // nobody looks at the others any more
  }
  for (auto& member : members_) {
    member->permits()->set_limit(settings_.pool_size);
    member->open_more();
  }
}

void Pool::set_credentials(Credentials fresh) {
  // A log-in by trust brings no credentials: it must not replace known ones.
  if (std::holds_alternative<std::monostate>(fresh) || same(credentials_, fresh)) return;
  credentials_ = std::move(fresh);
  ++credentials_version_;
}

std::uint64_t Pool::version_of(const Credentials& theirs) const {
  // After log-ins by trust there are none to compare.
  const bool unknown =
      std::holds_alternative<std::monostate>(theirs) || std::holds_alternative<std::monostate>(credentials_);
  return unknown || same(credentials_, theirs) ? credentials_version_ : credentials_version_ - 1;
}

std::optional<protocol::ReportedRef> Pool::find_welcome(const protocol::SettingsRef& wanted) {
  for (const auto& [known, reported] : welcomes_) {
    if (known == wanted) return reported;
  }
  const auto elsewhere = context_.shared.welcomes.find(key_, wanted.parameters(), topology_->epoch);
  if (!elsewhere) return std::nullopt;
  protocol::ReportedRef reported;
  for (const auto& parameter : *elsewhere) {
    auto with = context_.reported.with(reported, parameter.name, parameter.value);
    if (!with) return std::nullopt;
    reported = std::move(*with);
  }
  keep_welcome(wanted, reported);
  return reported;
}

void Pool::remember_welcome(const protocol::SettingsRef& wanted, const protocol::ReportedRef& reported) {
  keep_welcome(wanted, reported);
  context_.shared.welcomes.remember(key_, wanted.parameters(), topology_->epoch, reported.parameters());
}

void Pool::keep_welcome(const protocol::SettingsRef& wanted, const protocol::ReportedRef& reported) {
  if (welcomes_.size() >= welcomes_kept) welcomes_.erase(welcomes_.begin());
  welcomes_.emplace_back(wanted, reported);
}

std::shared_ptr<const void> Pool::use() {
  return users_;
}

bool Pool::unused() const {
  if (users_.use_count() > 1 || !held_.empty()) return false;
  return std::ranges::all_of(members_, [](const auto& member) { return member->empty(); });
}

void Pool::sweep(TimePoint now) {
  for (auto& member : members_) {
    if (settings_.server_idle_timeout.count() > 0) member->close_idle(now - settings_.server_idle_timeout);
    if (member->sweep(now, overdue_after)) {
      context_.report(key_.cluster, member->member(), health::Evidence::answer_overdue);
    }
  }
}

void Pool::close_all() {
  for (auto& member : members_) member->close_all();
}

}  // namespace holdfast::proxy
