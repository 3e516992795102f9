// deploy/REFERENCE.md is what the program prints: a setting that is added, renamed or explained anew fails here until
// the file is written again, with `holdfast --reference > deploy/REFERENCE.md`.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "config/reference.hpp"

namespace holdfast::config {
namespace {

TEST(ReferenceFile, says_what_the_program_prints) {
  const auto path = std::filesystem::path(__FILE__).parent_path() / "../../deploy/REFERENCE.md";
  std::ifstream file(path);
  const std::string written{std::istreambuf_iterator<char>(file), {}};
  ASSERT_FALSE(written.empty()) << path;
  std::ostringstream printed;
  print_reference(printed, ReferenceFormat::markdown);
  EXPECT_EQ(written, printed.str()) << "holdfast --reference > deploy/REFERENCE.md";
}

}  // namespace
}  // namespace holdfast::config
