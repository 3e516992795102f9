// What the workers share besides snapshots. Made by Server before the first worker, destroyed after the last.
#pragma once

#include "proxy/pool/context.hpp"
#include "proxy/session/context.hpp"

namespace holdfast::proxy {

struct Shared {
  PoolShared pools;
  SessionShared sessions;
};

}  // namespace holdfast::proxy
