#include "proxy/admin/metrics.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

#include "health/monitor.hpp"

namespace holdfast::proxy {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class MetricsTest : public ::testing::Test {
 protected:
  void publish(health::Topology topology) {
    metrics.topology(std::make_shared<const health::Topology>(std::move(topology)));
  }

  boost::asio::io_context context;  // outlives the monitors
  Metrics::Monitors monitors;
  Metrics metrics{monitors};
  health::Topology cluster{
      .cluster = "main",
      .primary = 0,
      .members = {{.name = "pg1", .state = health::MemberState::primary},
                  {.name = "pg2", .state = health::MemberState::replica, .lag_bytes = 8, .lag_known = true}}};
};

TEST_F(MetricsTest, split_brain_is_1_while_it_lasts) {
  publish(cluster);
  EXPECT_THAT(metrics.text(), HasSubstr("\nholdfast_cluster_split_brain{cluster=\"main\"} 0\n"));
  cluster.split_brain = {0, 1};
  publish(cluster);
  EXPECT_THAT(metrics.text(), HasSubstr("\nholdfast_cluster_split_brain{cluster=\"main\"} 1\n"));
}

TEST_F(MetricsTest, events_are_counted_by_kind_from_0_on) {
  publish(cluster);
  EXPECT_THAT(metrics.text(), HasSubstr("\nholdfast_health_events_total{cluster=\"main\",event=\"split_brain\"} 0\n"));
  metrics.event({.time = {}, .kind = health::EventKind::split_brain, .cluster = "main"}, {});
  EXPECT_THAT(metrics.text(), HasSubstr("\nholdfast_health_events_total{cluster=\"main\",event=\"split_brain\"} 1\n"));
}

TEST_F(MetricsTest, time_without_a_primary_is_a_histogram) {
  publish(cluster);
  const auto at = [&](health::EventKind kind, std::chrono::milliseconds when) {
    metrics.event({.time = {}, .kind = kind, .cluster = "main"}, health::TimePoint(when));
  };
  at(health::EventKind::primary_changed, std::chrono::milliseconds(0));  // the first one
  at(health::EventKind::primary_lost, std::chrono::milliseconds(1000));
  at(health::EventKind::primary_changed, std::chrono::milliseconds(1030));
  at(health::EventKind::primary_lost, std::chrono::milliseconds(2000));
  at(health::EventKind::primary_back, std::chrono::milliseconds(102'000));
  const auto text = metrics.text();
  const std::string name = "\nholdfast_cluster_without_primary_seconds";
  EXPECT_THAT(text, HasSubstr(name + "_count{cluster=\"main\"} 2\n"));
  EXPECT_THAT(text, HasSubstr(name + "_sum{cluster=\"main\"} 100.03\n"));
  EXPECT_THAT(text, HasSubstr(name + "_bucket{cluster=\"main\",le=\"0.025\"} 0\n"));
  EXPECT_THAT(text, HasSubstr(name + "_bucket{cluster=\"main\",le=\"0.05\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(name + "_bucket{cluster=\"main\",le=\"60\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(name + "_bucket{cluster=\"main\",le=\"+Inf\"} 2\n"));
}

TEST_F(MetricsTest, time_that_clients_were_held_is_a_histogram) {
  Counters worker;
  metrics.add(worker);
  worker.held.add(5'000);
  worker.held.add(5'001);
  publish(cluster);
  EXPECT_THAT(metrics.text(), HasSubstr("\nholdfast_hold_seconds_bucket{le=\"0.005\"} 1\n"));
  EXPECT_THAT(metrics.text(), HasSubstr("\nholdfast_hold_seconds_bucket{le=\"0.01\"} 2\n"));
  EXPECT_THAT(metrics.text(), HasSubstr("\nholdfast_hold_seconds_count 2\n"));
}

// deploy/METRICS.md has a row for each, with the text that the scrape has.
TEST_F(MetricsTest, each_is_explained_in_the_documentation) {
  publish(cluster);
  const auto path = std::filesystem::path(__FILE__).parent_path() / "../../deploy/METRICS.md";
  std::ifstream file(path);
  const std::string written(std::istreambuf_iterator<char>(file), {});
  ASSERT_FALSE(written.empty()) << path;
  std::istringstream lines(metrics.text());
  int found = 0;
  for (std::string line; std::getline(lines, line);) {
    constexpr std::string_view help = "# HELP ";
    if (!line.starts_with(help)) continue;
    const auto space = line.find(' ', help.size());
    const auto row = written.find("\n| `" + line.substr(help.size(), space - help.size()) + "` |");
    ASSERT_NE(row, std::string::npos) << line;
    EXPECT_THAT(written.substr(row, written.find('\n', row + 1) - row), HasSubstr(line.substr(space + 1)));
    ++found;
  }
  EXPECT_GT(found, 20);
}

TEST_F(MetricsTest, members_that_a_reload_removed_are_not_shown) {
  publish(cluster);
  EXPECT_THAT(metrics.text(), HasSubstr("holdfast_member_lag_bytes{cluster=\"main\",member=\"pg2\"} 8\n"));
  cluster.members[1] = {.name = "pg2", .state = health::MemberState::down, .removed = true};
  publish(cluster);
  EXPECT_THAT(metrics.text(), HasSubstr("member=\"pg1\""));
  EXPECT_THAT(metrics.text(), Not(HasSubstr("member=\"pg2\"")));
}

TEST_F(MetricsTest, probes_are_counted_by_result) {
  const config::Cluster watched{.name = "main", .members = {{.name = "pg1", .host = "127.0.0.1"}}};
  monitors.emplace("main", std::make_unique<health::Monitor>(
                               context, watched, [](const health::TopologyPtr&) {}, [](const health::Event&) {}));
  cluster.members.pop_back();
  publish(cluster);
  const auto text = metrics.text();
  for (std::size_t i = 0; i < health::grade_count; ++i) {
    const std::string grade = health::name_of(static_cast<health::Grade>(i));
    EXPECT_THAT(
        text, HasSubstr("holdfast_member_probes_total{cluster=\"main\",member=\"pg1\",result=\"" + grade + "\"} 0\n"));
  }
  EXPECT_THAT(text, HasSubstr("\nholdfast_member_probe_seconds_count{cluster=\"main\",member=\"pg1\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("\nholdfast_member_probe_seconds_sum{cluster=\"main\",member=\"pg1\"} 0\n"));
}

// A HELP line is read alone, by a person who has not seen the one before.
TEST_F(MetricsTest, every_family_has_a_help_line_that_is_a_sentence) {
  publish(cluster);
  std::istringstream lines(metrics.text());
  std::size_t count = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("# HELP ")) continue;
    ++count;
    EXPECT_THAT(line, ::testing::MatchesRegex("# HELP holdfast_[a-z_]* [A-Z1].*[.]"));
    EXPECT_THAT(line, Not(HasSubstr("Of them")));
  }
  EXPECT_GT(count, 30U);
}

}  // namespace
}  // namespace holdfast::proxy
