// The right to use one server connection: only the owner of the lease may send there. Dropping it gives the server back
// to its pool, which cleans it first if it isn't clean.
// Thread: the worker's. Lifetime: the ServerLink lives at least as long as the lease, but its connection may end
// earlier: check link.open().
#pragma once

#include <utility>

namespace holdfast::proxy {

class ServerLink;

class ServerLease {
 public:
  ServerLease() = default;
  // Made by pools only. The server is in its member's list of busy ones.
  explicit ServerLease(ServerLink& server) : server_(&server) {}
  ServerLease(ServerLease&& other) noexcept : server_(std::exchange(other.server_, nullptr)) {}
  ServerLease& operator=(ServerLease&& other) noexcept {
    std::swap(server_, other.server_);
    return *this;
  }
  ServerLease(const ServerLease&) = delete;
  ServerLease& operator=(const ServerLease&) = delete;
  ~ServerLease() {
    if (server_ != nullptr) give_back();
  }

  [[nodiscard]] explicit operator bool() const { return server_ != nullptr; }
  [[nodiscard]] ServerLink& operator*() const { return *server_; }
  [[nodiscard]] ServerLink* operator->() const { return server_; }

 private:
  void give_back();

  ServerLink* server_ = nullptr;
};

}  // namespace holdfast::proxy
