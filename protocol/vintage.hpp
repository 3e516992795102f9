// When a statement was parsed, and how much of the catalogue's history was known then: whether its Parse may stand for
// a new one.
//
// PostgreSQL reads names and literals when a statement is parsed, so an answer made of somebody's earlier Parse is only
// right while nothing has changed since. Changes of a database's schema that pass through the proxy give it another
// number; others can't be seen, so that trust ends by itself. Thread: any; a plain value.
#pragma once

#include <chrono>
#include <cstdint>

namespace holdfast::protocol {

struct Vintage {
  // How long an answered Parse stands for new ones of the same text. A schema that is changed behind the proxy's back
  // is noticed within this time.
  static constexpr std::chrono::seconds trusted{1};

  std::uint64_t schema = 0;  // the state of the database's schema, as numbered from 1; 0: nothing may be concluded
  std::chrono::steady_clock::time_point at{};

  [[nodiscard]] bool fresh(const Vintage& now) const {
    return schema != 0 && schema == now.schema && now.at - at <= trusted;
  }
};

}  // namespace holdfast::protocol
