// Every setting with its default and meaning, printed from the schema's table: `holdfast --reference`.
#pragma once

#include <cstdint>
#include <optional>
#include <ostream>
#include <string_view>

namespace holdfast::config {

enum class ReferenceFormat : std::uint8_t {
  yaml,         // a complete configuration of all defaults with comments; loads as it stands but for the files it names
  markdown,     // tables, for the documentation
  json_schema,  // JSON Schema 2020-12, for editors
};
// "yaml", "markdown", "json-schema"
[[nodiscard]] std::optional<ReferenceFormat> parse_reference_format(std::string_view text);

void print_reference(std::ostream& out, ReferenceFormat format);

}  // namespace holdfast::config
