// A setting's value between text and struct, whatever its type: parsed, checked and printed in one place.
#pragma once

#include <chrono>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/model.hpp"
#include "config/problem.hpp"

namespace holdfast::config {

// host:port, [::1]:port, or the folder of a Unix socket with the port that names it. Empty host: off.
struct Address {
  std::string host;
  std::uint16_t port = 0;
  friend bool operator==(const Address&, const Address&) = default;
};

// `session`, `global`, `eventual` or `bounded: 5s`
struct Consistency {
  ReadConsistency mode = ReadConsistency::session;
  Milliseconds staleness{0};
  friend bool operator==(const Consistency&, const Consistency&) = default;
};

// Words of an enum are kept as text, checked against the key's list.
using Value = std::variant<bool, std::uint64_t, Milliseconds, std::string, std::vector<std::string>, Address,
                           Consistency, Secret>;

struct Key;
struct YamlNode;

// Why a value can't be taken, and where in it.
struct ValueProblem {
  Place place;
  std::string message;
};

// Reads `node` as the key's type; checks the range and the words. Not for the places that a secret comes from: a Secret
// is taken literally.
[[nodiscard]] std::expected<Value, ValueProblem> parse_value(const Key& key, const YamlNode& node);

// As an operator would write it, so that it can be parsed again; a secret is "[secret]".
[[nodiscard]] std::string print_value(const Key& key, const Value& value);

// "0.0.0.0:6432", "[::1]:6432", "/run/holdfast"; without a port it is `standard_port`. Port 0: the system chooses.
[[nodiscard]] std::expected<Address, std::string> parse_address(std::string_view text, std::uint16_t standard_port);

}  // namespace holdfast::config
