// A certificate authority and certificates for tests, made once per user.
#pragma once

#include <filesystem>
#include <string>

namespace holdfast::testing {

// Paths of PEM files. Keys are readable by their owner only.
struct Certificates {
  std::filesystem::path ca;      // self-signed
  std::filesystem::path server;  // CN localhost; SAN DNS:localhost, IP:127.0.0.1; signed by the CA
  std::filesystem::path server_key;
  std::filesystem::path client;  // CN app; signed by the CA
  std::filesystem::path client_key;
};

// The set that all tests of this user share; made when it is missing (by the openssl command).
Certificates shared_certificates();
// Writes a new set into `folder`, by the openssl command. Throws std::runtime_error with its output.
Certificates make_certificates(const std::filesystem::path& folder);

}  // namespace holdfast::testing
