#include "health/connect_error.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

namespace holdfast::health {
namespace {

std::string tcp(const std::string& what) {
  return "connection to server at \"10.0.0.1\", port 5432 failed: " + what + "\n";
}

TEST(ConnectError, reads_the_sqlstate_in_any_language) {
  EXPECT_EQ(grade_connect_error(tcp("FATAL:  57P03")), Grade::starting);
  EXPECT_EQ(grade_connect_error(tcp("FATAL:  57P01")), Grade::starting);
  EXPECT_EQ(grade_connect_error(tcp("SCHWERWIEGEND:  53300")), Grade::too_many);
  EXPECT_EQ(grade_connect_error(tcp("FATAL:  53100")), Grade::too_many);
  EXPECT_EQ(grade_connect_error(tcp("FATAL:  28P01")), Grade::auth);
  EXPECT_EQ(grade_connect_error(tcp("FATAL:  3D000")), Grade::auth);
}

TEST(ConnectError, the_last_attempt_counts) {
  EXPECT_EQ(grade_connect_error(tcp("FATAL:  28000") + tcp("FATAL:  57P03")), Grade::starting);
}

TEST(ConnectError, tells_refused_from_unreachable) {
  EXPECT_EQ(grade_connect_error(tcp(std::strerror(ECONNREFUSED)) +
                                "\tIs the server running on that host and accepting TCP/IP connections?\n"),
            Grade::refused);
  EXPECT_EQ(grade_connect_error("connection to server on socket \"/run/.s.PGSQL.5432\" failed: " +
                                std::string(std::strerror(ENOENT)) + "\n"),
            Grade::refused);
  EXPECT_EQ(grade_connect_error(tcp(std::strerror(EHOSTUNREACH))), Grade::unreachable);
  EXPECT_EQ(grade_connect_error(tcp("server closed the connection unexpectedly")), Grade::unreachable);
}

TEST(ConnectError, a_missing_file_is_not_a_missing_server) {
  EXPECT_EQ(
      grade_connect_error(tcp("could not open certificate file \"/x.crt\": " + std::string(std::strerror(ENOENT)))),
      Grade::tls);
}

TEST(ConnectError, our_own_shortage_says_nothing_about_the_member) {
  EXPECT_EQ(grade_connect_error("could not create socket: " + std::string(std::strerror(EMFILE)) + "\n"),
            Grade::own_shortage);
  EXPECT_EQ(grade_connect_error(tcp(std::strerror(EADDRNOTAVAIL))), Grade::own_shortage);
}

TEST(ConnectError, tls_and_login_are_named) {
  EXPECT_EQ(grade_connect_error(tcp("server does not support SSL, but SSL was required")), Grade::tls);
  EXPECT_EQ(grade_connect_error(tcp("fe_sendauth: no password supplied")), Grade::auth);
}

TEST(ConnectError, empty_message_is_unreachable) {
  EXPECT_EQ(grade_connect_error(""), Grade::unreachable);
}

}  // namespace
}  // namespace holdfast::health
