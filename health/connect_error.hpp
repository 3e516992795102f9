// What libpq's message of a failed connect means. libpq has no field for it: the SQLSTATE is in the text when the
// verbosity is PQERRORS_SQLSTATE ("FATAL:  57P03"), and errno as strerror() puts it.
#pragma once

#include <string>

#include "health/observation.hpp"

namespace holdfast::health {

[[nodiscard]] Grade grade_connect_error(const std::string& message);

}  // namespace holdfast::health
