// The sessions of one worker, and what they have to tell the other workers.
//
// Thread: its worker's, but for what says "any thread". Lifetime: the worker's; empty when its loop ends.
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
  // Of all workers, this one included; before any of them starts.
  void connect(std::vector<Sessions*> all) { all_ = std::move(all); }

  // Any thread: a client with this key asked for it.
  void cancel(std::uint64_t session);

  void begin(const Accepted& accepted);
  // The session's coroutine has ended.
  void ended(std::uint64_t id);
  // `done` is called when a session has gone while the worker stops.
  void stop(bool at_once, std::function<void()> done);
  void reconfigure();
  [[nodiscard]] bool empty() const { return sessions_.empty(); }

  // DDL was committed: what was learnt of statements may be stale, on every worker. Servers keep their plans: where a
  // result's columns changed PostgreSQL says so, and a driver that relies on an earlier description has to hear it.
  void schema_changed();
  // A server said so to a client, who will prepare the text again: on every server.
  void plans_expired();

 private:
  void everywhere(void (*what)(Tables&));

  SessionContext& context_;
  std::map<std::uint64_t, std::unique_ptr<ClientSession>> sessions_;
  std::vector<Sessions*> all_;
  std::function<void()> done_;
};

}  // namespace holdfast::proxy
