// A small HTTP/1.1 server for probes and scrapes, on the control thread: GET and HEAD, bounded requests, one deadline
// each.
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
  // The path without its query; none: 404.
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
