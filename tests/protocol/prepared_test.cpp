// Prepared: what goes to servers for what clients say.
#include "protocol/prepared.hpp"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "protocol/message.hpp"
#include "tests/protocol/prepared_model.hpp"

namespace holdfast::protocol {
namespace {

using Kind = StatementPlan::Kind;
using Fault = StatementMessage::Fault;

std::vector<std::byte> parse(std::string_view name, std::string_view text, std::vector<std::uint32_t> types = {}) {
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  writer.begin(client::parse).text(name).text(text).u16(static_cast<std::uint16_t>(types.size()));
  for (const auto type : types) writer.u32(type);
  writer.end();
  return bytes;
}
std::vector<std::byte> bind_of(std::string_view name) {
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  writer.begin(client::bind).text("portal").text(name).u16(0).u16(1).u32(3).bytes(as_bytes("abc")).u16(0);
  writer.end();
  return bytes;
}
std::vector<std::byte> about(char tag, char kind, std::string_view name) {
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  writer.begin(tag).letter(kind).text(name);
  writer.end();
  return bytes;
}
std::vector<std::byte> query(std::string_view text) {
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  writer.begin(client::query).text(text);
  writer.end();
  return bytes;
}
std::vector<std::byte> sync() {
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  writer.begin(client::sync);
  writer.end();
  return bytes;
}

std::string text_of(Bytes bytes) {
  return std::string(as_text(bytes));
}
std::vector<std::byte> operator+(std::vector<std::byte> a, const std::vector<std::byte>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Sent {
  StatementMessage message;
  StatementPlan plan;
  std::vector<std::byte> bytes;
  Error error;
};

class PreparedTest : public ::testing::Test {
 protected:
  PreparedTest() {
    one.begin_link(now);
    two.begin_link(now);
  }
  // `seen`: only so many bytes have come when the proxy looks; of a long message it sees its head then.
  Sent send(ClientStatements& names, ServerStatements& server, const std::vector<std::byte>& bytes,
            std::size_t seen = std::string::npos) {
    Framer framer(Direction::from_client,
                  seen < bytes.size() ? Framer::Limits{.whole_limit = 64, .head_limit = 32} : Framer::Limits{});
    const Frame frame = framer.next(Bytes(bytes).first(std::min(seen, bytes.size())));
    Sent sent;
    sent.message = prepared.understand(frame, names);
    if (sent.message.fault == Fault::wait) return sent;
    sent.plan = prepared.prepare(sent.message, frame, names, server, sent.bytes);
    sent.error = error_of(sent.message, frame.bytes);
    if (sent.plan.kind == Kind::forward) {
      const auto rest = Bytes(bytes).subspan(sent.plan.replaced);
      sent.bytes.insert(sent.bytes.end(), rest.begin(), rest.end());
    }
    return sent;
  }
  void settle(ClientStatements& names, ServerStatements& server, const Sent& sent, Outcome outcome) {
    for (const auto& injected : sent.plan.messages()) {
      names.settle(injected.cookie, outcome);
      server.settle(injected.cookie, outcome);
    }
    names.settle(sent.message.cookie, outcome);
    server.settle(sent.message.cookie, outcome);
  }
  // Says it and lets it complete.
  Sent done(ClientStatements& names, ServerStatements& server, const std::vector<std::byte>& bytes) {
    Sent sent = send(names, server, bytes);
    settle(names, server, sent, Outcome::completed);
    return sent;
  }

  PendingPool pool;
  Vintage now{.schema = 1};
  StatementTable table;
  Prepared prepared{table};
  ServerStatements one{pool, 3};
  ServerStatements two{pool, 3};
  ClientStatements alice{pool};
  ClientStatements bob{pool};
};

TEST_F(PreparedTest, named_statement_is_renamed_on_the_server) {
  const auto sent = done(alice, one, parse("mine", "SELECT $1", {23}));
  EXPECT_EQ(sent.plan.kind, Kind::forward);
  EXPECT_EQ(text_of(sent.bytes), text_of(parse("hf_1", "SELECT $1", {23})));
  EXPECT_EQ(text_of(done(alice, one, bind_of("mine")).bytes), text_of(bind_of("hf_1")));
  EXPECT_EQ(text_of(done(alice, one, about(client::describe, 'S', "mine")).bytes),
            text_of(about(client::describe, 'S', "hf_1")));
}

TEST_F(PreparedTest, statement_that_the_server_has_is_answered_here) {
  done(alice, one, parse("mine", "SELECT 1"));
  const auto sent = done(bob, one, parse("other", "SELECT 1"));
  EXPECT_EQ(sent.plan.kind, Kind::answer);
  EXPECT_EQ(sent.plan.answer_tag, server::parse_complete);
  EXPECT_TRUE(sent.bytes.empty());
  EXPECT_EQ(text_of(done(bob, one, bind_of("other")).bytes), text_of(bind_of("hf_1")));
}

TEST_F(PreparedTest, parameter_types_make_another_statement) {
  done(alice, one, parse("a", "SELECT $1", {23}));
  EXPECT_EQ(done(bob, one, parse("a", "SELECT $1", {25})).plan.kind, Kind::forward);
  EXPECT_EQ(table.size(), 2U);
}

TEST_F(PreparedTest, statement_that_the_server_lacks_is_parsed_in_the_same_write) {
  done(alice, one, parse("mine", "SELECT 1"));
  const auto sent = done(alice, two, bind_of("mine"));
  ASSERT_EQ(sent.plan.messages().size(), 1U);
  EXPECT_EQ(sent.plan.messages()[0].tag, client::parse);
  EXPECT_EQ(text_of(sent.bytes), text_of(parse("hf_1", "SELECT 1") + bind_of("hf_1")));
  EXPECT_TRUE(done(alice, two, bind_of("mine")).plan.messages().empty());
}

TEST_F(PreparedTest, unnamed_statement_follows_its_client_to_another_server) {
  // lib/pq: Parse Describe Sync, then Bind Execute Sync.
  EXPECT_EQ(text_of(done(alice, one, parse("", "SELECT 1")).bytes), text_of(parse("", "SELECT 1")));
  done(alice, one, about(client::describe, 'S', ""));
  done(alice, one, sync());
  EXPECT_EQ(text_of(done(alice, two, bind_of("")).bytes), text_of(parse("", "SELECT 1") + bind_of("")));
}

TEST_F(PreparedTest, unnamed_statement_of_another_client_is_never_bound) {
  done(alice, one, parse("", "SELECT 'alice'"));
  done(bob, one, parse("", "SELECT 'bob'"));
  EXPECT_EQ(text_of(done(alice, one, bind_of("")).bytes), text_of(parse("", "SELECT 'alice'") + bind_of("")));
  EXPECT_EQ(text_of(done(alice, one, bind_of("")).bytes), text_of(bind_of("")));
}

TEST_F(PreparedTest, query_destroys_the_unnamed_statement) {
  done(alice, one, parse("", "SELECT 1"));
  done(alice, one, query("SELECT 2"));
  const auto sent = send(alice, one, bind_of(""));
  EXPECT_EQ(sent.plan.kind, Kind::fail);
  EXPECT_EQ(sent.error.state, sqlstate::invalid_sql_statement_name);
  EXPECT_EQ(sent.error.message, "unnamed prepared statement does not exist");
}

TEST_F(PreparedTest, query_of_another_client_does_not) {
  done(alice, one, parse("", "SELECT 1"));
  done(bob, one, query("SELECT 2"));
  EXPECT_EQ(text_of(done(alice, one, bind_of("")).bytes), text_of(parse("", "SELECT 1") + bind_of("")));
}

// What else is wrong with its text comes first: the server says whether anything is.
TEST_F(PreparedTest, repeated_name_is_42P05) {
  done(alice, one, parse("a", "SELECT 1"));
  auto sent = send(alice, one, parse("a", "SELECT 2"));
  EXPECT_EQ(sent.plan.kind, Kind::fail);
  EXPECT_EQ(sent.error.state, sqlstate::duplicate_prepared_statement);
  EXPECT_EQ(sent.error.message, "prepared statement \"a\" already exists");
  ASSERT_EQ(sent.plan.messages().size(), 1U);
  EXPECT_EQ(text_of(sent.bytes), text_of(parse("hf_2", "SELECT 2") + about(client::describe, 'S', "hf_0")));
  settle(alice, one, sent, Outcome::completed);
  EXPECT_EQ(one.size(), 2U) << "its text may come again under another name";
  EXPECT_EQ(text_of(done(alice, one, bind_of("a")).bytes), text_of(bind_of("hf_1")));
}

// The taken name's own text: today's catalogue may refuse it, and a failed block refuses any.
TEST_F(PreparedTest, repeated_name_and_text_are_parsed_anew) {
  done(alice, one, parse("a", "SELECT 1"));
  done(alice, one, sync());
  const auto sent = send(alice, one, parse("a", "SELECT 1"));
  EXPECT_EQ(sent.plan.kind, Kind::fail);
  EXPECT_EQ(text_of(sent.bytes), text_of(about(client::close, 'S', "hf_1") + parse("hf_1", "SELECT 1") +
                                         about(client::describe, 'S', "hf_0")));
  // The Parse fails; the name stays, and its statement is parsed where it is bound.
  settle(alice, one, sent, Outcome::failed);
  done(alice, one, sync());
  const auto bytes = text_of(done(alice, one, bind_of("a")).bytes);
  EXPECT_TRUE(bytes.ends_with(text_of(parse("hf_1", "SELECT 1") + bind_of("hf_1")))) << bytes;
}

TEST_F(PreparedTest, repeated_name_of_a_text_that_is_not_kept) {
  done(alice, one, parse("a", "SELECT 1"));
  const std::string text = "SELECT '" + std::string(StatementTable::longest_kept, 'x') + "'";
  EXPECT_EQ(text_of(send(alice, one, parse("a", text)).bytes),
            text_of(parse("hf_2", text) + about(client::describe, 'S', "hf_0")));
  done(alice, one, sync());
  EXPECT_EQ(text_of(send(alice, one, parse("a", std::string(1000, 'x')), 100).bytes).substr(0, 14),
            text_of(about(client::describe, 'S', "hf_0")).substr(0, 14))
      << "of a message that isn't whole only the name is known";
}

TEST_F(PreparedTest, unknown_name_is_26000) {
  const auto sent = send(alice, one, bind_of("nobody"));
  EXPECT_EQ(sent.plan.kind, Kind::fail);
  EXPECT_EQ(sent.error.state, sqlstate::invalid_sql_statement_name);
  EXPECT_EQ(sent.error.message, "prepared statement \"nobody\" does not exist");
  EXPECT_EQ(send(alice, one, about(client::describe, 'S', "")).error.message,
            "unnamed prepared statement does not exist");
}

TEST_F(PreparedTest, client_name_like_ours_is_only_a_name) {
  done(alice, one, parse("a", "SELECT 1"));
  EXPECT_EQ(send(bob, one, bind_of("hf_1")).plan.kind, Kind::fail);
  EXPECT_EQ(text_of(done(bob, one, parse("hf_1", "SELECT 2")).bytes), text_of(parse("hf_2", "SELECT 2")));
  EXPECT_EQ(text_of(done(bob, one, bind_of("hf_1")).bytes), text_of(bind_of("hf_2")));
}

TEST_F(PreparedTest, close_frees_the_name_and_keeps_the_statement_for_others) {
  done(alice, one, parse("a", "SELECT 1"));
  done(bob, one, parse("b", "SELECT 1"));
  const auto sent = done(alice, one, about(client::close, 'S', "a"));
  EXPECT_EQ(sent.plan.kind, Kind::answer);
  EXPECT_EQ(sent.plan.answer_tag, server::close_complete);
  EXPECT_EQ(send(alice, one, bind_of("a")).plan.kind, Kind::fail);
  EXPECT_EQ(text_of(done(bob, one, bind_of("b")).bytes), text_of(bind_of("hf_1")));
  EXPECT_EQ(done(alice, one, about(client::close, 'S', "nobody")).plan.kind, Kind::answer);
  EXPECT_EQ(done(alice, one, parse("a", "SELECT 3")).message.fault, Fault::none);
}

TEST_F(PreparedTest, portals_pass_as_they_are) {
  for (const char tag : {client::describe, client::close}) {
    const auto sent = send(alice, one, about(tag, 'P', "a"));
    EXPECT_EQ(sent.plan.kind, Kind::forward);
    EXPECT_EQ(sent.plan.replaced, 0U);
    EXPECT_EQ(text_of(sent.bytes), text_of(about(tag, 'P', "a")));
  }
}

TEST_F(PreparedTest, failed_parse_leaves_no_name) {
  settle(alice, one, send(alice, one, parse("a", "SELEC 1")), Outcome::failed);
  EXPECT_EQ(alice.size(), 0U);
  EXPECT_EQ(one.size(), 0U);
  EXPECT_EQ(table.size(), 0U);
  EXPECT_EQ(done(alice, one, parse("a", "SELECT 1")).message.fault, Fault::none);
}

TEST_F(PreparedTest, failed_unnamed_parse_destroys_the_one_before_and_a_skipped_one_does_not) {
  done(alice, one, parse("", "SELECT 1"));
  settle(alice, one, send(alice, one, parse("", "SELECT 2")), Outcome::skipped);
  EXPECT_EQ(text_of(done(alice, one, bind_of("")).bytes), text_of(parse("", "SELECT 1") + bind_of("")));
  settle(alice, one, send(alice, one, parse("", "SELEC 3")), Outcome::failed);
  EXPECT_EQ(send(alice, one, bind_of("")).plan.kind, Kind::fail);
}

TEST_F(PreparedTest, name_in_flight_of_an_earlier_batch_is_waited_for) {
  const auto first = send(alice, one, parse("a", "SELECT 1"));
  EXPECT_EQ(send(alice, one, bind_of("a")).message.fault, Fault::none) << "the same batch: skipped together";
  send(alice, one, sync());
  EXPECT_EQ(send(alice, one, bind_of("a")).message.fault, Fault::wait);
  EXPECT_EQ(send(alice, one, parse("a", "SELECT 2")).message.fault, Fault::wait);
  settle(alice, one, first, Outcome::completed);
  EXPECT_EQ(send(alice, one, bind_of("a")).message.fault, Fault::none);
}

TEST_F(PreparedTest, lru_closes_the_oldest_in_the_same_write) {
  for (const char* name : {"a", "b", "c"}) {
    done(alice, one, parse(name, std::string("SELECT '") + name + "'"));
    done(alice, one, sync());
  }
  done(alice, one, bind_of("a"));
  done(alice, one, sync());
  const auto sent = done(alice, one, parse("d", "SELECT 4"));
  EXPECT_EQ(text_of(sent.bytes), text_of(about(client::close, 'S', "hf_2") + parse("hf_4", "SELECT 4")));
  EXPECT_EQ(one.size(), 3U);
  done(alice, one, sync());
  EXPECT_EQ(text_of(done(alice, one, bind_of("b")).bytes),
            text_of(about(client::close, 'S', "hf_3") + parse("hf_2", "SELECT 'b'") + bind_of("hf_2")));
}

TEST_F(PreparedTest, lru_spares_what_the_batch_uses_and_shrinks_afterwards) {
  for (int i = 0; i < 6; ++i) {
    const std::string name = "n" + std::to_string(i);
    EXPECT_TRUE(done(alice, one, parse(name, "SELECT " + name)).plan.messages().empty());
    done(alice, one, bind_of(name));
  }
  EXPECT_EQ(one.size(), 6U);
  for (int i = 6; i < 12; ++i) {
    done(alice, one, sync());
    done(alice, one, parse("n" + std::to_string(i), "SELECT " + std::to_string(i)));
  }
  EXPECT_EQ(one.size(), 3U);
}

TEST_F(PreparedTest, lru_spares_what_is_in_flight) {
  std::vector<Sent> in_flight;
  for (int i = 0; i < 5; ++i) {
    in_flight.push_back(send(alice, one, parse("n" + std::to_string(i), "SELECT " + std::to_string(i))));
    send(alice, one, sync());
    EXPECT_TRUE(in_flight.back().plan.messages().empty());
  }
  for (const auto& sent : in_flight) settle(alice, one, sent, Outcome::completed);
  EXPECT_EQ(send(alice, one, parse("z", "SELECT 9")).plan.messages().size(), 3U);
}

TEST_F(PreparedTest, names_that_never_repeat_stay_within_the_limit) {
  for (int i = 0; i < 10000; ++i) {
    const std::string name = "s" + std::to_string(i);
    done(alice, one, parse(name, "SELECT " + std::to_string(i)));
    done(alice, one, bind_of(name));
    done(alice, one, about(client::close, 'S', name));
    done(alice, one, sync());
  }
  EXPECT_EQ(alice.size(), 0U);
  EXPECT_EQ(one.size(), 3U);
  EXPECT_EQ(table.size(), 3U);
  EXPECT_EQ(pool.in_use(), 0U);
  one.clear();
  EXPECT_EQ(table.size(), 0U);
  EXPECT_LE(table.idle(), StatementTable::idle_kept);
}

TEST_F(PreparedTest, texts_that_fail_leave_nothing_on_the_list) {
  for (int i = 0; i < 100; ++i) {
    settle(alice, one, send(alice, one, parse("s", "SELEC " + std::to_string(i))), Outcome::failed);
    send(alice, one, sync());
  }
  EXPECT_EQ(one.size(), 0U);
  EXPECT_EQ(table.size(), 0U);
}

TEST_F(PreparedTest, client_has_a_limit_of_names) {
  ClientStatements few(pool, {.names = 2});
  done(few, one, parse("a", "SELECT 1"));
  done(few, one, parse("b", "SELECT 1"));
  const auto sent = send(few, one, parse("c", "SELECT 1"));
  EXPECT_EQ(sent.plan.kind, Kind::fail);
  EXPECT_EQ(sent.error.state, sqlstate::program_limit_exceeded);
}

// The texts count, not only the names: and whatever ends a name, gives back what it took.
TEST_F(PreparedTest, client_has_a_limit_of_bytes) {
  const auto long_text = [](char c) { return "SELECT '" + std::string(1000, c) + "'"; };
  ClientStatements few(pool, {.bytes = 4000});
  done(few, one, parse("a", long_text('a')));
  done(few, one, parse("b", long_text('a')));
  const auto taken = few.bytes();
  EXPECT_GT(taken, 2000U) << "a text counts for each name";
  done(few, one, parse("c", long_text('c')));
  auto sent = send(few, one, parse("d", long_text('d')));
  EXPECT_EQ(sent.plan.kind, Kind::fail);
  EXPECT_EQ(sent.error.state, sqlstate::program_limit_exceeded);
  done(few, one, sync());
  // A long name is memory, too.
  sent = send(few, one, parse(std::string(4000, 'n'), "SELECT 1"));
  EXPECT_EQ(sent.error.state, sqlstate::program_limit_exceeded);
  done(few, one, sync());
  // Unnamed ones are replaced.
  for (int i = 0; i < 10; ++i) done(few, one, parse("", long_text('u')));
  done(few, one, about(client::close, 'S', "c"));
  EXPECT_EQ(few.bytes(), taken);
  settle(few, one, send(few, one, parse("d", long_text('d'))), Outcome::failed);
  done(few, one, sync());
  EXPECT_EQ(few.bytes(), taken);
  settle(few, one, send(few, one, about(client::close, 'S', "a")), Outcome::skipped);
  done(few, one, sync());
  EXPECT_EQ(few.bytes(), taken);
  done(few, one, parse("d", long_text('d')));
  few.deallocate_all();
  EXPECT_EQ(few.bytes(), 0U);
  EXPECT_EQ(few.size(), 0U);
}

TEST_F(PreparedTest, servers_list_has_a_limit_of_bytes) {
  ServerStatements server(pool, 500);
  const std::string text(ServerStatements::most_bytes / 8, 'x');
  for (int i = 0; i < 100; ++i) {
    done(alice, server, parse("s", "SELECT '" + std::to_string(i) + text + "'"));
    done(alice, server, sync());
    done(alice, server, about(client::close, 'S', "s"));
    done(alice, server, sync());
    EXPECT_LE(server.bytes(), ServerStatements::most_bytes + 2 * text.size());
  }
  EXPECT_LE(table.bytes(), StatementTable::idle_bytes_kept + 10'000) << "their client has closed them";
  server.clear();
  EXPECT_EQ(server.bytes(), 0U);
}

// What a client that has gone had sent must not stay for as long as a server lives.
TEST_F(PreparedTest, long_texts_are_their_clients_and_no_servers) {
  const std::string text = "SELECT '" + std::string(ServerStatements::longest_text, 'x') + "'";
  const auto sent = done(alice, one, parse("a", text));
  const auto id = sent.message.statement->id();
  const auto of_text = sent.message.statement->bytes();
  EXPECT_EQ(done(bob, one, parse("b", text)).plan.kind, Kind::answer) << "another client finds it parsed";
  EXPECT_EQ(text_of(done(bob, one, bind_of("b")).bytes), text_of(bind_of("hf_1")));
  // A Parse that is too old is sent again, and counts from then on.
  now.at += 2 * Vintage::trusted;
  EXPECT_EQ(text_of(done(bob, one, parse("c", text)).bytes),
            text_of(about(client::close, 'S', "hf_1") + parse("hf_1", text)));
  EXPECT_TRUE(sent.message.statement->confirmed(now));
  EXPECT_EQ(done(alice, one, parse("d", text)).plan.kind, Kind::answer);
  EXPECT_EQ(one.bytes(), of_text) << "the server has it";
  // It parses what is stale, whoever asks.
  one.doubt_all();
  EXPECT_EQ(text_of(done(alice, one, bind_of("d")).bytes),
            text_of(about(client::close, 'S', "hf_1") + parse("hf_1", text) + bind_of("hf_1")));
  EXPECT_EQ(one.use(*sent.message.statement), ServerStatements::Presence::known);
  EXPECT_EQ(sent.message.statement->id(), id);
}

TEST_F(PreparedTest, long_texts_go_with_their_clients) {
  ServerStatements server(pool, 500);
  const std::string text(900'000, 'x');
  for (int i = 0; i < 4; ++i) {
    const auto name = std::to_string(i);
    done(alice, server, parse(name, "SELECT '" + name + text + "'"));
    done(alice, server, sync());
  }
  EXPECT_GT(table.bytes(), 4 * text.size());
  for (int i = 0; i < 4; ++i) done(alice, server, about(client::close, 'S', std::to_string(i)));
  EXPECT_LE(table.bytes(), StatementTable::idle_bytes_kept + 10'000);
  EXPECT_GT(server.bytes(), 4 * text.size()) << "the server still has them: they are evicted as any other";
  for (int i = 0; i < 4; ++i) {
    done(alice, server, parse("s", "SELECT '" + std::to_string(i) + text + "'"));
    done(alice, server, sync());
    done(alice, server, about(client::close, 'S', "s"));
    EXPECT_LE(server.bytes(), ServerStatements::most_bytes + 2 * text.size());
  }
  server.clear();
  EXPECT_EQ(server.bytes(), 0U);
}

// Then clients go on with what is kept and with what is short; a long text stays where it was parsed.
TEST_F(PreparedTest, table_that_is_full_keeps_no_long_texts) {
  const std::string text = "SELECT '" + std::string(50'000, 'x') + "'";
  done(alice, one, parse("known", text));
  table.set_most_bytes(table.bytes());
  EXPECT_FALSE(done(bob, one, parse("known", text)).message.statement->opaque()) << "it takes no memory";
  EXPECT_TRUE(done(bob, one, parse("", text + " ")).message.statement->opaque());
  EXPECT_FALSE(done(bob, one, parse("", "SELECT 1")).message.statement->opaque());
  const auto refused = send(bob, one, parse("second", text));
  EXPECT_EQ(refused.error.state, sqlstate::program_limit_exceeded) << "a client with much may name no more";
  done(bob, one, sync());
  done(alice, one, about(client::close, 'S', "known"));
}

TEST_F(PreparedTest, text_over_a_megabyte_is_not_kept) {
  const std::string text = "SELECT '" + std::string(StatementTable::longest_kept, 'x') + "'";
  EXPECT_TRUE(done(alice, one, parse("a", text)).message.statement->opaque());
  EXPECT_LT(table.bytes(), 10'000U);
}

TEST_F(PreparedTest, statement_with_an_outdated_plan_is_parsed_again_everywhere) {
  done(alice, one, parse("a", "SELECT * FROM t"));
  const auto bound = done(alice, one, bind_of("a"));
  done(alice, two, bind_of("a"));
  bound.message.statement->expire();
  const auto again = text_of(about(client::close, 'S', "hf_1") + parse("hf_1", "SELECT * FROM t") + bind_of("hf_1"));
  EXPECT_EQ(text_of(done(alice, one, bind_of("a")).bytes), again);
  EXPECT_EQ(text_of(done(alice, two, bind_of("a")).bytes), again);
  EXPECT_EQ(text_of(done(alice, two, bind_of("a")).bytes), text_of(bind_of("hf_1")));
}

TEST_F(PreparedTest, driver_that_deallocates_and_parses_again_meets_no_stale_plan) {
  done(alice, one, parse("a", "SELECT * FROM t"));
  done(alice, one, bind_of("a")).message.statement->expire();
  done(alice, one, about(client::close, 'S', "a"));
  EXPECT_EQ(text_of(done(alice, one, parse("a", "SELECT * FROM t")).bytes),
            text_of(about(client::close, 'S', "hf_1") + parse("hf_1", "SELECT * FROM t")));
}

TEST_F(PreparedTest, discard_all_puts_the_servers_list_in_doubt) {
  done(alice, one, parse("a", "SELECT 1"));
  one.doubt_all();
  alice.deallocate_all();
  EXPECT_EQ(send(alice, one, bind_of("a")).plan.kind, Kind::fail);
  EXPECT_EQ(text_of(done(bob, one, parse("b", "SELECT 1")).bytes),
            text_of(about(client::close, 'S', "hf_1") + parse("hf_1", "SELECT 1")));
}

// ---- whose Parse an answer may speak for

// The kind: a Parse reads names and literals by the session's settings and by today's catalogue. What somebody else's
// Parse made of the text may speak for it only if all of these are the same.
class MeaningTest : public PreparedTest {
 protected:
  // A Parse of this text is sent to the server, whatever is known.
  void expect_parsed(ClientStatements& names, const char* name, const char* sql) {
    const auto sent = done(names, one, parse(name, sql));
    EXPECT_EQ(sent.plan.kind, Kind::forward) << sql;
    EXPECT_NE(text_of(sent.bytes).find(sql), std::string::npos) << sql;
  }
  void expect_answered(ClientStatements& names, const char* name, const char* sql) {
    EXPECT_EQ(done(names, one, parse(name, sql)).plan.kind, Kind::answer) << sql;
  }
};

TEST_F(MeaningTest, a_schema_that_changed_is_looked_at_again) {
  expect_parsed(alice, "a", "SELECT * FROM t");
  expect_answered(bob, "b", "SELECT * FROM t");
  ++now.schema;
  EXPECT_EQ(text_of(done(bob, one, parse("c", "SELECT * FROM t")).bytes),
            text_of(about(client::close, 'S', "hf_1") + parse("hf_1", "SELECT * FROM t")));
  expect_answered(alice, "d", "SELECT * FROM t");
}

TEST_F(MeaningTest, a_change_behind_our_back_is_noticed_in_time) {
  expect_parsed(alice, "a", "SELECT * FROM t");
  now.at += Vintage::trusted;
  expect_answered(bob, "b", "SELECT * FROM t");
  now.at += std::chrono::milliseconds(1);
  expect_parsed(bob, "c", "SELECT * FROM t");
  expect_answered(bob, "d", "SELECT * FROM t");
}

TEST_F(MeaningTest, a_bind_uses_what_its_server_has_whatever_its_age) {
  expect_parsed(alice, "a", "SELECT * FROM t");
  ++now.schema;
  EXPECT_EQ(text_of(done(alice, one, bind_of("a")).bytes), text_of(bind_of("hf_1")))
      << "PostgreSQL revalidates its plan by itself";
}

TEST_F(MeaningTest, each_scope_has_statements_of_its_own) {
  alice.set_scope({.meaning = table.scope_of("search_path a")});
  bob.set_scope({.meaning = table.scope_of("search_path b")});
  expect_parsed(alice, "s", "SELECT * FROM items");
  expect_parsed(bob, "s", "SELECT * FROM items");
  EXPECT_EQ(text_of(done(alice, one, bind_of("s")).bytes), text_of(bind_of("hf_1")));
  EXPECT_EQ(text_of(done(bob, one, bind_of("s")).bytes), text_of(bind_of("hf_2")));
  bob.set_scope({.meaning = table.scope_of("search_path a")});
  expect_answered(bob, "t", "SELECT * FROM items");
}

// The kind: a plan that PostgreSQL refused in one database makes every other one parse its statements again.
TEST_F(MeaningTest, plans_expire_by_database) {
  alice.set_scope({.meaning = table.scope_of("one"), .database = 1});
  bob.set_scope({.meaning = table.scope_of("two"), .database = 2});
  expect_parsed(alice, "s", "SELECT * FROM items");
  expect_parsed(bob, "s", "SELECT * FROM items");
  table.expire(1);
  EXPECT_NE(text_of(done(alice, one, bind_of("s")).bytes), text_of(bind_of("hf_1"))) << "closed and parsed in front";
  EXPECT_EQ(text_of(done(bob, one, bind_of("s")).bytes), text_of(bind_of("hf_2")));
}

// What is planned while the session has other settings has constants by these: '\\x41'::bytea::text by bytea_output.
TEST_F(MeaningTest, a_statement_that_was_used_under_other_settings_is_parsed_again_for_others) {
  expect_parsed(alice, "s", "SELECT 0.1::float8::text");
  one.begin_link(now);
  one.alter();
  EXPECT_EQ(text_of(done(alice, one, bind_of("s")).bytes), text_of(bind_of("hf_1")));
  EXPECT_EQ(text_of(done(alice, one, bind_of("s")).bytes), text_of(bind_of("hf_1"))) << "its own plan";
  one.begin_link(now);
  EXPECT_NE(text_of(done(alice, one, bind_of("s")).bytes), text_of(bind_of("hf_1")));
  one.begin_link(now);
  EXPECT_EQ(text_of(done(alice, one, bind_of("s")).bytes), text_of(bind_of("hf_1")));
}

TEST_F(MeaningTest, a_session_that_changed_its_settings_parses_for_itself_alone) {
  expect_parsed(alice, "before", "SELECT '01/02/2020'::date");
  alice.set_altered(true);
  one.alter();
  expect_parsed(alice, "after", "SELECT '01/02/2020'::date");
  EXPECT_EQ(text_of(done(alice, one, bind_of("before")).bytes), text_of(bind_of("hf_1")));
  EXPECT_EQ(text_of(done(alice, one, bind_of("after")).bytes), text_of(bind_of("hf_2")));
  // It lets its server go, and somebody who has changed nothing gets it.
  alice.set_altered(false);
  one.begin_link(now);
  expect_parsed(bob, "b", "SELECT '01/02/2020'::date");  // its plan may be alice's
  EXPECT_EQ(text_of(done(bob, one, bind_of("b")).bytes), text_of(bind_of("hf_1")));
  one.begin_link(now);
  expect_answered(bob, "c", "SELECT '01/02/2020'::date");
}

// A Bind puts the Parse of a known name in front; under SET LOCAL that is the session's own reading.
TEST_F(MeaningTest, what_an_altered_session_had_to_load_is_loaded_again_for_the_next_client) {
  done(alice, two, parse("a", "SELECT '01/02/2020'::date"));
  one.alter();
  EXPECT_EQ(text_of(done(alice, one, bind_of("a")).bytes),
            text_of(parse("hf_1", "SELECT '01/02/2020'::date") + bind_of("hf_1")));
  EXPECT_EQ(text_of(done(alice, one, bind_of("a")).bytes), text_of(bind_of("hf_1")));
  done(bob, two, parse("b", "SELECT '01/02/2020'::date"));
  one.begin_link(now);
  EXPECT_EQ(text_of(done(bob, one, bind_of("b")).bytes),
            text_of(about(client::close, 'S', "hf_1") + parse("hf_1", "SELECT '01/02/2020'::date") + bind_of("hf_1")));
  one.begin_link(now);
  EXPECT_EQ(text_of(done(bob, one, bind_of("b")).bytes), text_of(bind_of("hf_1")));
}

TEST_F(MeaningTest, an_unnamed_statement_of_an_altered_session_is_not_the_next_clients) {
  done(alice, two, parse("", "SELECT '01/02/2020'::date"));
  done(bob, two, parse("", "SELECT '01/02/2020'::date"));
  one.alter();
  done(alice, one, bind_of(""));  // loads it
  one.begin_link(now);
  EXPECT_EQ(text_of(done(bob, one, bind_of("")).bytes),
            text_of(parse("", "SELECT '01/02/2020'::date") + bind_of("")));
}

TEST_F(MeaningTest, a_literal_of_the_moment_is_each_parse_messages_own) {
  expect_parsed(alice, "a", "SELECT 'now'::timestamptz");
  expect_parsed(bob, "b", "SELECT 'now'::timestamptz");
  expect_parsed(alice, "c", "SELECT 'now'::timestamptz");
  EXPECT_EQ(text_of(done(alice, one, bind_of("a")).bytes), text_of(bind_of("hf_1")));
  EXPECT_EQ(text_of(done(bob, one, bind_of("b")).bytes), text_of(bind_of("hf_2")));
  EXPECT_EQ(table.idle(), 0U) << "it isn't kept for others";
}

TEST_F(MeaningTest, a_parse_without_a_server_is_as_fresh) {
  const auto text = std::string("SELECT 1") + std::string(3, '\0');
  const auto statement = [&] { return table.intern(as_bytes(text), 8); };
  EXPECT_FALSE(statement()->confirmed(now));
  done(alice, one, parse("a", "SELECT 1"));
  EXPECT_TRUE(statement()->confirmed(now));
  ++now.schema;
  EXPECT_FALSE(statement()->confirmed(now));
  done(alice, one, parse("b", "SELECT 1"));
  EXPECT_TRUE(statement()->confirmed(now));
  one.alter();
  ++now.schema;
  done(alice, one, parse("c", "SELECT 1"));
  EXPECT_FALSE(statement()->confirmed(now)) << "an altered session speaks for nobody";
}

TEST_F(PreparedTest, repeated_unnamed_texts_can_be_shared) {
  Prepared sharing(table, {.unnamed = UnnamedStatements::shared});
  const auto say = [&](ClientStatements& names, const std::vector<std::byte>& bytes) {
    Framer framer(Direction::from_client);
    const Frame frame = framer.next(bytes);
    Sent sent{.message = sharing.understand(frame, names)};
    sent.plan = sharing.prepare(sent.message, frame, names, one, sent.bytes);
    settle(names, one, sent, Outcome::completed);
    if (sent.plan.kind == Kind::answer) return std::string("answered");
    const auto rest = frame.bytes.subspan(sent.plan.replaced);
    sent.bytes.insert(sent.bytes.end(), rest.begin(), rest.end());
    return text_of(sent.bytes);
  };
  EXPECT_EQ(say(alice, parse("", "SELECT 1")), text_of(parse("", "SELECT 1")));
  EXPECT_EQ(say(alice, parse("", "SELECT 1")), text_of(parse("hf_1", "SELECT 1")));
  EXPECT_EQ(say(alice, bind_of("")), text_of(bind_of("hf_1")));
  EXPECT_EQ(say(bob, parse("", "SELECT 1")), "answered");
  EXPECT_EQ(say(bob, bind_of("")), text_of(bind_of("hf_1")));
  EXPECT_EQ(say(bob, query("SELECT 2")), text_of(query("SELECT 2")));
  EXPECT_EQ(say(bob, bind_of("")).substr(0, 11), "B" + std::string("\0\0\0\x10\0hf_0\0", 10));
}

TEST_F(PreparedTest, text_too_long_to_keep_works_where_it_was_parsed) {
  const auto bytes = parse("big", std::string(1000, 'x'));
  auto sent = send(alice, one, bytes, 100);
  EXPECT_TRUE(sent.message.statement->opaque());
  EXPECT_EQ(text_of(sent.bytes), text_of(parse("hf_1", std::string(1000, 'x'))));
  settle(alice, one, sent, Outcome::completed);
  EXPECT_EQ(text_of(done(alice, one, bind_of("big")).bytes), text_of(bind_of("hf_1")));
  sent = send(alice, two, bind_of("big"));
  EXPECT_EQ(sent.plan.kind, Kind::fail);
  EXPECT_EQ(sent.error.state, sqlstate::invalid_sql_statement_name);
}

TEST_F(PreparedTest, name_that_does_not_end_in_sight_is_refused) {
  const auto sent = send(alice, one, parse(std::string(1000, 'n'), "SELECT 1"), 100);
  EXPECT_EQ(sent.plan.kind, Kind::fail);
  EXPECT_EQ(sent.error.state, sqlstate::program_limit_exceeded);
  EXPECT_EQ(table.size(), 0U);
}

TEST_F(PreparedTest, long_bind_is_rewritten_by_its_head) {
  done(alice, one, parse("a", "SELECT $1"));
  std::vector<std::byte> bytes;
  Writer writer(bytes);
  writer.begin(client::bind).text("").text("a").u16(0).u16(1).u32(5000).bytes(as_bytes(std::string(5000, 'v'))).u16(0);
  writer.end();
  const auto out = send(alice, one, bytes, 40).bytes;
  EXPECT_EQ(load_be<std::uint32_t>(out.data() + 1) + 1, out.size());
  EXPECT_EQ(out.size(), bytes.size() + 3);
  Reader reader(Bytes(out).subspan(header_size));
  EXPECT_EQ(reader.text(), "");
  EXPECT_EQ(reader.text(), "hf_1");
}

TEST_F(PreparedTest, malformed_messages_fail_and_change_nothing) {
  auto cut = parse("a", "SELECT 1", {23});
  cut.pop_back();
  store_be(cut.data() + 1, static_cast<std::uint32_t>(cut.size() - 1));
  auto sent = send(alice, one, cut);
  EXPECT_EQ(sent.plan.kind, Kind::fail);
  EXPECT_EQ(sent.error.state, sqlstate::protocol_violation);
  EXPECT_EQ(alice.size(), 0U);
  std::vector<std::byte> unterminated;
  Writer writer(unterminated);
  writer.begin(client::bind).bytes(as_bytes("portal"));
  writer.end();
  EXPECT_EQ(send(alice, one, unterminated).error.state, sqlstate::protocol_violation);
  std::vector<std::byte> empty;
  Writer(empty).begin(client::close).end();
  EXPECT_EQ(send(alice, one, empty).message.kind, StatementMessage::Kind::other) << "the server finds the fault";
}

TEST_F(PreparedTest, verdict_is_kept_with_the_statement) {
  const auto first = done(alice, one, parse("a", "SELECT 1"));
  EXPECT_FALSE(first.message.statement->verdict_known(1));
  first.message.statement->set_verdict({.access = sql::Access::read}, 1);
  const auto second = done(bob, two, parse("b", "SELECT 1"));
  ASSERT_TRUE(second.message.statement->verdict_known(1));
  EXPECT_EQ(second.message.statement->verdict().access, sql::Access::read);
  EXPECT_FALSE(second.message.statement->verdict_known(2)) << "another epoch has begun";
  second.message.statement->set_verdict({.access = sql::Access::write}, 2);
  EXPECT_TRUE(first.message.statement->verdict_known(2)) << "they are one statement";
  EXPECT_EQ(first.message.statement->verdict().access, sql::Access::write);
}

TEST(StatementTable, keeps_some_that_nobody_holds_within_its_bounds) {
  StatementTable table;
  const auto intern = [&table](std::string text) {
    const auto size = text.size();
    text.append(3, '\0');
    return table.intern(as_bytes(text), size);
  };
  const auto id = intern("SELECT 1")->id();
  EXPECT_EQ(table.size(), 0U);
  EXPECT_EQ(intern("SELECT 1")->id(), id) << "still there, and its verdict with it";
  for (int i = 0; i < 3000; ++i) intern("SELECT " + std::to_string(i) + " AS x");
  EXPECT_EQ(table.idle(), StatementTable::idle_kept);
  EXPECT_NE(intern("SELECT 1")->id(), id);
  for (int i = 0; i < 100; ++i) intern(std::to_string(i) + std::string(100'000, 'x'));
  EXPECT_LE(table.bytes(), StatementTable::idle_bytes_kept);
  const auto held = intern("SELECT 2");
  intern(std::string(StatementTable::idle_bytes_kept, 'x'));
  EXPECT_EQ(table.idle(), 0U);
  EXPECT_EQ(table.size(), 1U);
}

TEST(StatementTable, workers_never_share_ids) {
  StatementTable first(1);
  StatementTable second(2);
  const auto tail = as_bytes(std::string_view("SELECT 1\0\0\0", 11));
  EXPECT_NE(first.intern(tail, 8)->id(), second.intern(tail, 8)->id());
  EXPECT_EQ(ServerName(0xffffffffffffffff).view(), "hf_18446744073709551615");
}

TEST(Prepared, shared_servers_look_like_servers_of_ones_own) {
  for (unsigned seed = 0; seed < 1500; ++seed) {
    std::minstd_rand random(seed + 1);
    std::vector<std::uint8_t> script(20 + seed);
    for (auto& byte : script) byte = static_cast<std::uint8_t>(random() >> 8U);
    ASSERT_EQ(testing::run_prepared_model(script), "") << "seed " << seed;
  }
}

}  // namespace
}  // namespace holdfast::protocol
