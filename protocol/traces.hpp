// What a clean server may still show of those who had it before: facts that can't be undone, or need not be, as long as
// nobody looks. Thread: any; a plain value.
#pragma once

#include <cstdint>
#include <limits>

#include "protocol/sql/custom_settings.hpp"

namespace holdfast::protocol {

// Who left something of one kind since it was last removed.
class LeftBy {
 public:
  void add(std::uint64_t client) { who_ = who_ == nobody || who_ == client ? client : several; }
  // Nobody knows whose it is, or whether it is there.
  void add_unknown() { who_ = several; }
  void clear() { who_ = nobody; }
  // There is nothing of others any more.
  void only(std::uint64_t client) { who_ = client; }
  // Whether `client` could find what isn't its own.
  [[nodiscard]] bool by_others_than(std::uint64_t client) const { return who_ != nobody && who_ != client; }

 private:
  static constexpr std::uint64_t nobody = 0;
  static constexpr std::uint64_t several = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t who_ = nobody;
};

struct Traces {
  // Sequences that were advanced: lastval() and currval() tell the value. Gone with DISCARD SEQUENCES.
  LeftBy sequences;
  // Custom settings (app.user) that exist, if only as an empty string, because somebody set them, be it for a
  // transaction: current_setting('app.user', true) is '' instead of NULL. Gone with the connection only (placeholders,
  // src/backend/utils/misc/guc.c).
  LeftBy placeholders;
  sql::CustomNames names;  // of these, as far as their texts told
};

}  // namespace holdfast::protocol
