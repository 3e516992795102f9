#include "proxy/base/parse_service.hpp"

#include <pthread.h>
#include <sys/resource.h>

#include <utility>

namespace holdfast::proxy {

namespace {
constexpr int lower_priority = 5;
}

ParseService::ParseService() : thread_([this] { run(); }) {}

ParseService::~ParseService() {
  stop();
}

void ParseService::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool ParseService::judge(protocol::sql::LongText text, Done done) {
  {
    const std::lock_guard lock(mutex_);
    const std::size_t size = text.text.size();
    if (stopping_ || jobs_.size() >= most_queued || bytes_ + size > most_bytes) return false;
    bytes_ += size;
    jobs_.push_back({std::move(text), std::move(done)});
  }
  wake_.notify_one();
  return true;
}

void ParseService::run() {
  ::pthread_setname_np(::pthread_self(), "parser");
  ::setpriority(PRIO_PROCESS, 0, lower_priority);  // on Linux: of this thread
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (stopping_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      bytes_ -= job.text.text.size();
    }
    job.done(protocol::sql::judge(job.text));
  }
}

}  // namespace holdfast::proxy
