#include "tests/support/holdfast.hpp"

#include <gtest/gtest.h>
#include <signal.h>

#include <charconv>
#include <cstdlib>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include "tests/support/scripted_peer.hpp"

namespace holdfast::testing {
namespace {

using namespace std::chrono_literals;

std::string sanitizer_report(const std::string& log) {
  for (const char* mark : {"ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer",
                           ": runtime error: ", "AddressSanitizer:DEADLYSIGNAL"})
    if (const auto at = log.find(mark); at != std::string::npos) return log.substr(at, 6000);
  return {};
}

std::string tail(const std::string& text) {
  return text.size() < 6000 ? text : text.substr(text.size() - 6000);
}

// The proxy of this build tree, unless the environment names another.
std::string binary() {
  const char* configured = std::getenv("HOLDFAST_BINARY");
  return configured == nullptr ? HOLDFAST_BINARY : configured;
}

}  // namespace

std::optional<HttpReply> http_get(int port, const std::string& path, std::chrono::milliseconds bound) {
  std::string text;
  try {
    PeerConnection connection(connect_to(port));
    connection.set_bound(bound);
    connection.send("GET " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    text = connection.read_until_end();
  } catch (const std::system_error&) {
    return std::nullopt;  // nobody listens
  } catch (const ScriptError&) {
    return std::nullopt;  // no end in time
  }
  const auto end = text.find("\r\n\r\n");
  if (!text.starts_with("HTTP/1.") || end == std::string::npos || text.size() < 12) return std::nullopt;
  HttpReply reply{.status = 0, .headers = text.substr(0, end), .body = text.substr(end + 4)};
  std::from_chars(text.data() + 9, text.data() + 12, reply.status);
  return reply;
}

Holdfast::Holdfast(HoldfastOptions options) : options_(std::move(options)), log_(folder_.path() / "holdfast.log") {
  for (const auto& [name, content] : options_.files) {
    write_file(folder_.path() / name, fill_in(content));
    std::filesystem::permissions(folder_.path() / name,
                                 std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
  }
  write_config(options_.config);
  auto words = options_.under;
  words.push_back(binary());
  words.push_back((folder_.path() / "holdfast.yaml").string());
  words.insert(words.end(), options_.arguments.begin(), options_.arguments.end());
  Command command{.program = words.front(),
                  .arguments = {words.begin() + 1, words.end()},
                  .environment = options_.environment,
                  .output = log_};
  command.environment.emplace_back("UBSAN_OPTIONS", "print_stacktrace=1");
  process_.emplace(command);
  if (!options_.wait_ready) return;
  const bool settled = wait_until(20s, [&] { return ready() || !process_->running(); });
  if (!settled || !process_->running())
    throw std::runtime_error(std::string(settled ? "holdfast ended at start" : "holdfast isn't ready in time") +
                             "; its log:\n" + tail(log()));
}

Holdfast::~Holdfast() {
  if (ended_ || !process_) return;
  try {
    if (!process_->running())
      check_end(process_->wait_for(0ms).value_or(-1));
    else
      terminate();
  } catch (const std::exception& error) {
    ADD_FAILURE() << error.what();
  }
}

bool Holdfast::ready() const {
  if (options_.config.find("${http_port}") != std::string::npos) {
    const auto reply = http_get(http_port(), "/readyz", 2s);
    return reply && reply->status == 200;
  }
  try {
    const PeerConnection connection(connect_to(port()));
    return true;
  } catch (const std::system_error&) {
    return false;
  }
}

int Holdfast::terminate(std::chrono::milliseconds bound) {
  process_->signal(SIGTERM);
  const auto code = process_->wait_for(bound);
  if (!code) {
    kill9();
    throw std::runtime_error("holdfast didn't end in time after SIGTERM; its log:\n" + tail(log()));
  }
  check_end(*code);
  return *code;
}

void Holdfast::kill9() {
  process_->kill_tree();
  ended_ = true;
  if (const auto report = sanitizer_report(log()); !report.empty()) ADD_FAILURE() << report;
}

void Holdfast::check_end(int exit_code) {
  ended_ = true;
  const auto text = log();
  if (const auto report = sanitizer_report(text); !report.empty())
    ADD_FAILURE() << "holdfast reported:\n" << report;
  else if (exit_code != expected_exit_)
    ADD_FAILURE() << "holdfast ended with " << exit_code << ", not " << expected_exit_ << "; its log:\n" << tail(text);
}

std::string Holdfast::fill_in(std::string text) const {
  const std::pair<std::string, std::string> values[] = {{"${port}", std::to_string(port())},
                                                        {"${http_port}", std::to_string(http_port())},
                                                        {"${folder}", folder_.path().string()}};
  for (const auto& [name, value] : values)
    for (auto at = text.find(name); at != std::string::npos; at = text.find(name, at + value.size()))
      text.replace(at, name.size(), value);
  return text;
}

void Holdfast::write_config(const std::string& yaml) {
  options_.config = yaml;
  // Renamed into place: a reload sees the old or the new file.
  const auto path = folder_.path() / "holdfast.yaml";
  write_file(path.string() + ".new", fill_in(yaml));
  std::filesystem::rename(path.string() + ".new", path);
}

std::string Holdfast::conninfo(const std::string& user, const std::string& database) const {
  return "host=127.0.0.1 port=" + std::to_string(port()) + " user=" + user + " dbname=" + database +
         " password=" + (user == "holdfast" ? monitor_password : app_password);
}

Connection Holdfast::connect(const std::string& user, const std::string& database) const {
  return Connection(conninfo(user, database));
}

HttpReply Holdfast::get(const std::string& path) const {
  auto reply = http_get(http_port(), path);
  if (!reply) throw std::runtime_error("no answer to GET " + path + "; holdfast's log:\n" + tail(log()));
  return *std::move(reply);
}

std::optional<double> Holdfast::metric(const std::string& sample) const {
  // Text exposition format: name{labels} value; comments begin with '#'.
  std::istringstream lines(get("/metrics").body);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with(sample + " ")) return std::stod(line.substr(sample.size() + 1));
  return std::nullopt;
}

std::string Holdfast::log() const {
  return read_file(log_);
}

bool Holdfast::wait_log(const std::string& text, std::chrono::milliseconds bound) const {
  return wait_until(bound, [&] { return log().find(text) != std::string::npos; });
}

std::string members_yaml(ReplicationSet& set) {
  std::string text;
  for (std::size_t i = 0; i < set.size(); ++i)
    text += "      - { name: " + set[i].name() + ", host: 127.0.0.1, port: " + std::to_string(set[i].port()) + " }\n";
  return text;
}

}  // namespace holdfast::testing
