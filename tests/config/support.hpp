// What the tests of config/ share: files that go away, and a configuration that is right but for one line.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>

#include "config/load.hpp"

namespace holdfast::config::test {

// A folder of its own; removed with everything in it.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "holdfast-config-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
  }
  ~Folder() {
    std::error_code ignored;  // a left-over in /tmp fails no test
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  Folder(Folder&&) = delete;
  Folder& operator=(Folder&&) = delete;

  // Writes a file and gives its path.
  std::string write(const std::string& name, const std::string& text, mode_t mode = 0600) const {
    const auto path = this->path(name);
    std::ofstream(path) << text;
    if (::chmod(path.c_str(), mode) != 0) throw std::runtime_error("chmod failed");
    return path;
  }
  std::string path(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// Five lines that load; tests append to them, so that their own text begins in line 6.
inline const std::string valid =
    "listen: [ { address: 127.0.0.1:6432 } ]\n"
    "clusters:\n"
    "  main: { members: [ { name: pg1, host: 10.0.0.11 } ] }\n"
    "databases: { \"*\": { cluster: main } }\n"
    "auth: { method: trust }\n";

inline Config must_load(const std::string& text) {
  auto loaded = load_text(text, "test.yaml");
  if (!loaded) {
    ADD_FAILURE() << text << ::testing::PrintToString(loaded.error());
    return {};
  }
  return std::move(loaded->config);
}

inline Problems must_fail(const std::string& text) {
  const auto loaded = load_text(text, "test.yaml");
  EXPECT_FALSE(loaded) << text;
  return loaded ? Problems{} : loaded.error();
}

// Exactly one problem, at this place.
inline void expect_problem(const std::string& text, unsigned line, unsigned column, const std::string& key,
                           const std::string& message) {
  const auto problems = must_fail(text);
  ASSERT_EQ(problems.size(), 1U) << text << ::testing::PrintToString(problems);
  EXPECT_EQ(problems[0].file, "test.yaml");
  EXPECT_EQ(problems[0].line, line) << problems[0];
  EXPECT_EQ(problems[0].column, column) << problems[0];
  EXPECT_EQ(problems[0].key, key);
  EXPECT_THAT(problems[0].message, ::testing::HasSubstr(message));
}

// `valid` with something appended, which is wrong in one place.
inline void expect_problem_after_valid(const std::string& text, unsigned line, unsigned column, const std::string& key,
                                       const std::string& message) {
  expect_problem(valid + text, line, column, key, message);
}

}  // namespace holdfast::config::test
