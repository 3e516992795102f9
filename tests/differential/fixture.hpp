// What scripts and noise work on, and the servers and the proxy that a run needs.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "tests/differential/noise.hpp"
#include "tests/differential/player.hpp"
#include "tests/support/endpoint.hpp"

namespace holdfast::differential {

enum class Mode { transaction, session, split };
[[nodiscard]] std::string name_of(Mode mode);

// A primary (and a standby that may serve reads), Holdfast with a pool that is too small for everybody, noise.
class Arena {
 public:
  explicit Arena(Mode mode);
  ~Arena();

  // Plays the script on the primary and through Holdfast, each on fresh tables, and compares answers and what the
  // tables hold in the end. Empty: no difference.
  [[nodiscard]] std::string difference(const Script& script);
  // The smallest script found that still differs, with its difference. Bounded in time.
  [[nodiscard]] Script shrink(Script script, std::string& text);

  [[nodiscard]] testing::Holdfast& proxy() { return *proxy_; }
  [[nodiscard]] Noise& noise() { return *noise_; }

 private:
  void reset(bool schema);
  [[nodiscard]] std::string tables();

  Mode mode_;
  std::optional<testing::ReplicationSet> set_;
  std::optional<testing::Holdfast> proxy_;
  std::optional<Noise> noise_;
  std::optional<testing::Connection> owner_;  // directly, as app
  bool schema_changed_ = true;
};

}  // namespace holdfast::differential
