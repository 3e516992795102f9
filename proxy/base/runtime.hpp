// The configuration and what is derived from it: TLS contexts, the users' secrets by name. Immutable; published to
// every worker as a whole at start and at each reload.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "config/model.hpp"
#include "protocol/error.hpp"
#include "protocol/tls_engine.hpp"

namespace holdfast::proxy {

struct Runtime {
  config::Config config;
  std::vector<std::shared_ptr<const protocol::TlsContext>> listener_tls;          // by listener; null: no TLS
  std::map<std::string, std::shared_ptr<const protocol::TlsContext>> server_tls;  // by cluster; null: no TLS
  std::map<std::string, config::Secret, std::less<>> secrets;  // by user: a SCRAM verifier or a password

  // Loads certificates; blocks on files. The error names the file.
  [[nodiscard]] static Result<std::shared_ptr<const Runtime>> make(config::Config config);
};

using RuntimePtr = std::shared_ptr<const Runtime>;

}  // namespace holdfast::proxy
