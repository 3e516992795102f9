// Random scripts: mostly sensible, at every place something that fails.
#pragma once

#include <cstdint>

#include "tests/differential/script.hpp"

namespace holdfast::differential {

[[nodiscard]] Script random_script(std::uint32_t seed);

}  // namespace holdfast::differential
