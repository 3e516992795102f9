// A small PostgreSQL for scripts: prepared statements, portals, blocks and errors, by the bytes of the protocol.
// Written after exec_simple_query and its neighbours (src/backend/tcop/postgres.c), knowing nothing of the proxy.
//
// Texts: BEGIN, BEGIN READ ONLY, COMMIT, ROLLBACK, INSERT …, SET …, DISCARD ALL, DEALLOCATE name; anything else is a
// SELECT whose only row is its text. "nothere" fails when it is analysed, "1/0" when it is run; a standby refuses
// INSERT, and "refused" outside a block.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>

#include "protocol/client_errors.hpp"
#include "tests/proxy/wire.hpp"

namespace holdfast::proxy {

class ModelServer {
 public:
  explicit ModelServer(bool standby = false) : standby_(standby) {}

  // The client's further bytes; what is answered is appended to `out`.
  void read(std::string_view bytes) {
    in_ += bytes;
    std::size_t at = 0;
    for (;;) {
      const auto frame = framer_.next(protocol::as_bytes(std::string_view(in_).substr(at)));
      if (frame.kind != protocol::Frame::Kind::start) break;
      message(frame);
      at += frame.bytes.size();
    }
    in_.erase(0, at);
  }
  // As DISCARD ALL leaves it.
  void discard() {
    named_.clear();
    unnamed_.reset();
    portals_.clear();
  }

  // In a block that has failed.
  [[nodiscard]] bool failed() const { return status_ == 'E'; }

  std::string out;

 private:
  using Failure = std::optional<std::string>;  // the SQLSTATE

  static std::string first_word(std::string_view sql) { return std::string(sql.substr(0, sql.find(' '))); }
  static bool ends_block(const std::string& word) { return word == "COMMIT" || word == "ROLLBACK"; }
  static bool returns_rows(const std::string& word) { return word == "SELECT"; }
  [[nodiscard]] Failure aborted(const std::string& sql) const {
    if (status_ == 'E' && !ends_block(first_word(sql))) return "25P02";
    return std::nullopt;
  }

  void message(const protocol::Frame& frame) {
    protocol::Reader reader(frame.body());
    if (frame.tag == 'S') {
      skipping_ = false;
      return ready();
    }
    if (skipping_) return;
    if (frame.tag == 'Q') return query(std::string(reader.text()));
    Failure failure;
    switch (frame.tag) {
      case 'P': {
        const std::string name(reader.text());
        failure = parse(name, std::string(reader.text()));
        break;
      }
      case 'B': {
        const std::string portal(reader.text());
        failure = bind(portal, std::string(reader.text()));
        break;
      }
      case 'D':
        reader.letter();
        failure = describe(std::string(reader.text()));
        break;
      case 'E': failure = execute(std::string(reader.text())); break;
      case 'C':
        reader.letter();
        if (const std::string name(reader.text()); name.empty())
          unnamed_.reset();
        else
          named_.erase(name);
        out += wire::closed;
        break;
      default: return;
    }
    if (!failure) return;
    fail(*failure);
    skipping_ = true;
  }

  void query(const std::string& sql) {
    unnamed_.reset();
    portals_.erase("");
    auto failure = aborted(sql);
    if (!failure && sql.find("nothere") != std::string::npos) failure = "42703";
    if (!failure && returns_rows(first_word(sql))) out += wire::description;
    if (!failure) failure = run(sql);
    if (failure) fail(*failure);
    ready();
  }
  Failure parse(const std::string& name, const std::string& sql) {
    if (name.empty()) unnamed_.reset();
    if (auto failure = aborted(sql)) return failure;
    if (sql.find("nothere") != std::string::npos) return "42703";
    if (named_.contains(name)) return "42P05";
    if (name.empty())
      unnamed_ = sql;
    else
      named_[name] = sql;
    out += wire::parsed;
    return std::nullopt;
  }
  [[nodiscard]] const std::string* statement(const std::string& name) const {
    if (name.empty()) return unnamed_ ? &*unnamed_ : nullptr;
    const auto at = named_.find(name);
    return at != named_.end() ? &at->second : nullptr;
  }
  Failure bind(const std::string& portal, const std::string& name) {
    const auto* sql = statement(name);
    if (sql == nullptr) return "26000";
    if (auto failure = aborted(*sql)) return failure;
    portals_[portal] = *sql;
    out += wire::bound;
    return std::nullopt;
  }
  Failure describe(const std::string& name) {
    const auto* sql = statement(name);
    if (sql == nullptr) return "26000";
    const bool rows = returns_rows(first_word(*sql));
    if (rows && status_ == 'E') return "25P02";
    out += wire::parameters + (rows ? wire::description : wire::no_data);
    return std::nullopt;
  }
  Failure execute(const std::string& portal) {
    const auto at = portals_.find(portal);
    if (at == portals_.end()) return "34000";
    const std::string sql = at->second;
    if (auto failure = aborted(sql)) return failure;
    return run(sql);
  }

  Failure run(const std::string& sql) {
    const auto word = first_word(sql);
    if (sql.find("1/0") != std::string::npos) return "22012";
    if (standby_ && status_ == 'I' && sql.find("refused") != std::string::npos) return "25006";
    if (word == "BEGIN") {
      if (status_ == 'I') read_only_ = sql == "BEGIN READ ONLY";
      status_ = 'T';
    } else if (ends_block(word)) {
      const bool failed = status_ == 'E';
      status_ = 'I';
      portals_.clear();
      if (failed) {
        out += wire::complete("ROLLBACK");
        return std::nullopt;
      }
    } else if (word == "INSERT") {
      if (standby_ || (status_ == 'T' && read_only_)) return "25006";
      out += wire::complete("INSERT 0 1");
      return std::nullopt;
    } else if (word == "DISCARD") {
      if (status_ != 'I') return "25001";
      named_.clear();
      out += wire::complete("DISCARD ALL");
      return std::nullopt;
    } else if (word == "DEALLOCATE") {
      if (named_.erase(sql.substr(word.size() + 1)) == 0) return "26000";
    } else if (returns_rows(word)) {
      out += wire::one_row(sql);
      return std::nullopt;
    }
    out += wire::complete(word);
    return std::nullopt;
  }

  void fail(const std::string& state) {
    out += wire::error(state);
    if (status_ == 'T') status_ = 'E';
  }
  void ready() {
    if (status_ == 'I') portals_.clear();
    out += wire::ready(status_);
  }

  bool standby_;
  protocol::Framer framer_{protocol::Direction::from_client};
  std::string in_;
  std::map<std::string, std::string> named_;
  std::optional<std::string> unnamed_;
  std::map<std::string, std::string> portals_;
  char status_ = 'I';
  bool read_only_ = false;
  bool skipping_ = false;
};

}  // namespace holdfast::proxy
