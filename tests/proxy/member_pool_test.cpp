// Servers of one member and their leases: who gets which, when new ones are opened; without a server.
#include "proxy/pool/member_pool.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <ostream>

#include "protocol/message.hpp"
#include "protocol/request.hpp"
#include "proxy/pool/to_open.hpp"
#include "tests/proxy/pool_world.hpp"
#include "tests/support/files.hpp"

namespace holdfast::proxy {
namespace {

using namespace std::chrono_literals;
using State = ServerLink::State;

TEST(ToOpen, one_for_each_waiter_that_no_connection_is_on_its_way_for) {
  EXPECT_EQ(to_open({.waiters = 0}), 0U);
  EXPECT_EQ(to_open({.waiters = 3}), 3U);
  EXPECT_EQ(to_open({.waiters = 3, .connecting = 1}), 2U);
  EXPECT_EQ(to_open({.waiters = 3, .connecting = 5}), 0U);
}

TEST(ToOpen, a_fresh_pool_does_not_storm_its_server) {
  EXPECT_EQ(to_open({.waiters = 1000}), most_connecting);
  EXPECT_EQ(to_open({.waiters = 1000, .connecting = most_connecting}), 0U);
}

TEST(ToOpen, none_while_backing_off_or_without_an_address) {
  EXPECT_EQ(to_open({.waiters = 3, .backing_off = true}), 0U);
  EXPECT_EQ(to_open({.waiters = 3, .reachable = false}), 0U);
}

class MemberPoolTest : public PoolWorld {
 protected:
  std::unique_ptr<Waiter> waiting() {
    auto waiter = std::make_unique<Waiter>(reactor, counters, pool(), Waiter::Kind::write,
                                           Waiter::Limits{.wait = 10s, .hold = 10s});
    member().wait(*waiter);
    return waiter;
  }
};

TEST_F(MemberPoolTest, the_server_used_last_is_leased_first) {
  auto& first = idle_server();
  auto& second = idle_server();
  auto lease = member().lease_now();
  EXPECT_EQ(&*lease, &second);
  auto other = member().lease_now();
  EXPECT_EQ(&*other, &first);
  EXPECT_FALSE(member().lease_now());
}

TEST_F(MemberPoolTest, a_clean_server_is_idle_again_when_its_lease_is_dropped) {
  auto& server = idle_server();
  auto lease = member().lease_now();
  EXPECT_EQ(server.state(), State::leased);
  lease = ServerLease();
  EXPECT_EQ(server.state(), State::idle);
}

TEST_F(MemberPoolTest, a_dirty_server_is_cleaned_before_anybody_gets_it) {
  auto& server = idle_server();
  auto lease = member().lease_now();
  server.session.soil(protocol::sql::Effect::set);
  lease = ServerLease();
  EXPECT_EQ(server.state(), State::cleaning);
  EXPECT_FALSE(member().lease_now());
}

// The catalogue is asked on a server whose connection ends: that is no answer, and is counted as none.
TEST_F(MemberPoolTest, an_audit_that_is_lost_with_its_server_has_failed) {
  for (const bool shutdown : {false, true}) {
    auto& server = idle_server();
    auto lease = member().lease_now();
    server.session.serves(1);
    server.session.runs({.access = protocol::sql::Access::write});
    lease = ServerLease();
    EXPECT_EQ(server.state(), State::cleaning) << "it is asked";
    stopping = shutdown;
    member().gone(server);
    EXPECT_EQ(counters.catalogue_audits_failed.value(), 1U) << "at the end of the process nothing has failed";
  }
}

// The backend waits for the rest of the message, and would take a stranger's bytes for it.
TEST_F(MemberPoolTest, a_server_that_lacks_a_part_of_a_message_is_closed) {
  auto& server = idle_server();
  auto lease = member().lease_now();
  server.session.owes(700'000);
  lease = ServerLease();
  EXPECT_EQ(server.state(), State::closed);
  EXPECT_FALSE(server.link.open());
}

TEST_F(MemberPoolTest, a_server_of_an_older_generation_is_closed_when_it_comes_back) {
  auto& server = idle_server();
  auto lease = member().lease_now();
  auto restarted = std::make_shared<health::Topology>(*with_primary());
  restarted->members[0].generation = 7;
  publish(restarted);
  EXPECT_FALSE(server.link.open());
  lease = ServerLease();
  EXPECT_FALSE(member().lease_now());
}

TEST_F(MemberPoolTest, a_connect_that_fails_at_once_is_tried_again_after_a_pause_and_not_before) {
  std::vector<std::unique_ptr<Waiter>> waiters;
  for (int i = 0; i < 8; ++i) waiters.push_back(waiting());
  EXPECT_EQ(counters.servers_failed.value(), 1U);
  EXPECT_EQ(permits().used(), 0U);
  advance(40ms);
  EXPECT_EQ(counters.servers_failed.value(), 2U);
  for (const auto& waiter : waiters) EXPECT_EQ(waiter->state(), Waiter::State::in_line);
}

TEST_F(MemberPoolTest, the_pause_grows_up_to_a_second) {
  auto waiter = waiting();
  for (int i = 0; i < 400; ++i) advance(25ms);
  EXPECT_GT(counters.servers_failed.value(), 10U);
  EXPECT_LT(counters.servers_failed.value(), 20U);
}

TEST_F(MemberPoolTest, a_permit_comes_back_with_its_connection) {
  auto& server = idle_server();
  EXPECT_EQ(permits().used(), 1U);
  member().gone(server);
  EXPECT_EQ(permits().used(), 0U);
}

TEST_F(MemberPoolTest, beyond_a_lower_limit_a_returned_server_is_closed) {
  idle_server();
  auto& second = idle_server();
  auto lease = member().lease_now();
  permits().set_limit(1);
  lease = ServerLease();
  EXPECT_EQ(second.state(), State::closed);
}

// ---- cleaning: a server whose client left in the middle of something ------------------------------------------------

namespace client_tag = protocol::client;
namespace server_tag = protocol::server;

// What is in flight when the client leaves: messages of its own and answers to them, in order.
struct InFlight {
  friend void PrintTo(const InFlight& what, std::ostream* out) { *out << what.name; }
  const char* name;
  std::string sent;
  std::string answered;
};

class Abandoned : public MemberPoolTest, public ::testing::WithParamInterface<InFlight> {
 protected:
  // A cleaning that never ends would hold up its worker, and this program, for good: SIGALRM ends it instead.
  Abandoned() { ::alarm(60); }
  ~Abandoned() override { ::alarm(0); }

  static void begin(ServerLink& server) {
    auto& exchange = server.session.exchange;
    for (const char tag : GetParam().sent) static_cast<void>(exchange.sent({.tag = tag}));
    for (const char tag : GetParam().answered) static_cast<void>(exchange.received(tag, {}));
  }
};

// The socket is dead, and its reader has not heard of it yet: what cleaning sends is lost, and it asks for no more.
TEST_P(Abandoned, on_a_dead_socket_is_closed_and_not_cleaned_for_ever) {
  for (const bool cancelable : {false, true}) {
    auto& server = idle_server();
    if (cancelable) {
      server.pid = 4711;
      server.secret.resize(4);
    }
    auto lease = member().lease_now();
    begin(server);
    ASSERT_TRUE(server.link.open());
    break_socket(server);
    lease = ServerLease();
    EXPECT_FALSE(member().lease_now()) << "nobody may get it";
    if (!GetParam().answered.empty()) {  // there is something to be said to the server
      EXPECT_EQ(server.state(), State::closed);
      EXPECT_FALSE(server.link.open());
    }
    member().gone(server);
    EXPECT_EQ(permits().used(), 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, Abandoned,
    ::testing::Values(InFlight{"in_a_query", {client_tag::query}, {}},
                      InFlight{"in_a_copy", {client_tag::query}, {server_tag::copy_in_response}},
                      InFlight{"in_a_flushed_batch",
                               {client_tag::parse, client_tag::bind, client_tag::execute, client_tag::flush},
                               {server_tag::parse_complete, server_tag::bind_complete, server_tag::command_complete}},
                      InFlight{"in_a_batch_that_runs",
                               {client_tag::parse, client_tag::bind, client_tag::execute, client_tag::flush},
                               {server_tag::parse_complete, server_tag::bind_complete}}),
    [](const auto& what) { return std::string(what.param.name); });

// A member that takes connections and says nothing: where cancel requests go.
class SilentMember {
 public:
  explicit SilentMember(const std::string& folder)
      : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const auto path = folder + "/.s.PGSQL.1";
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::listen(fd_, 8), 0);
  }
  SilentMember(const SilentMember&) = delete;
  SilentMember& operator=(const SilentMember&) = delete;
  ~SilentMember() { ::close(fd_); }
  // Somebody has connected since the last call.
  [[nodiscard]] bool called() const {
    const int caller = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
    if (caller >= 0) ::close(caller);
    return caller >= 0;
  }

 private:
  int fd_;
};

// Some poolers give no BackendKeyData: the statement can't be cancelled, so its answer is waited for.
TEST_F(MemberPoolTest, a_server_without_a_cancel_key_is_drained_without_a_cancel_request) {
  ::alarm(60);  // against a cleaning that asks for the impossible again and again
  const testing::TempDir folder;
  const SilentMember silent(folder.path().string());
  auto reachable = std::make_shared<health::Topology>(*with_primary());
  for (auto& status : reachable->members) status.address = folder.path().string();
  publish(reachable);
  auto& server = idle_server();
  auto lease = member().lease_now();
  static_cast<void>(server.session.exchange.sent({.tag = client_tag::query}));
  lease = ServerLease();
  EXPECT_EQ(server.state(), State::cleaning);
  EXPECT_FALSE(server.being_canceled());
  static_cast<void>(member().sweep(reactor.now(), 10s));  // repeats cancel requests
  EXPECT_FALSE(server.being_canceled());
  EXPECT_FALSE(silent.called());
  EXPECT_FALSE(member().lease_now());
  const std::byte idle{'I'};
  static_cast<void>(server.session.exchange.received(server_tag::command_complete, {}));
  static_cast<void>(server.session.exchange.received(server_tag::ready_for_query, {&idle, 1}));
  member().clean(server);
  EXPECT_EQ(server.state(), State::idle);
  EXPECT_TRUE(member().lease_now());
  ::alarm(0);
}

// What its server still owes may never come: others wait for its place.
TEST_F(MemberPoolTest, a_server_that_is_not_clean_in_time_is_closed) {
  auto& server = idle_server();
  auto lease = member().lease_now();
  static_cast<void>(server.session.exchange.sent({.tag = client_tag::query}));
  lease = ServerLease();
  ASSERT_EQ(server.state(), State::cleaning);
  static_cast<void>(member().sweep(reactor.now() + 29s, 60s));
  EXPECT_TRUE(server.link.open());
  static_cast<void>(member().sweep(reactor.now() + 31s, 60s));
  EXPECT_FALSE(server.link.open());
  EXPECT_FALSE(member().lease_now());
}

// ---- the process stops ----------------------------------------------------------------------------------------------

// Who waits in line has work to finish. A connection closed under it would be opened anew, and closed again.
TEST_F(MemberPoolTest, while_the_process_stops_a_returned_server_still_goes_to_who_waits) {
  auto& server = idle_server();
  auto lease = member().lease_now();
  auto waiter = waiting();
  stopping = true;
  lease = ServerLease();
  EXPECT_TRUE(server.link.open());
  ASSERT_EQ(waiter->state(), Waiter::State::ended);
  auto outcome = waiter->ended().await_resume();
  ASSERT_TRUE(std::holds_alternative<ServerLease>(outcome));
  EXPECT_EQ(&*std::get<ServerLease>(outcome), &server);
}

TEST_F(MemberPoolTest, while_the_process_stops_a_cleaned_server_still_goes_to_who_waits) {
  auto& server = idle_server();
  auto lease = member().lease_now();
  static_cast<void>(server.session.exchange.sent({.tag = client_tag::query}));
  auto waiter = waiting();
  stopping = true;
  lease = ServerLease();
  ASSERT_EQ(server.state(), State::cleaning);
  const std::byte idle{'I'};
  static_cast<void>(server.session.exchange.received(server_tag::command_complete, {}));
  static_cast<void>(server.session.exchange.received(server_tag::ready_for_query, {&idle, 1}));
  member().clean(server);
  EXPECT_EQ(server.state(), State::leased);
  EXPECT_EQ(waiter->state(), Waiter::State::ended);
}

TEST_F(MemberPoolTest, while_the_process_stops_a_returned_server_that_nobody_waits_for_is_closed) {
  auto& server = idle_server();
  auto lease = member().lease_now();
  stopping = true;
  lease = ServerLease();
  EXPECT_EQ(server.state(), State::closed);
  EXPECT_FALSE(server.link.open());
  EXPECT_FALSE(member().lease_now());
}

}  // namespace
}  // namespace holdfast::proxy
