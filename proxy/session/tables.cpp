#include "proxy/session/tables.hpp"

#include <utility>

namespace holdfast::proxy {

protocol::sql::Classifier& Tables::classifier(const std::vector<std::string>& read_functions,
                                              const config::Limits& limits) {
  auto& classifier = classifiers_[read_functions];
  if (!classifier) {
    protocol::sql::Classifier::Options options;
    options.cache_bytes = limits.statement_cache;
    options.longest_text = limits.statement_memory;
    options.read_functions = read_functions;
    classifier = std::make_unique<protocol::sql::Classifier>(options);
  }
  return *classifier;
}

protocol::sql::Classifier& Tables::blind_classifier() {
  if (!blind_) {
    blind_ = std::make_unique<protocol::sql::Classifier>(
        protocol::sql::Classifier::Options{.cache_bytes = 0, .longest_text = 0, .read_functions = {}});
  }
  return *blind_;
}

std::shared_ptr<const config::EffectiveSettings> Tables::effective(config::EffectiveSettings wanted) {
  for (const auto& known : effective_) {
    if (*known == wanted) return known;
  }
  effective_.push_back(std::make_shared<const config::EffectiveSettings>(std::move(wanted)));
  return effective_.back();
}

void Tables::forget_verdicts() {
  statements.forget_verdicts();
  for (auto& [functions, classifier] : classifiers_) classifier->forget_learnt();
}

}  // namespace holdfast::proxy
