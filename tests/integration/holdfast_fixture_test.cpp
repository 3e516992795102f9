// The fixture for the proxy lets nothing go unnoticed. Stand-ins (shell scripts) play the proxy here.
#include <gmock/gmock.h>
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/holdfast.hpp"
#include "tests/support/scripted_peer.hpp"

namespace holdfast::testing {
namespace {

class HoldfastFixture : public ::testing::Test {
 protected:
  void use_stand_in(const std::string& script) {
    const auto path = folder_.path() / "stand-in";
    write_file(path, "#!/bin/sh\n" + script + "\n");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    ::setenv("HOLDFAST_BINARY", path.c_str(), 1);
  }
  void SetUp() override {
    if (const char* before = std::getenv("HOLDFAST_BINARY")) before_ = before;
  }
  void TearDown() override {
    if (before_)
      ::setenv("HOLDFAST_BINARY", before_->c_str(), 1);
    else
      ::unsetenv("HOLDFAST_BINARY");
  }

 private:
  TempDir folder_;
  std::optional<std::string> before_;
};

// Ends with the given code on SIGTERM, as the proxy would.
std::string waits_for_sigterm(int code) {
  return "trap 'kill $!; exit " + std::to_string(code) + "' TERM\nsleep 600 &\necho waiting\nwait";
}

TEST_F(HoldfastFixture, good_end_is_no_failure) {
  use_stand_in(waits_for_sigterm(0));
  Holdfast proxy({.wait_ready = false});
  ASSERT_TRUE(proxy.wait_log("waiting"));
  EXPECT_EQ(proxy.terminate(), 0);
  EXPECT_FALSE(proxy.running());
}

TEST_F(HoldfastFixture, sanitizer_report_fails_the_test) {
  use_stand_in("echo 'relay.cpp:1:2: runtime error: signed integer overflow'\n" + waits_for_sigterm(0));
  const auto start_and_end = [] {
    const Holdfast proxy({.wait_ready = false});
    ASSERT_TRUE(proxy.wait_log("waiting"));
  };
  EXPECT_NONFATAL_FAILURE(start_and_end(), "signed integer overflow");
}

TEST_F(HoldfastFixture, bad_exit_code_fails_the_test) {
  use_stand_in(waits_for_sigterm(3));
  const auto start_and_end = [] {
    const Holdfast proxy({.wait_ready = false});
    ASSERT_TRUE(proxy.wait_log("waiting"));
  };
  EXPECT_NONFATAL_FAILURE(start_and_end(), "ended with 3, not 0");
}

TEST_F(HoldfastFixture, end_at_start_is_thrown_with_the_log) {
  use_stand_in("echo 'holdfast.yaml:1:1: unknown key'; exit 1");
  try {
    const Holdfast proxy({.config = "listen: []\n"});
    FAIL() << "it counts as started";
  } catch (const std::runtime_error& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("unknown key"));
  }
}

TEST_F(HoldfastFixture, configuration_is_filled_in_and_replaced) {
  use_stand_in("cat \"$1\"\ntrap 'cat \"$1\"' HUP\n" + waits_for_sigterm(0) + "\nwait");
  Holdfast proxy({.config = "port: ${port}\nfile: ${folder}/x\n", .wait_ready = false});
  ASSERT_TRUE(proxy.wait_log("port: " + std::to_string(proxy.port()) + "\nfile: " + proxy.folder().string() + "/x\n"));
  ASSERT_TRUE(proxy.wait_log("waiting"));
  proxy.write_config("changed: true\n");
  proxy.reload();
  EXPECT_TRUE(proxy.wait_log("changed: true"));
}

TEST_F(HoldfastFixture, http_answer_is_read_to_its_end) {
  ScriptedServer server([](PeerConnection& peer) {
    peer.expect("GET /metrics HTTP/1.1\r\n");
    peer.send_in_pieces("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nnever", 9);
    peer.shutdown_write();
  });
  const auto reply = http_get(server.port(), "/metrics");
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->status, 503);
  EXPECT_EQ(reply->body, "never");
  const Port nobody;
  EXPECT_FALSE(http_get(nobody.number(), "/metrics"));
}

}  // namespace
}  // namespace holdfast::testing
