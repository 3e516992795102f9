#include "proxy/base/key_service.hpp"

#include <utility>

namespace holdfast::proxy {

KeyService::KeyService() : thread_([this] { run(); }) {}

KeyService::~KeyService() {
  stop();
}

void KeyService::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

bool KeyService::derive(std::string password, std::vector<std::byte> salt, std::uint32_t iterations, Done done) {
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || jobs_.size() >= most_queued) return false;
    jobs_.push_back({{std::move(password), std::move(salt), iterations}, std::move(done)});
  }
  wake_.notify_one();
  return true;
}

void KeyService::run() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (stopping_) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    const auto found = kept_.find(job.input);
    if (found != kept_.end()) {
      job.done(found->second);
      continue;
    }
    const auto& [password, salt, iterations] = job.input;
    auto key = protocol::scram::salted_password(password, salt, iterations);
    if (key) {
      if (kept_.size() >= most_kept) kept_.clear();
      kept_.emplace(job.input, *key);
    }
    job.done(std::move(key));
  }
}

}  // namespace holdfast::proxy
