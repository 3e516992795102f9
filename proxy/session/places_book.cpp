#include "proxy/session/places_book.hpp"

namespace holdfast::proxy {

std::shared_ptr<Places> PlacesBook::find(const std::string& what, std::uint32_t limit) {
  const std::lock_guard lock(mutex_);
  // Names of databases come from clients: those of which no place is taken are forgotten.
  if (book_.size() >= most_kept) std::erase_if(book_, [](const auto& entry) { return entry.second.use_count() == 1; });
  auto& places = book_[what];
  if (!places) {
    places = std::make_shared<Places>(limit);
  } else {
    places->set_limit(limit);
  }
  return places;
}

std::size_t PlacesBook::size() {
  const std::lock_guard lock(mutex_);
  return book_.size();
}

}  // namespace holdfast::proxy
