// The rows of leak_matrix_test.cpp: what a client says before it falls silent, and what it needs in the database.
#pragma once

#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/postgres.hpp"
#include "tests/support/scripted_peer.hpp"

namespace holdfast::testing {

struct Way {
  friend void PrintTo(const Way& way, std::ostream* out) { *out << way.name; }

  std::string name;
  std::vector<std::string> says;  // bytes; each is answered, all its units, before the next
  bool fails = false;             // one of the answers is an error
  std::string rest = {};          // bytes behind which nothing is awaited: a message cut short, a copy that goes on
  std::vector<std::pair<std::string, std::string>> start = {};  // start-up parameters
  std::string payload = {};  // what the functions hidden in tables, types and policies do: see prepare_ways()
  std::string user = "app";
};
[[nodiscard]] std::vector<Way> all_ways();
void add_hidden_ways(std::vector<Way>& ways);
// Parse, Bind, Execute and Sync of one statement.
[[nodiscard]] std::string extended(const std::string& sql);

// Tables and functions that ways and questions need.
void prepare_ways(Server& server);

// Has said everything when it is constructed; fault() tells what went otherwise than its way says.
class Leaver {
 public:
  Leaver(int port, Server& server, const Way& way);
  void leave() { peer_->close(); }
  [[nodiscard]] const std::string& fault() const { return fault_; }

 private:
  std::unique_ptr<PeerConnection> peer_;
  std::string fault_;
};

}  // namespace holdfast::testing
