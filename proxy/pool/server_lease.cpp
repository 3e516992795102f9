#include "proxy/pool/server_lease.hpp"

#include "proxy/pool/member_pool.hpp"

namespace holdfast::proxy {

void ServerLease::give_back() {
  server_->home->returned(*server_);
}

}  // namespace holdfast::proxy
