#include "tests/support/certificates.hpp"

#include <vector>

#include "tests/support/files.hpp"
#include "tests/support/process.hpp"

namespace holdfast::testing {
namespace {

void openssl(const std::vector<std::string>& arguments) {
  run_checked({.program = "openssl", .arguments = arguments});
}

Certificates paths_in(const std::filesystem::path& folder) {
  return {.ca = folder / "ca.crt",
          .server = folder / "server.crt",
          .server_key = folder / "server.key",
          .client = folder / "client.crt",
          .client_key = folder / "client.key"};
}

void make_signed(const std::filesystem::path& folder, const std::string& name, const std::string& subject,
                 const std::string& extension) {
  const auto file = [&](const std::string& suffix) { return (folder / (name + suffix)).string(); };
  write_file(file(".ext"), extension + "\n");
  openssl({"req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", subject,
           "-keyout", file(".key"), "-out", file(".csr")});
  openssl({"x509", "-req", "-in", file(".csr"), "-CA", (folder / "ca.crt").string(), "-CAkey",
           (folder / "ca.key").string(), "-CAcreateserial", "-days", "30", "-sha256", "-extfile", file(".ext"), "-out",
           file(".crt")});
  std::filesystem::permissions(file(".key"), std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

}  // namespace

Certificates make_certificates(const std::filesystem::path& folder) {
  openssl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj",
           "/CN=Holdfast test CA", "-days", "30", "-sha256", "-keyout", (folder / "ca.key").string(), "-out",
           (folder / "ca.crt").string()});
  make_signed(folder, "server", "/CN=localhost", "subjectAltName=DNS:localhost,IP:127.0.0.1");
  make_signed(folder, "client", "/CN=app", "extendedKeyUsage=clientAuth");
  return paths_in(folder);
}

Certificates shared_certificates() {
  const auto folder = shared_test_folder() / "certificates";
  const FileLock lock(shared_test_folder() / "certificates.lock");
  // They are valid for 30 days; a set of more than a week is made anew.
  std::error_code missing;
  const auto made = std::filesystem::last_write_time(folder, missing);
  if (missing || std::filesystem::file_time_type::clock::now() - made > std::chrono::days(7)) {
    const auto partial = shared_test_folder() / "certificates.partial";
    std::filesystem::remove_all(partial);
    std::filesystem::create_directory(partial);
    make_certificates(partial);
    std::filesystem::remove_all(folder);
    std::filesystem::rename(partial, folder);
  }
  return paths_in(folder);
}

}  // namespace holdfast::testing
