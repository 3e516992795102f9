// `holdfast --check`: says all that is wrong with a file.
#pragma once

#include <ostream>
#include <string>

namespace holdfast::config {

// Prints every problem and warning, one a line, then "configuration is valid" or how many errors there are.
// Returns the process's exit code: 0 valid (warnings allowed), 1 not.
[[nodiscard]] int check(const std::string& path, std::ostream& out);

}  // namespace holdfast::config
