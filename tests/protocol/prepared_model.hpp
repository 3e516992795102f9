// A world of clients and shared servers, compared with clients that have a PostgreSQL of their own.
//
// Each byte of a script is a choice. Clients pipeline messages, move between servers when nothing is in flight, and
// meet errors at any place; servers die, clients leave. For every message: what its client is told through shared
// servers must be what it would be told alone. Header only, because the test and the fuzzer are programs of their own.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "protocol/framer.hpp"
#include "protocol/message.hpp"
#include "protocol/prepared.hpp"

namespace holdfast::protocol::testing {

// One message as a server understands it. `text`: a Parse's tail. `rest`: what a Bind or Describe says besides.
struct Spoken {
  char tag = 0;
  std::string name;
  std::string text;
  std::string rest;
};

struct Answer {
  enum class Kind : std::uint8_t { ok, error, skipped };
  Kind kind = Kind::ok;
  std::string detail;  // the SQLSTATE, or what was bound
  friend bool operator==(const Answer&, const Answer&) = default;
  [[nodiscard]] std::string print() const {
    return std::string(kind == Kind::ok ? "ok " : kind == Kind::error ? "error " : "skipped ") + detail;
  }
};

// PostgreSQL's rules, after exec_parse_message and its neighbours (tcop/postgres.c).
class Backend {
 public:
  std::map<std::string, std::string> named;
  std::optional<std::string> unnamed;
  bool skipping = false;

  Answer run(const Spoken& message) {
    if (message.tag == client::sync) {
      skipping = false;
      return {};
    }
    if (skipping) return {.kind = Answer::Kind::skipped};
    const bool bad = message.text.starts_with("bad");
    switch (message.tag) {
      case client::query: unnamed.reset(); return bad ? Answer{Answer::Kind::error, "42601"} : Answer{};
      case client::parse:
        if (message.name.empty()) unnamed.reset();
        if (bad) return fail("42601");
        if (named.contains(message.name)) return fail("42P05");
        if (message.name.empty()) {
          unnamed = message.text;
        } else {
          named[message.name] = message.text;
        }
        return {};
      case client::bind:
      case client::describe: {
        if (message.name.empty()) return unnamed ? Answer{Answer::Kind::ok, *unnamed} : fail("26000");
        const auto at = named.find(message.name);
        return at != named.end() ? Answer{Answer::Kind::ok, at->second} : fail("26000");
      }
      case client::close:
        if (message.name.empty()) {
          unnamed.reset();
        } else {
          named.erase(message.name);
        }
        return {};
      case client::execute: return bad ? fail("22012") : Answer{};
      default: return fail("08P01");
    }
  }

 private:
  Answer fail(const char* state) {
    skipping = true;
    return {.kind = Answer::Kind::error, .detail = state};
  }
};

inline Spoken listen(const Frame& frame) {
  Spoken spoken{.tag = frame.tag};
  Reader reader(frame.body());
  switch (frame.tag) {
    case client::parse:
      spoken.name = reader.text();
      spoken.text = as_text(reader.rest());
      break;
    case client::bind:
      spoken.rest = reader.text();
      spoken.name = reader.text();
      spoken.rest += as_text(reader.rest());
      break;
    case client::describe:
    case client::close:
      spoken.rest = reader.letter();
      spoken.name = reader.text();
      break;
    case client::query: spoken.text = reader.text(); break;
    case client::execute: spoken.text = reader.text(); break;
    default: break;
  }
  return spoken;
}

class World {
 public:
  explicit World(std::span<const std::uint8_t> script)
      : script_(script),
        limit_(byte() % 6 + 1),
        prepared_(table_, {.unnamed = byte() % 2 == 0 ? UnnamedStatements::as_sent : UnnamedStatements::shared}) {
    for (std::size_t i = 0; i < links_.size(); ++i) {
      clients_[i] = std::make_unique<Client>(pool_);
      links_[i] = std::make_unique<Link>(pool_, limit_);
      clients_[i]->link = i;
    }
  }

  std::string run() {
    while (wrong_.empty() && !script_.empty()) step();
    for (auto& client : clients_) {
      send(*client, {.tag = client::sync});
      while (wrong_.empty() && !client->in_flight.empty()) deliver(*client);
      if (!client->names.settled() || !links_[client->link]->list.settled())
        complain("something is unsettled at the end");
    }
    if (!wrong_.empty()) return wrong_;
    for (auto& client : clients_) client.reset();
    for (auto& link : links_) {
      if (link->backend.named.size() > link->list.size()) complain("a server has names that nobody remembers");
    }
    const std::size_t held = links_.size() * (most_in_batch_ + limit_ + 1);
    if (table_.size() > held) complain("statements are kept that no server can hold");
    for (auto& link : links_) link.reset();
    if (table_.size() != 0 || table_.idle() > StatementTable::idle_kept) complain("statements are left");
    if (pool_.in_use() != 0) complain("pending operations are left");
    return wrong_;
  }

