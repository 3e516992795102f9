// The addresses of one member. A numeric host or a socket's directory is its own address; a name is looked up without
// blocking, again every half minute, every second while the cluster has no primary, and whenever connecting fails. The
// last good answer is kept while DNS fails. Thread: control. Lifetime: held by shared_ptr, because a lookup that hangs
// in the system's resolver outlives the probe that asked for it.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "health/freshness.hpp"

namespace holdfast::health {

class AddressBook : public std::enable_shared_from_this<AddressBook> {
 public:
  // `changed` is called after every lookup that ended, from the io_context.
  AddressBook(boost::asio::io_context& context, std::string host, std::function<void()> changed);

  // The address to use; empty: none known yet.
  [[nodiscard]] const std::string& current() const;
  [[nodiscard]] bool contains(const std::string& address) const;
  [[nodiscard]] bool resolving() const { return resolving_; }
  [[nodiscard]] boost::system::error_code error() const { return error_; }  // of the last lookup; none: it succeeded

  // Older than half a minute, or than a second: names may have been moved to other servers.
  enum class Age : std::uint8_t { usual, short_lived };
  void refresh_if_old(TimePoint now, Age allowed);
  // Looks up unless that was done within the last second.
  void refresh(TimePoint now);
  // Connecting to current() failed: the next address, and a new lookup.
  void failed(TimePoint now);

 private:
  void took(const boost::system::error_code& error, const boost::asio::ip::tcp::resolver::results_type& results);

  boost::asio::ip::tcp::resolver resolver_;
  std::string host_;
  std::function<void()> changed_;
  std::vector<std::string> addresses_;
  std::size_t index_ = 0;
  boost::system::error_code error_;
  bool literal_ = false;
  bool resolving_ = false;
  bool asked_ = false;  // a lookup has begun at least once
  TimePoint last_lookup_{};
};

}  // namespace holdfast::health
