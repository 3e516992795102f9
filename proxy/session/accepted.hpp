// A socket that an acceptor has accepted, for the worker that gets it.
#pragma once

#include <cstddef>
#include <string>

namespace holdfast::proxy {

struct Accepted {
  int fd = -1;
  std::size_t listener = 0;  // index into the configuration's listeners
  std::string peer;          // "10.0.0.7:51234", for the log
};

}  // namespace holdfast::proxy
