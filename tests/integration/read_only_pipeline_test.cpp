// READ ONLY blocks whose messages come in one write, or leave portals open between two.
#include "protocol/bytes.hpp"
#include "tests/integration/read_only_block.hpp"
#include "tests/support/message_stream.hpp"
#include "tests/support/wire_client.hpp"

namespace holdfast::testing {
namespace {

using namespace std::string_literals;
using ReadOnlyPipeline = ReadOnlyBlock;

// Statements of one write: each is looked at before it goes out, though answers of those in front of it are to come.
TEST_F(ReadOnlyPipeline, that_is_pipelined_keeps_nobody_on_a_standby) {
  const auto answers = [](int port, const std::vector<std::string>& writes) {
    MessageStream stream(port);
    stream.send(startup_bytes({{"user", "app"}, {"database", "app"}}));
    std::string text;
    const auto read_up_to = [&](std::size_t ready) {
      while (ready > 0) {
        const auto message = stream.next();
        if (message.type == 0) throw ScriptError("the connection has ended");
        if (message.type == 'S' || message.type == 'R' || message.type == 'K' || message.type == 'T') continue;
        text += message.type;
        if (message.type == 'Z') --ready;
        if (message.type == 'Z' || message.type == 'C') text += message.body.c_str();
        if (message.type == 'E') text += wire::sqlstate(message);
        if (message.type == 'D') text += message.body.substr(6);
        text += ' ';
      }
    };
    read_up_to(1);
    for (const auto& bytes : writes) {
      std::size_t ready = 0;  // so many Query and Sync messages
      for (std::size_t at = 0; at < bytes.size();) {
        if (bytes[at] == 'Q' || bytes[at] == 'S') ++ready;
        at += 1 + protocol::load_be<std::uint32_t>(reinterpret_cast<const std::byte*>(bytes.data()) + at + 1);
      }
      stream.send(bytes);
      read_up_to(ready);
      text += "\n";
    }
    return text;
  };
  using wire::query;
  using wire::sync;
  const auto unit = [](const std::string& sql) { return wire::parse("", sql) + wire::bind("") + wire::execute(); };
  const auto named = [](const std::string& portal, const std::string& sql) {
    std::vector<std::byte> out;
    protocol::Writer writer(out);
    writer.begin('B').text(portal).text("").u16(0).u16(0).u16(0);
    writer.end();
    return wire::parse("", sql) + std::string(protocol::as_text(out));
  };
  const auto run = [](const std::string& portal, std::uint32_t rows) {
    std::vector<std::byte> out;
    protocol::Writer writer(out);
    writer.begin('E').text(portal).u32(rows);
    writer.end();
    return std::string(protocol::as_text(out));
  };
  const std::string rows = "SELECT id FROM t ORDER BY id LIMIT 3";
  const std::string first = query(begin) + query(read);
  const std::string end = query("COMMIT") + query("UPDATE t SET at = at") + query("SHOW statement_timeout");
  const std::vector<std::vector<std::string>> scripts = {
      {first + query(set) + end},
      {first, query(read) + query(set) + end},
      {first, query(read) + query("SAVEPOINT a") + query("SELECT 1/0") + query(set) + query("ROLLBACK TO a") + end},
      {first, query("SELECT 1/0") + query(set) + query(read) + end},
      {first, query("SELECT 1/0"), query("ROLLBACK") + query("UPDATE t SET at = at") + query(set) + end},
      {first, query("SELECT 1/0"),
       query("INSERT INTO t VALUES (1)") + query(set) + query("ROLLBACK") + query(set) + end},
      {first, query("SELECT 1/0"), unit("ROLLBACK") + unit("UPDATE t SET at = at") + sync() + end},
      {first, query("SELECT 1/0") + query("ROLLBACK; SET statement_timeout = '9s'") + end},
      {first, query("COMMIT") + query(set) + end},
      {first, query("COMMIT") + query(begin) + query(read) + query(set) + end},
      {first,
       query("COMMIT") + query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") + query(read) + query(set) + end},
      {first, query("COMMIT AND CHAIN") + query(read) + query(set) + end},
      {first, unit(read) + sync() + unit(set) + sync() + end},
      {first, unit(read) + unit(set) + sync() + end},
      {first, unit("SELECT 1/0") + unit(set) + sync() + unit("ROLLBACK") + unit(set) + sync() + end},
      {first, unit("COMMIT") + unit(set) + sync() + end},
      {unit(begin) + unit(read) + sync() + unit(read) + unit(set) + sync() + end},
      {unit(begin) + sync() + unit("COMMIT") + unit(begin) + unit(read) + sync() + unit(set) + sync() + end},
      {unit(begin) + unit("SAVEPOINT a") + unit(read) + sync(), unit(set) + sync() + end},
      // Portals that wait for further rows, or were not run at all.
      {first, wire::parse("", rows) + wire::bind("") + run("", 1) + sync(), run("", 1) + sync(), run("", 0) + sync(),
       end},
      {first, wire::parse("", rows) + wire::bind("") + run("", 1) + sync(), wire::parse("later", set) + sync(),
       run("", 0) + sync(), wire::bind("later") + wire::execute() + sync(), end},
      {first, wire::parse("", rows) + wire::bind("") + sync(), wire::parse("later", "SHOW statement_timeout") + sync(),
       run("", 2) + sync(), wire::bind("later") + wire::execute() + sync(), run("", 2) + sync(), end},
      {first, wire::parse("", rows) + wire::bind("") + run("", 1) + sync(),
       run("", 1) + wire::parse("later", "SHOW statement_timeout") + sync(), run("", 0) + sync(), end},
      {first, wire::parse("", rows) + wire::bind("") + run("", 1) + sync(), run("", 1) + unit("SAVEPOINT a") + sync(),
       end},
      {first, wire::parse("", rows) + wire::bind("") + run("", 1) + sync(), run("", 2) + unit(set) + sync(), end},
      {first, wire::parse("", rows) + wire::bind("") + sync(), run("", 2) + unit("SAVEPOINT a") + sync(), end},
      {query(begin) + wire::parse("", rows) + wire::bind("") + run("", 1) + sync(), run("", 1) + unit(set) + sync(),
       end},
      {first, wire::parse("", rows) + wire::bind("") + run("", 1) + sync(), query(set), run("", 1) + sync(), end},
      {first, named("p", rows) + run("p", 1) + sync(), query(set), run("p", 1) + sync(), end},
      {first, named("p", rows) + sync(), unit("LISTEN news") + sync(), run("p", 2) + sync(), run("p", 2) + sync(), end},
      {query(begin), named("p", rows) + run("p", 1) + sync(), unit("SELECT pg_is_in_recovery()") + sync(),
       run("p", 1) + sync(), end},
      {first, wire::parse("", rows) + wire::bind("") + wire::execute() + sync(), run("", 0) + sync(), query(set) + end},
  };
  for (std::size_t i = 0; i < scripts.size(); ++i) {
    EXPECT_EQ(answers(proxy_->port(), scripts[i]), answers(set_->primary().port(), scripts[i])) << "script " << i;
  }
}

}  // namespace
}  // namespace holdfast::testing
