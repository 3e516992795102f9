#include "health/address_book.hpp"

#include <algorithm>
#include <boost/asio/ip/address.hpp>
#include <utility>

namespace holdfast::health {

namespace {

constexpr std::chrono::seconds lookup_age{30};
constexpr std::chrono::seconds lookup_spacing{1};
const std::string no_address;

}  // namespace

AddressBook::AddressBook(boost::asio::io_context& context, std::string host, std::function<void()> changed)
    : resolver_(context), host_(std::move(host)), changed_(std::move(changed)) {
  boost::system::error_code error;
  boost::asio::ip::make_address(host_, error);
  literal_ = !error || host_.starts_with('/') || host_.starts_with('@');
  if (literal_) addresses_.push_back(host_);
}

const std::string& AddressBook::current() const {
  return addresses_.empty() ? no_address : addresses_[index_];
}

bool AddressBook::contains(const std::string& address) const {
  return std::find(addresses_.begin(), addresses_.end(), address) != addresses_.end();
}

void AddressBook::refresh_if_old(TimePoint now, Age allowed) {
  if (!asked_ || allowed == Age::short_lived || now - last_lookup_ > lookup_age) refresh(now);
}

void AddressBook::refresh(TimePoint now) {
  if (literal_ || resolving_ || (asked_ && now - last_lookup_ < lookup_spacing)) return;
  resolving_ = true;
  asked_ = true;
  last_lookup_ = now;
  resolver_.async_resolve(host_, "",
                          [weak = weak_from_this()](const boost::system::error_code& error,
                                                    const boost::asio::ip::tcp::resolver::results_type& results) {
                            if (const auto self = weak.lock()) self->took(error, results);
                          });
}

void AddressBook::failed(TimePoint now) {
  if (!addresses_.empty()) index_ = (index_ + 1) % addresses_.size();
  refresh(now);
}

void AddressBook::took(const boost::system::error_code& error,
                       const boost::asio::ip::tcp::resolver::results_type& results) {
  resolving_ = false;
  error_ = error;
  std::vector<std::string> found;
  for (const auto& entry : results) {
    std::string address = entry.endpoint().address().to_string();
    if (std::find(found.begin(), found.end(), address) == found.end()) found.push_back(std::move(address));
  }
  if (!error && !found.empty()) {
    const std::string before = current();
    addresses_ = std::move(found);
    // Answers rotate; an address that is still among them stays in use.
    const auto same = std::find(addresses_.begin(), addresses_.end(), before);
    index_ = same == addresses_.end() ? 0 : static_cast<std::size_t>(same - addresses_.begin());
  }
  changed_();
}

}  // namespace holdfast::health
