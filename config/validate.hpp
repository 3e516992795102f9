// What can only be judged when all settings are known: references, duplicates, files that must exist.
#pragma once

#include "config/model.hpp"
#include "config/problem.hpp"

namespace holdfast::config {

struct Findings {
  Problems errors;    // the configuration can't be used
  Problems warnings;  // it can be used, but it hardly says what was meant
};

// Checks `config` as a whole, with the TLS files (existence, readability, permissions) and without the network.
// `origins` gives the places; without one problems carry no line.
[[nodiscard]] Findings validate(const Config& config, const Origins& origins = {});

}  // namespace holdfast::config
