// Stands between the proxy and a server on 127.0.0.1 and passes bytes on, TLS or not, until a test wants a fault that a
// real server can't be made to have: a connection that is reset, that ends right behind an answer, or that takes no
// more.
#pragma once

#include <atomic>
#include <condition_variable>
#include <list>
#include <mutex>
#include <string>
#include <thread>

namespace holdfast::testing {

// Runs one thread; everything else may be called from any other. The destructor ends it with all its connections.
class TcpRelay {
 public:
  explicit TcpRelay(int target_port);  // listens on 127.0.0.1, port 0
  TcpRelay(const TcpRelay&) = delete;
  TcpRelay& operator=(const TcpRelay&) = delete;
  ~TcpRelay();

  [[nodiscard]] int port() const { return port_; }
  // Ends all connections of now, both ways, each with an RST (tcp(7), SO_LINGER of 0). Returns when they are sent.
  // Later ones are passed on as before.
  void reset_all();
  // Once: the connection whose server says `text` is closed, both ways and without a reset, right behind the bytes that
  // have it in them, i.e. behind the answer if that is short. Say it before the server speaks.
  void close_behind(const std::string& text);
  [[nodiscard]] bool closed_behind() const { return closed_behind_; }  // it has happened
  // No byte passes any more in the direction of the server: what the client's side sends piles up in the sockets.
  void hold_requests(bool hold);

 private:
  struct End {
    int fd = -1;
    std::string unsent;  // that came from the other end
    bool ended = false;  // its peer has closed its sending side
  };
  struct Pair {
    End client;
    End server;
  };

  void run();
  void accept_one();
  static bool pass(End& from, End& to, std::string& passed);
  bool were_last_words(const std::string& said);
  static bool push(End& to);
  static void close_with_reset(int fd);

  int target_port_;
  int listener_ = -1;
  int wake_ = -1;  // an eventfd
  int port_ = 0;
  std::atomic<bool> stop_{false};
  std::atomic<bool> holding_{false};
  std::atomic<bool> closed_behind_{false};
  std::list<Pair> pairs_;  // of the thread
  std::mutex mutex_;
  std::string last_words_;  // close_behind(); empty: none
  std::condition_variable done_;
  int resets_wanted_ = 0;
  int resets_done_ = 0;
  std::thread thread_;
};

}  // namespace holdfast::testing
