// Derives keys from passwords on a thread of its own: PBKDF2 takes milliseconds, a worker has microseconds.
//
// Requests are queued and bounded; results are kept, so that a user's password is derived once per salt. Thread: any;
// `done` is called on the service's thread and has to post the result to where it belongs. Lifetime: stop() first.
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

  // SaltedPassword of a password, salt and iteration count. False: too many are queued (53300 to whoever asked).
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
  std::map<Input, protocol::scram::Key> kept_;  // the service's thread only
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace holdfast::proxy
