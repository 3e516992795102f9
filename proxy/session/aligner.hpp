// Puts a client's start-up settings on a leased server (protocol/alignment) in a round trip of its own.
// Owner: the session or log-in. Thread: the worker's. Lifetime: from the lease until run() has ended.
#pragma once

#include <optional>

#include "protocol/alignment.hpp"
#include "proxy/io/task.hpp"
#include "proxy/pool/context.hpp"
#include "proxy/pool/server_lease.hpp"
#include "proxy/pool/server_link.hpp"
#include "proxy/session/signal.hpp"

namespace holdfast::proxy {

class Aligner final : private ServerUser {
 public:
  enum class End : std::uint8_t {
    aligned,   // the server is in take_lease()
    refused,   // error() is the server's own, for the client
    lost,      // the server was lost: nothing of the client's was sent, another one will do
    canceled,  // the client sent a cancel request meanwhile: nothing of its own had run yet
    given_up,  // the client is gone
  };

  using Sequences = protocol::Alignment::Sequences;
  Aligner(PoolContext& context, ServerLease lease, const protocol::SettingsRef& wanted,
          Sequences sequences = Sequences::keep);
  ~Aligner();
  Aligner(const Aligner&) = delete;
  Aligner& operator=(const Aligner&) = delete;

  [[nodiscard]] Task<End> run();
  // The settings are applied nevertheless, so that the server's state is known.
  void cancel() { canceled_ = true; }
  void give_up() { end(End::given_up); }
  [[nodiscard]] ServerLease take_lease() { return std::move(lease_); }
  [[nodiscard]] const Error& error() const { return alignment_.error(); }

 private:
  Pass answers(ServerLink& server) override;
  void server_lost(ServerLink& server) override;
  bool message(const protocol::Frame& frame);
  void end(End end);

  PoolContext& context_;
  ServerLease lease_;
  protocol::Alignment alignment_;
  Signal signal_;
  std::optional<End> end_;
  bool canceled_ = false;
};

}  // namespace holdfast::proxy