 private:
  // A message between proxy and server, and what the client said.
  struct Item {
    enum class Way : std::uint8_t { injected, forwarded, failing, answered };
    Way way = Way::forwarded;
    std::uint32_t cookie = 0;
    Spoken said;        // by the client
    Spoken sent;        // to the server
    std::string error;  // failing: the SQLSTATE that the client gets
  };
  struct Link {
    Link(PendingPool& pool, std::size_t limit) : list(pool, limit) { list.begin_link(now); }
    Vintage now{.schema = 1};
    ServerStatements list;
    Backend backend;
  };
  struct Client {
    explicit Client(PendingPool& pool) : names(pool) {}
    ClientStatements names;
    Backend alone;
    std::deque<Item> in_flight;
    std::optional<Answer> injected_failed;
    std::size_t link = 0;
    std::size_t batch = 0;    // messages since the last Sync
    bool until_sync = false;  // its server died: its messages are ignored
  };

  std::uint8_t byte() {
    if (script_.empty()) return 0;
    const std::uint8_t value = script_.front();
    script_ = script_.subspan(1);
    return value;
  }
  void complain(const std::string& what) {
    if (wrong_.empty()) wrong_ = what;
  }

  std::string name() {
    // The second looks like one of ours.
    static constexpr std::array names = {"", "", "a", "hf_1", "b", "hf_0", "c"};
    return names[byte() % names.size()];
  }
  std::string text() {
    static constexpr std::array texts = {"select 1", "select 2", "bad",      "select 3",
                                         "bad 2",    "select 4", "select 5", "select 6"};
    return texts[byte() % texts.size()];
  }

  void step() {
    Client& client = *clients_[byte() % clients_.size()];
    switch (byte() % 14) {
      case 0:
      case 1: send(client, {.tag = client::parse, .name = name(), .text = text()}); break;
      case 2:
      case 3: send(client, {.tag = client::bind, .name = name()}); break;
      case 4: send(client, {.tag = client::describe, .name = name()}); break;
      case 5: send(client, {.tag = client::close, .name = name()}); break;
      case 6: send(client, {.tag = client::query, .text = text()}); break;
      case 7: send(client, {.tag = client::execute, .text = text()}); break;
      case 8:
      case 9: send(client, {.tag = client::sync}); break;
      case 10:
        for (int i = byte() % 4; i >= 0 && !client.in_flight.empty(); --i) deliver(client);
        break;
      case 11: move(client); break;
      case 12: disturb(client); break;
      default: finish(client); break;
    }
  }

  void finish(Client& client) {
    while (wrong_.empty() && !client.in_flight.empty()) deliver(client);
  }

  // Clients change places, which is only right when nothing of theirs is in flight.
  void move(Client& client) {
    Client& other = *clients_[byte() % clients_.size()];
    for (Client* each : {&client, &other}) {
      send(*each, {.tag = client::sync});
      finish(*each);
    }
    std::swap(client.link, other.link);
  }

  void disturb(Client& client) {
    Link& link = *links_[client.link];
    switch (byte() % 5) {
      case 0: table_.expire(0); break;
      case 1:  // DISCARD ALL
        send(client, {.tag = client::sync});
        finish(client);
        send(client, {.tag = client::query, .text = "discard all"});
        link.list.doubt_all();
        finish(client);
        link.backend.named.clear();
        client.names.deallocate_all();
        client.alone.named.clear();
        break;
      case 2: {  // the server dies: what is in flight didn't happen
        for (const Item& item : client.in_flight) client.names.settle(item.cookie, Outcome::skipped);
        client.in_flight.clear();
        client.injected_failed.reset();
        links_[client.link] = std::make_unique<Link>(pool_, limit_);
        client.until_sync = true;
        break;
      }
      case 3: {  // the client leaves: its server is drained and goes to another
        while (!client.in_flight.empty()) {
          const Item item = std::move(client.in_flight.front());
          client.in_flight.pop_front();
          link.list.settle(item.cookie, outcome_of(serve(link, item)));
        }
        link.backend.skipping = false;
        link.list.end_batch();
        const std::size_t at = client.link;
        auto& place = *std::ranges::find_if(clients_, [&](const auto& each) { return each.get() == &client; });
        place = std::make_unique<Client>(pool_);
        place->link = at;
        break;
      }
      default:
        if (const auto found = client.names.find(name()); found.statement != nullptr) found.statement->expire();
        break;
    }
  }

  static Outcome outcome_of(const Answer& answer) {
    switch (answer.kind) {
      case Answer::Kind::ok: return Outcome::completed;
      case Answer::Kind::error: return Outcome::failed;
      case Answer::Kind::skipped: return Outcome::skipped;
    }
    return Outcome::skipped;
  }

  static Answer serve(Link& link, const Item& item) {
    if (item.way != Item::Way::answered) return link.backend.run(item.sent);
    return {.kind = link.backend.skipping ? Answer::Kind::skipped : Answer::Kind::ok};
  }

