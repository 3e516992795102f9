// Exchange: any messages of a client, any of a server. Byte 0 of the input, bit 0: the server follows the rules (the
// model of a backend answers; every answer must reach its request) or says anything at all (nothing is released that is
// owed, and a loss can be told at any point). Then a byte for each message: below 0x80 the client's next operation,
// else the server's next message.
#include <cstdint>
#include <span>

#include "protocol/exchange.hpp"
#include "protocol/lost_transaction.hpp"
#include "tests/fuzz/check.hpp"
#include "tests/protocol/exchange_script.hpp"

using namespace holdfast::protocol;
using holdfast::protocol::testing::operations;
using holdfast::protocol::testing::ScriptPlayer;

namespace {

void follow_rules(std::span<const std::uint8_t> input) {
  ScriptPlayer player;
  for (const std::uint8_t byte : input) {
    if (byte < 0x80)
      player.send(operations()[byte % operations().size()]);
    else if (player.can_receive())
      player.receive();
  }
  while (player.can_receive()) player.receive();
  player.check_quiet();
  if (!player.fault().empty()) std::fprintf(stderr, "%s\n", player.fault().c_str());
  FUZZ_CHECK(player.fault().empty());
}

// A loss at this point can be told, and the client gets out of it.
void check_loss(const Exchange& exchange) {
  const Loss loss = exchange.on_server_lost();
  FUZZ_CHECK(loss.unanswered.size() <= exchange.in_flight());
  FUZZ_CHECK(loss.units.size() <= loss.unanswered.size());
  FUZZ_CHECK((loss.outcome == Loss::Outcome::nothing_in_flight) == exchange.idle());
  LostTransaction machine(loss);
  std::vector<std::byte> out;
  machine.begin(out);
  if (!machine.finished()) {
    const Bytes rollback = as_bytes(std::string_view("ROLLBACK", 9));
    machine.client(client::sync, {}, sql::TransactionControl::none, out);
    machine.client(client::query, rollback, sql::TransactionControl::rollback, out);
  }
  FUZZ_CHECK(machine.finished());
}

void say_anything(std::span<const std::uint8_t> input) {
  static constexpr std::string_view error("SERROR\0VERROR\0CXX000\0Mfuzz\0\0", 28);
  static constexpr std::string_view fatal("SFATAL\0VFATAL\0C57P01\0Mfuzz\0\0", 28);
  static constexpr std::string_view tags = "123CDEGHITVWZcdnstNSAEZZQ\0\xff";
  static constexpr std::string_view statuses = "ITEX";
  static constexpr std::string_view client_tags = "QPBDECSHFdcf";
  Exchange exchange;
  std::uint32_t cookie = 0;
  for (const std::uint8_t byte : input) {
    if (byte < 0x80) {
      const char tag = client_tags[byte % client_tags.size()];
      const auto origin = static_cast<Origin>(byte / 12 % 3);
      const auto traits = static_cast<Trait>(cookie % 32);
      if (byte / 36 == 3 && tag != 'S' && tag != 'H' && tag != 'd' && tag != 'c' && tag != 'f')
        exchange.answered_locally(tag, cookie++, traits);
      else
        exchange.sent({.tag = tag, .origin = origin, .traits = traits, .cookie = cookie++});
    } else {
      const char tag = tags[byte % tags.size()];
      const bool broken = exchange.broken();
      Bytes body;
      if (tag == 'E') body = as_bytes(byte < 0xf0 ? error : fatal);
      if (tag == 'Z') body = as_bytes(statuses.substr(byte / 27 % 4, 1));
      const Reply reply = exchange.received(tag, body);
      FUZZ_CHECK((reply.action == Reply::Action::unexpected) <= exchange.broken());
      FUZZ_CHECK(!broken || reply.action == Reply::Action::unexpected || reply.action == Reply::Action::async ||
                 reply.action == Reply::Action::fatal);
      FUZZ_CHECK(reply.action != Reply::Action::replace || reply.request.origin == Origin::failing);
      FUZZ_CHECK(reply.action != Reply::Action::swallow || reply.request.origin == Origin::proxy);
      for (const Request& due : exchange.before()) FUZZ_CHECK(due.local);
      for (const Request& dropped : exchange.dropped()) FUZZ_CHECK(dropped.tag != client::sync);
    }
    for (const Request& due : exchange.after()) FUZZ_CHECK(due.local);
    if (exchange.may_release()) {
      FUZZ_CHECK(exchange.idle() && !exchange.expects() && !exchange.open_batch() && !exchange.doubtful());
      FUZZ_CHECK(exchange.transaction_status() == 'I' && exchange.copy() == Copy::none);
    }
    check_loss(exchange);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::span rest(data + 1, std::min<std::size_t>(size - 1, 400));
  if ((data[0] & 1) != 0)
    follow_rules(rest);
  else
    say_anything(rest);
  return 0;
}
