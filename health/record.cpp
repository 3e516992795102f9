#include "health/record.hpp"

#include <charconv>
#include <optional>

namespace holdfast::health {

namespace {

constexpr std::string_view comment =
    "# Holdfast: the primary that was accepted last. It is read when the process starts, and a primary on a lower\n"
    "# timeline is refused. If such a one is right, make sure that the one below can't come back as a primary (remove\n"
    "# it from the configuration, or rebuild it), then remove this file and reload.\n";

bool is_plain(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

std::string escaped(std::string_view text) {
  static constexpr std::string_view digits = "0123456789ABCDEF";
  std::string result;
  for (const char c : text) {
    if (is_plain(c)) {
      result += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    result += '%';
    result += digits[byte / 16];
    result += digits[byte % 16];
  }
  return result;
}

std::optional<std::string> unescaped(std::string_view text) {
  std::string result;
  while (!text.empty()) {
    if (is_plain(text.front())) {
      result += text.front();
      text.remove_prefix(1);
      continue;
    }
    unsigned byte = 0;
    if (text.size() < 3 || text.front() != '%') return std::nullopt;
    if (std::from_chars(text.data() + 1, text.data() + 3, byte, 16).ptr != text.data() + 3) return std::nullopt;
    result += static_cast<char>(byte);
    text.remove_prefix(3);
  }
  return result;
}

template <typename Number>
std::optional<Number> number(std::string_view text) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// One line's value, which must come exactly once.
template <typename Value>
bool take(std::optional<Value>& into, std::optional<Value> value) {
  if (into || !value) return false;
  into = std::move(value);
  return true;
}

std::unexpected<Error> wrong(std::string message) {
  return fail(sqlstate::internal_error, std::move(message));
}

}  // namespace

namespace {

std::string refused_text(const Record& record) {
  std::string text;
  for (const auto& [name, timeline] : record.refused) {
    text += "refused " + escaped(name) + " " + std::to_string(timeline) + "\n";
  }
  return text;
}

// "pg2 5"
bool take_refused(std::map<std::string, std::uint32_t>& into, std::string_view value) {
  const auto space = value.find(' ');
  if (space == std::string_view::npos) return false;
  auto name = unescaped(value.substr(0, space));
  const auto timeline = number<std::uint32_t>(value.substr(space + 1));
  return name && timeline && *timeline != 0 && into.emplace(std::move(*name), *timeline).second;
}

}  // namespace

std::string to_text(const Record& record) {
  // What may be missing isn't last: a text that was cut is not whole.
  return std::string(comment) + "cluster " + escaped(record.cluster) + "\nsystem_identifier " +
         std::to_string(record.system_identifier) + "\ntimeline " + std::to_string(record.timeline) + "\nepoch " +
         std::to_string(record.epoch) + "\nprimary " + escaped(record.primary) + "\n" + refused_text(record) +
         "started " + std::to_string(record.started) + "\n";
}

Result<Record> parse_record(std::string_view text, std::string_view cluster) {
  std::optional<std::string> name;
  std::optional<std::string> primary;
  std::optional<std::uint64_t> identifier;
  std::optional<std::uint32_t> timeline;
  std::optional<std::uint64_t> epoch;
  std::optional<std::int64_t> started;
  std::map<std::string, std::uint32_t> refused;
  while (!text.empty()) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos) return wrong("its last line has no end");
    const auto line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (line.empty() || line.front() == '#') continue;
    const auto space = line.find(' ');
    if (space == std::string_view::npos) return wrong("a line is no `key value`");
    const auto key = line.substr(0, space);
    const auto value = line.substr(space + 1);
    bool good = true;
    if (key == "cluster") good = take(name, unescaped(value));
    if (key == "system_identifier") good = take(identifier, number<std::uint64_t>(value));
    if (key == "timeline") good = take(timeline, number<std::uint32_t>(value));
    if (key == "epoch") good = take(epoch, number<std::uint64_t>(value));
    if (key == "primary") good = take(primary, unescaped(value));
    if (key == "started") good = take(started, number<std::int64_t>(value));
    if (key == "refused") good = take_refused(refused, value);
    if (!good) return wrong("`" + std::string(key) + "` is there twice, or its value can't be read");
  }
  if (!name || !primary || !identifier || !timeline || !epoch || !started) return wrong("something is missing in it");
  if (*name != cluster) return wrong("it is about another cluster");
  if (*identifier == 0 || *timeline == 0 || *epoch == 0) return wrong("a number in it can't be 0");
  return Record{.cluster = std::move(*name),
                .system_identifier = *identifier,
                .timeline = *timeline,
                .epoch = *epoch,
                .primary = std::move(*primary),
                .started = *started,
                .refused = std::move(refused)};
}

std::string record_file_name(std::string_view cluster) {
  return escaped(cluster) + ".record";
}

}  // namespace holdfast::health
