#include "proxy/base/runtime.hpp"

#include <utility>

namespace holdfast::proxy {

Result<std::shared_ptr<const Runtime>> Runtime::make(config::Config config) {
  auto runtime = std::make_shared<Runtime>();
  for (const auto& listener : config.listeners) {
    std::shared_ptr<const protocol::TlsContext> context;
    if (listener.tls.mode != config::ListenTls::disable) {
      auto made = protocol::TlsContext::server({.certificate = listener.tls.certificate, .key = listener.tls.key});
      if (!made) return std::unexpected(made.error());
      context = std::move(*made);
    }
    runtime->listener_tls.push_back(std::move(context));
  }
  for (const auto& cluster : config.clusters) {
    std::shared_ptr<const protocol::TlsContext> context;
    if (cluster.tls.mode != config::SslMode::disable) {
      using Verify = protocol::TlsContext::Verify;
      const auto verify = cluster.tls.mode == config::SslMode::verify_full ? Verify::full
                          : cluster.tls.mode == config::SslMode::verify_ca ? Verify::ca
                                                                           : Verify::none;
      auto made = protocol::TlsContext::client(
          {.verify = verify, .ca = cluster.tls.ca, .certificate = cluster.tls.certificate, .key = cluster.tls.key});
      if (!made) return std::unexpected(made.error());
      context = std::move(*made);
    }
    runtime->server_tls.emplace(cluster.name, std::move(context));
  }
  for (const auto& credential : config.auth.credentials)
    runtime->secrets.insert_or_assign(credential.user, credential.secret);
  runtime->config = std::move(config);
  return runtime;
}

}  // namespace holdfast::proxy
