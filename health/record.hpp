// What must be known of a cluster when this process starts again: which primary was accepted last.
//
// Without it a process that starts while only a stale primary can be reached would believe that one. Text in, value
// out: record_store.hpp has the files. Thread: any one.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "protocol/error.hpp"

namespace holdfast::health {

struct Record {
  std::string cluster;
  std::uint64_t system_identifier = 0;
  std::uint32_t timeline = 0;                    // of the primary; the cluster is never again on a lower one
  std::uint64_t epoch = 0;                       // at least 1
  std::string primary;                           // the member's name
  std::int64_t started = 0;                      // its postmaster's start, microseconds since 1970, by its own clock
  std::map<std::string, std::uint32_t> refused;  // members whose promotion counts as a mistake, from this timeline on
  friend bool operator==(const Record&, const Record&) = default;
};

// A few lines of `key value`, with a comment for people in front.
[[nodiscard]] std::string to_text(const Record& record);

// Keys that this version doesn't know are skipped. Errors: something is missing, said twice or no number, or the text
// is about another cluster.
[[nodiscard]] Result<Record> parse_record(std::string_view text, std::string_view cluster);

// The name of the cluster's file: "main.record". What isn't a letter, a digit, '_' or '-' is written as %XX.
[[nodiscard]] std::string record_file_name(std::string_view cluster);

}  // namespace holdfast::health