  void deliver(Client& client) {
    Link& link = *links_[client.link];
    const Item item = std::move(client.in_flight.front());
    client.in_flight.pop_front();
    Answer told = serve(link, item);
    client.names.settle(item.cookie, outcome_of(told));
    link.list.settle(item.cookie, outcome_of(told));
    if (item.way == Item::Way::injected) {
      if (told.kind == Answer::Kind::error) client.injected_failed = told;
      return;
    }
    if (item.way == Item::Way::failing) {
      if (told.kind == Answer::Kind::ok) return complain("a failing message succeeded");
      if (told.kind == Answer::Kind::error) told.detail = item.error;
    }
    if (client.injected_failed) told = *std::exchange(client.injected_failed, std::nullopt);
    const Answer alone = client.alone.run(item.said);
    if (told != alone) {
      complain(std::string("message ") + item.said.tag + " \"" + item.said.name + "\" \"" + item.said.text.c_str() +
               "\": told " + told.print() + ", alone " + alone.print());
    }
  }

  static std::vector<std::byte> say(const Spoken& spoken) {
    std::vector<std::byte> bytes;
    Writer writer(bytes);
    writer.begin(spoken.tag);
    switch (spoken.tag) {
      case client::parse: writer.text(spoken.name).text(spoken.text).u16(1).u32(23); break;
      case client::bind: writer.text("portal").text(spoken.name).u16(0).u16(1).u32(2).u16(7).u16(0); break;
      case client::describe:
      case client::close: writer.letter('S').text(spoken.name); break;
      case client::query: writer.text(spoken.text); break;
      case client::execute: writer.text(spoken.text).u32(0); break;
      default: break;
    }
    writer.end();
    return bytes;
  }

  void send(Client& client, const Spoken& spoken) {
    // Waiting needs a limit on what is in flight, as a relay has one.
    if (client.in_flight.size() > 100) finish(client);
    const auto bytes = say(spoken);
    Framer framer(Direction::from_client);
    const Frame frame = framer.next(bytes);
    if (client.until_sync) {
      if (spoken.tag != client::sync) return;
      static_cast<void>(prepared_.understand(frame, client.names));
      links_[client.link]->list.end_batch();
      client.alone.skipping = false;
      client.until_sync = false;
      client.batch = 0;
      return;
    }
    StatementMessage message = prepared_.understand(frame, client.names);
    while (message.fault == StatementMessage::Fault::wait) {
      if (client.in_flight.empty()) return complain("waits for nothing");
      deliver(client);
      if (!wrong_.empty()) return;
      message = prepared_.understand(frame, client.names);
    }
    client.batch = spoken.tag == client::sync ? 0 : client.batch + 1;
    most_in_batch_ = std::max(most_in_batch_, client.batch);
    std::vector<std::byte> out;
    const StatementPlan plan = prepared_.prepare(message, frame, client.names, links_[client.link]->list, out);
    if (plan.kind != StatementPlan::Kind::answer) {
      const auto rest = frame.bytes.subspan(plan.replaced);
      out.insert(out.end(), rest.begin(), rest.end());
    }
    note(client, frame, message, plan, out);
  }

  // Reads what goes to the server as a server would, and puts it in flight.
  void note(Client& client, const Frame& said, const StatementMessage& message, const StatementPlan& plan, Bytes sent) {
    Framer framer(Direction::from_client);
    const auto next = [&](char tag) {
      const Frame frame = framer.next(sent);
      if (frame.kind != Frame::Kind::start || !frame.last || frame.tag != tag)
        complain("not the message that was planned");
      sent = sent.subspan(frame.bytes.size());
      return wrong_.empty() ? listen(frame) : Spoken{};
    };
    for (const Injected& injected : plan.messages()) {
      client.in_flight.push_back({.way = Item::Way::injected, .cookie = injected.cookie, .sent = next(injected.tag)});
    }
    Item item{.cookie = message.cookie, .said = listen(said)};
    switch (plan.kind) {
      case StatementPlan::Kind::answer: item.way = Item::Way::answered; break;
      case StatementPlan::Kind::fail:
        item.way = Item::Way::failing;
        item.sent = next(said.tag == client::bind ? client::bind : client::describe);
        item.error = error_of(message, said.bytes).state.view();
        break;
      case StatementPlan::Kind::forward:
        item.sent = next(said.tag);
        if (item.sent.rest != item.said.rest || item.sent.text != item.said.text)
          complain("more than the name changed");
        break;
    }
    if (!sent.empty()) complain("bytes are left over");
    client.in_flight.push_back(std::move(item));
  }

  std::span<const std::uint8_t> script_;
  std::size_t limit_;
  std::string wrong_;
  std::size_t most_in_batch_ = 0;
  PendingPool pool_;
  StatementTable table_;
  Prepared prepared_;
  std::array<std::unique_ptr<Link>, 3> links_;
  std::array<std::unique_ptr<Client>, 3> clients_;
};

// Runs the script to its end. Empty when all is as it must be, else what differs.
[[nodiscard]] inline std::string run_prepared_model(std::span<const std::uint8_t> script) {
  return World(script).run();
}

}  // namespace holdfast::protocol::testing
