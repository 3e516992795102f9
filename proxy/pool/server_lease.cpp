#include "proxy/pool/server_lease.hpp"

#include "proxy/pool/member_pool.hpp"

namespace holdfast::proxy {

ServerLease::~ServerLease() {
  if (server_ != nullptr) server_->home->returned(*server_);
}

}  // namespace holdfast::proxy
