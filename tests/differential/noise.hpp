// Clients of the same database, user and pool that leave things behind, so that scripts get servers that others used.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace holdfast::differential {

// Works in its own schema (noise), with its own lock keys and channels.
class Noise {
 public:
  static const char* schema();  // SQL that makes what it needs, run as the database's owner

  Noise(int port, int clients);
  Noise(const Noise&) = delete;
  Noise& operator=(const Noise&) = delete;
  ~Noise();

  [[nodiscard]] int rounds() const { return rounds_; }
  // What went wrong for noise clients; each reads only what is its own, so an error is Holdfast's.
  [[nodiscard]] std::vector<std::string> errors();

 private:
  void run(int number);
  void round(unsigned seed);

  int port_;
  std::atomic<bool> stop_{false};
  std::atomic<int> rounds_{0};
  std::mutex mutex_;
  std::vector<std::string> errors_;
  std::vector<std::thread> clients_;
};

}  // namespace holdfast::differential
