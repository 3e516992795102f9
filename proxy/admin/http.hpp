// A small HTTP/1.1 server for probes and scrapes: GET and HEAD, bounded requests, a deadline for each request and each
// response. Thread: control, for the handler as well.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "protocol/error.hpp"

namespace holdfast::proxy {

struct HttpAnswer {
  unsigned status = 200;
  std::string content_type;
  std::string body;
};

class Http {
 public:
  // Answers a path, which comes without its query string; nullopt: 404.
  using Handler = std::function<std::optional<HttpAnswer>(std::string_view path)>;

  Http(boost::asio::io_context& context, Handler handler);
  [[nodiscard]] Result<void> listen(const std::string& address, std::uint16_t port);
  void close();

 private:
  void accept();

  static constexpr std::size_t most_connections = 64;

  boost::asio::ip::tcp::acceptor acceptor_;
  Handler handler_;
  std::shared_ptr<std::size_t> connections_;
};

}  // namespace holdfast::proxy
