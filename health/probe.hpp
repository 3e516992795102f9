// One member's probe: a persistent libpq connection that is driven without blocking and under our own deadlines.
//
//   probe() ─▶ [resolve] ─▶ connect ─▶ full query (constants and state, one row) ─▶ ProbeResult
//      ▲                                     │ later: state only, or role and position only
//      └── idle(): until the moment, poke(), or the server's end of the connection ──┘
//
// Why libpq gives SQLSTATEs here: error verbosity is set to PQERRORS_SQLSTATE right after PQconnectStart, so that a
// refused login reads "FATAL:  57P03" in whatever language the server speaks.
// Names are resolved by Asio's resolver (its own thread), never by libpq, which blocks; the last good address is kept
// when DNS fails. All members share that one thread: a lookup that hangs delays other lookups, but no probe of a member
// that has an address.
// Thread: control. One call of probe() or idle() at a time.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/system/error_code.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "config/model.hpp"
#include "health/address_book.hpp"
#include "health/observation.hpp"

namespace holdfast::health {

enum class ProbeKind : std::uint8_t {
  full,   // everything
  light,  // role and position
};

// Why idle() came back.
enum class Wake : std::uint8_t { due, poked, lost };

class Probe {
 public:
  Probe(boost::asio::io_context& context, const config::Member& member, const config::Cluster& cluster);
  ~Probe();
  Probe(const Probe&) = delete;
  Probe& operator=(const Probe&) = delete;

  // One probe. Connects when there is no connection, or when `fresh` asks for a new one. A connection that turns out to
  // be broken is replaced once within the same call, because its end says nothing about the server:
  // pg_terminate_backend looks the same. So `connection_lost` is given only when the new connection broke as well.
  // `names`: how old the answer of DNS may be.
  [[nodiscard]] boost::asio::awaitable<ProbeResult> probe(ProbeKind kind, bool fresh,
                                                          AddressBook::Age names = AddressBook::Age::usual);
  // Waits; watches the idle connection, whose end is noticed at once.
  [[nodiscard]] boost::asio::awaitable<Wake> idle(TimePoint until);
  // Ends idle() now, or the next one. Doesn't disturb a running probe.
  void poke();
  // Ends everything soon: probe() gives up, idle() returns at once, until the next configure(). For stopping.
  void interrupt();
  // Closes the connection. Not while probe() or idle() is under way.
  void close();
  // Other settings from now on; the next probe opens a new connection when they matter to it.
  void configure(const config::Member& member, const config::Cluster& cluster);

  [[nodiscard]] const std::string& address() const;  // where it answered last, or the address to try; may be empty
  [[nodiscard]] std::uint64_t connects() const;
  [[nodiscard]] boost::system::error_code dns_error() const;  // of the last lookup; none: it succeeded

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace holdfast::health
