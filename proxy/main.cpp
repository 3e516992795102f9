#include <iostream>
#include <string>
#include <string_view>

#include "config/check.hpp"
#include "config/load.hpp"
#include "config/reference.hpp"
#include "proxy/base/log.hpp"
#include "proxy/base/memory.hpp"
#include "proxy/server.hpp"

namespace {

constexpr std::string_view usage =
    "usage: holdfast CONFIG            serve\n"
    "       holdfast --check CONFIG    say all that is wrong with a configuration\n"
    "       holdfast --reference       every setting, with its default\n"
    "       holdfast --schema          the same as a JSON schema\n"
    "       holdfast --version\n";

int serve(const std::string& path) {
  auto loaded = holdfast::config::load(path);
  if (!loaded) {
    for (const auto& problem : loaded.error()) std::cerr << problem << '\n';
    std::cerr << "holdfast: not started\n";
    return 1;
  }
  holdfast::proxy::configure_log(loaded->config.log);
  for (const auto& warning : loaded->warnings) std::cerr << "warning: " << warning << '\n';
  auto runtime = holdfast::proxy::Runtime::make(std::move(loaded->config));
  if (!runtime) {
    std::cerr << "holdfast: " << runtime.error().message << '\n';
    return 1;
  }
  int code = 0;
  {
    holdfast::proxy::Server server(path, std::move(*runtime));
    code = server.run();
  }
  holdfast::proxy::flush_log();
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string first = argc > 1 ? argv[1] : "";
  if (argc == 3 && first == "--check") return holdfast::config::check(argv[2], std::cout);
  if (argc == 2 && first == "--reference") {
    holdfast::config::print_reference(std::cout, holdfast::config::ReferenceFormat::markdown);
    return 0;
  }
  if (argc == 2 && first == "--schema") {
    holdfast::config::print_reference(std::cout, holdfast::config::ReferenceFormat::json_schema);
    return 0;
  }
  if (argc == 2 && first == "--version") {
    std::cout << "holdfast " << HOLDFAST_VERSION << '\n';
    return 0;
  }
  if (argc == 2 && (first == "--help" || first == "-h")) {
    std::cout << usage;
    return 0;
  }
  if (argc != 2 || first.starts_with('-')) {
    std::cerr << usage;
    return 2;
  }
  holdfast::proxy::settle_allocator();
  return serve(first);
}
