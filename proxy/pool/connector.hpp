// Makes server connections: socket, TLS, log-in.
#pragma once

#include <cstdint>
#include <expected>
#include <string>

#include "protocol/error.hpp"
#include "proxy/io/link.hpp"
#include "proxy/io/task.hpp"
#include "proxy/pool/permits.hpp"

namespace holdfast::proxy {

class MemberPool;

// Opens one connection for a member's pool, which has counted it as connecting. Ends the attempt with
// MemberPool::connect_succeeded() and ready(), or with connect_failed(); then reads the connection for as long as it
// lasts.
Task<> connect_server(MemberPool& pool, Permit permit);

// Why there is no socket.
struct ConnectFailure {
  enum class Kind : std::uint8_t {
    refused,      // nothing listens there
    unreachable,  // any other failure of the network, or of the address
    late,         // the caller closed the link: its deadline expired
    own,          // this process lacks descriptors, memory or ports: says nothing about the member
  };
  Kind kind = Kind::unreachable;
  Error error;
};

// Connects a non-blocking socket in `link`, with keepalives and TCP_USER_TIMEOUT, so that a host that falls silent is
// noticed. The caller limits the time by closing the link.
Task<std::expected<void, ConnectFailure>> connect_socket(Reactor& reactor, Link& link, const std::string& address,
                                                         std::uint16_t port);

// Whether an address is the directory of a Unix socket; otherwise it is numeric: "10.0.0.1", "::1".
[[nodiscard]] bool is_unix(const std::string& address);

}  // namespace holdfast::proxy
