// A listening socket. Each accepted socket is passed to `deliver`, which chooses its worker.
// Owner: Server. Thread: control. Lifetime: until the process stops accepting.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <string>

#include "config/model.hpp"
#include "protocol/error.hpp"
#include "proxy/worker.hpp"

namespace holdfast::proxy {

class Acceptor {
 public:
  using Deliver = std::function<void(Accepted)>;

  // `index`: the listener's index in the configuration. `deliver` gets every accepted socket, on the control thread.
  Acceptor(boost::asio::io_context& context, std::size_t index, Deliver deliver);
  ~Acceptor();
  Acceptor(const Acceptor&) = delete;
  Acceptor& operator=(const Acceptor&) = delete;

  // Binds and listens; the error says which address and why.
  [[nodiscard]] Result<void> listen(const config::Listener& listener);
  void start();
  void close();

 private:
  void wait();
  void accept_some();

  // While the process is out of descriptors, accepting again at once would only spin.
  static constexpr std::chrono::milliseconds pause{100};

  boost::asio::posix::stream_descriptor socket_;
  boost::asio::steady_timer timer_;
  Deliver deliver_;
  std::size_t index_;
  std::string unix_path_;
};

}  // namespace holdfast::proxy
