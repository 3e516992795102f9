// What the sessions of one worker use. Everything outlives them.
#pragma once

#include <atomic>
#include <cstdint>

#include "protocol/auth.hpp"
#include "proxy/base/parse_service.hpp"
#include "proxy/pool/context.hpp"
#include "proxy/pool/pools.hpp"
#include "proxy/session/cancel_keys.hpp"
#include "proxy/session/places_book.hpp"
#include "proxy/session/tables.hpp"

namespace holdfast::proxy {

class Sessions;

// What the sessions of all workers share.
struct SessionShared {
  CancelKeys cancel_keys;
  PlacesBook places;
  ParseService parse_service;
  protocol::MockSecret mock_secret{};
  std::atomic<std::uint64_t> next_session{1};
};

struct SessionContext {
  Reactor& reactor;
  Gate& gate;
  Counters& counters;
  Tables& tables;
  Desk& desk;
  Pools& pools;
  KeyService& key_service;
  ParseService& parse_service;
  SessionShared& shared;
  const RuntimePtr& runtime;  // the worker's current one
  const bool& stopping;
  Sessions& sessions;
};

}  // namespace holdfast::proxy
