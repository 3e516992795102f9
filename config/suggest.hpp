// "did you mean …": the nearest of some words.
#pragma once

#include <optional>
#include <span>
#include <string_view>

namespace holdfast::config {

// The candidate that takes the fewest typing mistakes (a letter too many, missing, wrong, or two swapped; case and
// "-" for "_" are free), if they are few for the word's length. Words longer than 64 bytes get no suggestion.
[[nodiscard]] std::optional<std::string_view> suggest(std::string_view word,
                                                      std::span<const std::string_view> candidates);

}  // namespace holdfast::config
