// The sessions of one worker, and what they tell the other workers.
//
// Thread: its worker's, except for what says "any thread". Lifetime: the worker's; empty when its loop ends.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "proxy/session/accepted.hpp"
#include "proxy/session/context.hpp"

namespace holdfast::proxy {

class ClientSession;

class Sessions {
 public:
  explicit Sessions(SessionContext& context);
  ~Sessions();
  Sessions(const Sessions&) = delete;
  Sessions& operator=(const Sessions&) = delete;
  // `all`: the sessions of all workers, this one included. Call before any of them starts.
  void connect(std::vector<Sessions*> all) { all_ = std::move(all); }

  // Any thread: a CancelRequest with this session's key came.
  void cancel(std::uint64_t session);

  void begin(const Accepted& accepted);
  // The session's coroutine has ended.
  void ended(std::uint64_t id);
  // Ends all sessions, at once or with their transactions; `done` is called each time one of them has ended.
  void stop(bool at_once, std::function<void()> done);
  void reconfigure();
  // Memory for messages is short: the client that has kept much of it for the longest time gives it back.
  void shed();
  [[nodiscard]] bool empty() const { return sessions_.empty(); }

  // DDL was committed in this pool's database: what was concluded from its catalogue is old, on every worker. `shared`:
  // it changed roles, databases or tablespaces. These are every database's: a literal such as 'joe'::regrole is read at
  // Parse, "$user" in a search_path is a role's name, and a database that was dropped and made again under its name is
  // another one. Servers keep their plans: if a result's columns have
  // changed PostgreSQL reports an error, and a driver that relies on an earlier description must get it.
  void schema_changed(const PoolKey& pool, bool shared);
  // PostgreSQL has reported that error to a client of this pool, which will prepare the text again: every server of the
  // database parses it again.
  void plans_expired(const PoolKey& pool);

 private:
  void everywhere(const std::function<void(Tables&)>& what);

  SessionContext& context_;
  std::map<std::uint64_t, std::unique_ptr<ClientSession>> sessions_;
  std::vector<Sessions*> all_;
  std::function<void()> done_;
};

}  // namespace holdfast::proxy
