#include "proxy/admin/http.hpp"

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <utility>

#include "proxy/base/log.hpp"

namespace holdfast::proxy {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {

constexpr std::size_t longest_header = 8 * 1024;
constexpr std::chrono::seconds deadline{10};

http::response<http::string_body> answer(const http::request<http::empty_body>& request, const Http::Handler& handler) {
  http::response<http::string_body> response;
  response.version(request.version());
  response.keep_alive(request.keep_alive());
  response.set(http::field::server, "holdfast");
  const auto target = std::string_view(request.target().data(), request.target().size());
  std::optional<HttpAnswer> made;
  if (request.method() != http::verb::get && request.method() != http::verb::head) {
    made = HttpAnswer{405, "text/plain", "only GET and HEAD\n"};
    response.set(http::field::allow, "GET, HEAD");
  } else {
    made = handler(target.substr(0, target.find('?')));
  }
  if (!made) made = HttpAnswer{404, "text/plain", "try /metrics, /healthz or /readyz\n"};
  response.result(made->status);
  response.set(http::field::content_type, made->content_type);
  response.content_length(made->body.size());
  if (request.method() != http::verb::head) response.body() = std::move(made->body);
  return response;
}

asio::awaitable<void> serve(beast::tcp_stream stream, Http::Handler handler, std::shared_ptr<std::size_t> connections) {
  beast::flat_buffer buffer(longest_header);
  for (bool keep = true; keep;) {
    http::request_parser<http::empty_body> parser;
    parser.header_limit(longest_header);
    boost::system::error_code error;
    stream.expires_after(deadline);
    co_await http::async_read(stream, buffer, parser, asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    auto response = answer(parser.get(), handler);
    keep = response.keep_alive();
    stream.expires_after(deadline);
    co_await http::async_write(stream, response, asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
  }
  --*connections;
}

}  // namespace

Http::Http(asio::io_context& context, Handler handler)
    : acceptor_(context), handler_(std::move(handler)), connections_(std::make_shared<std::size_t>(0)) {}

Result<void> Http::listen(const std::string& address, std::uint16_t port) {
  boost::system::error_code error;
  const auto where = asio::ip::make_address(address, error);
  if (error) return fail(sqlstate::connection_failure, "http.address is not an IP address: " + address);
  const asio::ip::tcp::endpoint endpoint(where, port);
  acceptor_.open(endpoint.protocol(), error);
  if (!error) acceptor_.set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor_.bind(endpoint, error);
  if (!error) acceptor_.listen(asio::socket_base::max_listen_connections, error);
  if (error) {
    return fail(sqlstate::connection_failure,
                "can't listen on " + address + ":" + std::to_string(port) + " (http): " + error.message());
  }
  accept();
  return {};
}

void Http::close() {
  boost::system::error_code ignored;
  acceptor_.close(ignored);
}

void Http::accept() {
  acceptor_.async_accept([this](boost::system::error_code error, asio::ip::tcp::socket socket) {
    if (!acceptor_.is_open()) return;
    // Connections over the limit are closed: probes and scrapes try again.
    if (!error && *connections_ < most_connections) {
      ++*connections_;
      asio::co_spawn(acceptor_.get_executor(), serve(beast::tcp_stream(std::move(socket)), handler_, connections_),
                     [](std::exception_ptr failure) {
                       if (failure) std::rethrow_exception(failure);
                     });
    }
    accept();
  });
}

}  // namespace holdfast::proxy
