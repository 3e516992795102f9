// Reads statements that take too long for a worker, on a thread of its own: a worker has microseconds, a text of 100 kB
// takes libpg_query up to 100 ms.
//
// Task: a line of texts, bounded in number and bytes. No text takes long (protocol::sql::judge), so the line moves on.
// The thread has a low priority: whoever floods it takes nothing from the workers.
// Thread: any; `done` is called on the service's thread and must post the verdict to the thread that needs it. Lifetime:
// stop() before what `done` uses is destroyed.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

#include "protocol/sql/classify.hpp"

namespace holdfast::proxy {

class ParseService {
 public:
  using Done = std::function<void(const protocol::sql::Verdict&)>;

  static constexpr std::size_t most_queued = 1000;
  static constexpr std::size_t most_bytes = 64U << 20;  // of texts in line

  ParseService();
  ~ParseService();
  ParseService(const ParseService&) = delete;
  ParseService& operator=(const ParseService&) = delete;

  // False: too much is in line, or the service is stopping.
  [[nodiscard]] bool judge(protocol::sql::LongText text, Done done);
  // Waits for the text that is being read, at most; the others in line are forgotten.
  void stop();

 private:
  struct Job {
    protocol::sql::LongText text;
    Done done;
  };
  void run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_;
  std::size_t bytes_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace holdfast::proxy
