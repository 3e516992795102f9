// Derives keys from passwords on a thread of its own: PBKDF2 takes milliseconds, a worker has microseconds.
//
// Task: a bounded queue of requests, and a cache of results, so that a user's password is derived once per salt.
// Thread: any; `done` is called on the service's thread and must post the result to the thread that needs it. Lifetime:
// stop() before what `done` uses is destroyed.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "protocol/error.hpp"
#include "protocol/scram.hpp"

namespace holdfast::proxy {

class KeyService {
 public:
  using Done = std::function<void(Result<protocol::scram::Key>)>;

  KeyService();
  ~KeyService();
  KeyService(const KeyService&) = delete;
  KeyService& operator=(const KeyService&) = delete;

  // Derives the SaltedPassword of a password, salt and iteration count. False: too many requests are queued (the caller
  // tells its client 53300), or the service is stopping.
  [[nodiscard]] bool derive(std::string password, std::vector<std::byte> salt, std::uint32_t iterations, Done done);
  void stop();

 private:
  using Input = std::tuple<std::string, std::vector<std::byte>, std::uint32_t>;
  struct Job {
    Input input;
    Done done;
  };
  void run();

  static constexpr std::size_t most_queued = 10000;
  static constexpr std::size_t most_kept = 10000;

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  std::map<Input, protocol::scram::Key> kept_;  // used on the service's thread only
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace holdfast::proxy
