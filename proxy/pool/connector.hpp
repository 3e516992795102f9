// Makes server connections: socket, TLS, log-in.
#pragma once

#include <chrono>
#include <string>

#include "health/topology.hpp"
#include "protocol/error.hpp"
#include "proxy/io/link.hpp"
#include "proxy/io/task.hpp"

namespace holdfast::proxy {

class MemberPool;

// Opens one connection for a member's pool: the permit has been taken and MemberPool::connecting counted. Ends with
// MemberPool::ready() or connect_failed(), and serves the connection's answers for as long as it lasts.
Task<> connect_server(MemberPool& pool);

// A connected, non-blocking socket in `link`, with keepalives and TCP_USER_TIMEOUT, so that a host that falls silent is
// noticed. The caller bounds the time by closing the link.
Task<Result<void>> connect_socket(Reactor& reactor, Link& link, const std::string& address, std::uint16_t port);

// The numeric address's family and form: "10.0.0.1", "::1", or a Unix socket's directory.
[[nodiscard]] bool is_unix(const std::string& address);

}  // namespace holdfast::proxy
