#include "config/check.hpp"

#include "config/load.hpp"

namespace holdfast::config {

int check(const std::string& path, std::ostream& out) {
  const auto loaded = load(path);
  if (!loaded) {
    const auto& problems = loaded.error();
    for (const auto& problem : problems) out << problem << '\n';
    out << problems.size() << (problems.size() == 1 ? " error\n" : " errors\n");
    return 1;
  }
  for (const auto& warning : loaded->warnings) out << "warning: " << warning << '\n';
  out << "configuration is valid\n";
  return 0;
}

}  // namespace holdfast::config
