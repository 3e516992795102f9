#include "proxy/session/tables.hpp"

#include <utility>

namespace holdfast::proxy {

std::shared_ptr<protocol::sql::Classifier> Tables::classifier(const std::string& pool,
                                                              const std::vector<std::string>& read_functions,
                                                              const config::Limits& limits) {
  std::string key = pool;
  for (const auto& function : read_functions) key.append(1, '\0').append(function);
  auto& known = classifiers_[key];
  if (auto classifier = known.lock()) return classifier;
  protocol::sql::Classifier::Options options;
  options.cache_bytes = limits.statement_cache;
  options.longest_text = limits.statement_memory;
  options.read_functions = read_functions;
  if (!shapes_) shapes_ = std::make_unique<protocol::sql::ShapeStore>(options.cache_bytes, options.longest_folded);
  auto classifier = std::make_shared<protocol::sql::Classifier>(options, *shapes_, statements.scope_of(key));
  known = classifier;
  if (classifiers_.size() > swept_at_) forget_unused();
  return classifier;
}

// Pools come and go: their classifiers go with their last client.
void Tables::forget_unused() {
  std::erase_if(classifiers_, [](const auto& entry) { return entry.second.expired(); });
  swept_at_ = 2 * classifiers_.size() + 64;
}

std::shared_ptr<protocol::sql::Classifier> Tables::blind_classifier() {
  if (!blind_) {
    blind_ = std::make_shared<protocol::sql::Classifier>(
        protocol::sql::Classifier::Options{.cache_bytes = 0, .longest_text = 0, .read_functions = {}});
  }
  return blind_;
}

std::shared_ptr<const config::EffectiveSettings> Tables::effective(config::EffectiveSettings wanted) {
  for (const auto& known : effective_) {
    if (*known == wanted) return known;
  }
  effective_.push_back(std::make_shared<const config::EffectiveSettings>(std::move(wanted)));
  return effective_.back();
}

void Tables::forget_verdicts(std::string_view pools) {
  for (auto at = classifiers_.lower_bound(pools); at != classifiers_.end() && at->first.starts_with(pools); ++at) {
    if (const auto classifier = at->second.lock()) classifier->forget_learnt();
  }
}

}  // namespace holdfast::proxy
