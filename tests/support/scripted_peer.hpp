// A peer that says exactly what a test wants, byte by byte: scripted clients and scripted servers over real TCP.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <list>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace holdfast::testing {

// The conversation didn't go as scripted: other bytes, an end, or nothing within the bound.
class ScriptError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// One message of the protocol; type 0 for what comes before the first typed message (StartupMessage and its kin).
struct PeerMessage {
  char type = 0;
  std::string body;  // without type and length
};

// A blocking TCP connection of one thread. Every read is bounded; a failure throws ScriptError.
class PeerConnection {
 public:
  explicit PeerConnection(int fd) : fd_(fd) {}  // owns it; PeerConnection client(connect_to(port));
  PeerConnection(const PeerConnection&) = delete;
  PeerConnection& operator=(const PeerConnection&) = delete;
  ~PeerConnection();

  void send(std::string_view bytes);
  void send_in_pieces(std::string_view bytes, std::size_t piece);  // each piece its own segment (TCP_NODELAY)
  void expect(std::string_view bytes);                             // exactly these come next
  [[nodiscard]] std::string read_exactly(std::size_t size);
  [[nodiscard]] PeerMessage read_message();         // type, length, body
  [[nodiscard]] PeerMessage read_startup();         // length, body: type 0
  [[nodiscard]] std::string read_until(char type);  // message types in order, up to and with `type`, e.g. "TDCZ"
  [[nodiscard]] std::string read_until_end();       // everything up to the peer's close; a reset counts as one
  void expect_end();
  void shutdown_write();
  void close();
  void reset();      // closes with RST
  void interrupt();  // from another thread: what this one waits for fails at once

  // Server side: takes a StartupMessage (refusing TLS with 'N'), lets the client in without a password and says ready.
  void accept_login();
  void set_bound(std::chrono::milliseconds bound) { bound_ = bound; }
  [[nodiscard]] int fd() const { return fd_; }

 private:
  void wait_readable();

  std::chrono::milliseconds bound_ = std::chrono::seconds(10);
  std::mutex closing_;  // fd_ against interrupt()
  int fd_ = -1;
};

// A new connection to 127.0.0.1; throws std::system_error.
int connect_to(int port);

// The wire form of a message: type (none when 0), length, body.
std::string message_bytes(char type, std::string_view body = {});
std::string startup_bytes(const std::vector<std::pair<std::string, std::string>>& parameters, int protocol = 196608);

// Listens on 127.0.0.1, port 0, and runs `script` for each accepted connection, each on its own thread. The destructor
// closes the listener, ends what still runs, joins, and adds a test failure for each script that failed before that.
class ScriptedServer {
 public:
  using Script = std::function<void(PeerConnection&)>;
  explicit ScriptedServer(Script script);
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;
  ~ScriptedServer();

  [[nodiscard]] int port() const { return port_; }
  [[nodiscard]] int accepted() const { return accepted_; }  // connections so far
  void finish();                                            // what the destructor does, once; afterwards nothing runs

 private:
  void accept_loop();
  void run_script(PeerConnection& connection);

  Script script_;
  int listener_ = -1;
  int stop_ = -1;  // an eventfd that ends accept_loop
  int port_ = 0;
  std::atomic<int> accepted_ = 0;
  std::mutex mutex_;
  std::list<PeerConnection> connections_;
  std::vector<std::thread> sessions_;
  std::vector<std::string> failures_;
  bool finishing_ = false;
  bool finished_ = false;
  std::thread acceptor_;
};

}  // namespace holdfast::testing
