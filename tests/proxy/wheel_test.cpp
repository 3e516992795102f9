#include "proxy/io/wheel.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace holdfast::proxy {
namespace {

using namespace std::chrono_literals;

// A deadline that notes when it came.
struct Timer {
  explicit Timer(const TimePoint& clock) : now(clock), deadline(&Timer::fire, this) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  static void fire(void* self) {
    auto& timer = *static_cast<Timer*>(self);
    ++timer.fired;
    timer.at = timer.now;
    if (timer.wheel != nullptr) timer.wheel->arm(timer.deadline, timer.now + timer.again);
  }
  const TimePoint& now;
  Deadline deadline;
  int fired = 0;
  TimePoint at{};
  DeadlineWheel* wheel = nullptr;  // armed again on it, `again` later
  std::chrono::milliseconds again{};
};

class Wheel : public ::testing::Test {
 protected:
  void pass(TimePoint::duration time) {
    now += time;
    wheel.advance(now);
  }
  TimePoint start{1234567us};
  TimePoint now = start;
  DeadlineWheel wheel{start};
};

TEST_F(Wheel, never_early_and_at_most_a_slot_late) {
  Timer timer(now);
  wheel.arm(timer.deadline, now + 12345us);
  while (timer.fired == 0) pass(100us);
  EXPECT_GE(timer.at - start, 12345us);
  EXPECT_LE(timer.at - start, 12345us + DeadlineWheel::slot_width + 100us);
  EXPECT_EQ(wheel.armed(), 0U);
}

TEST_F(Wheel, past_moment_expires_at_the_next_advance) {
  pass(1s);
  Timer timer(now);
  wheel.arm(timer.deadline, start);
  pass(DeadlineWheel::slot_width);
  EXPECT_EQ(timer.fired, 1);
}

TEST_F(Wheel, disarmed_deadline_does_not_come) {
  Timer timer(now);
  wheel.arm(timer.deadline, now + 20ms);
  timer.deadline.disarm();
  EXPECT_EQ(wheel.next_due(), DeadlineWheel::never());
  pass(1s);
  EXPECT_EQ(timer.fired, 0);
}

TEST_F(Wheel, deadline_beyond_the_horizon_waits_its_time) {
  Timer timer(now);
  wheel.arm(timer.deadline, now + 60s);
  for (int i = 0; i < 599; ++i) pass(100ms);
  EXPECT_EQ(timer.fired, 0);
  pass(200ms);
  EXPECT_EQ(timer.fired, 1);
}

TEST_F(Wheel, deadline_armed_after_a_long_idle_time_is_right) {
  now += 3600s;  // nobody advances a wheel without deadlines
  Timer timer(now);
  const auto from = now;
  wheel.arm(timer.deadline, now + 30ms);
  for (int i = 0; i < 100 && timer.fired == 0; ++i) pass(std::max(wheel.next_due() - now, TimePoint::duration::zero()));
  EXPECT_EQ(timer.fired, 1);
  EXPECT_GE(timer.at - from, 30ms);
  EXPECT_LE(timer.at - from, 40ms);
}

TEST_F(Wheel, action_may_arm_itself_again) {
  Timer timer(now);
  timer.wheel = &wheel;
  timer.again = 5ms;
  wheel.arm(timer.deadline, now + 5ms);
  for (int i = 0; i < 200; ++i) pass(5ms);
  EXPECT_GE(timer.fired, 90);
  EXPECT_EQ(wheel.armed(), 1U);
}

TEST_F(Wheel, action_may_disarm_another_that_is_due) {
  struct Killer {
    Timer* victim;
    static void fire(void* self) { static_cast<Killer*>(self)->victim->deadline.disarm(); }
  };
  Timer victim(now);
  Killer killer{&victim};
  Deadline deadline(&Killer::fire, &killer);
  wheel.arm(deadline, now + 10ms);
  wheel.arm(victim.deadline, now + 10ms);
  pass(50ms);
  EXPECT_EQ(victim.fired, 0);
  EXPECT_EQ(wheel.armed(), 0U);
}

TEST_F(Wheel, waiting_as_told_meets_every_deadline) {
  std::minstd_rand random(42);
  std::vector<std::unique_ptr<Timer>> timers;
  std::vector<TimePoint> due;
  for (int i = 0; i < 500; ++i) {
    timers.push_back(std::make_unique<Timer>(now));
    due.push_back(now + std::chrono::microseconds(random() % 12'000'000));
    wheel.arm(timers.back()->deadline, due.back());
  }
  int turns = 0;
  while (wheel.armed() > 0 && turns < 100'000) {
    ASSERT_NE(wheel.next_due(), DeadlineWheel::never());
    pass(std::max(wheel.next_due() - now, TimePoint::duration::zero()));
    ++turns;
  }
  for (std::size_t i = 0; i < timers.size(); ++i) {
    EXPECT_EQ(timers[i]->fired, 1);
    EXPECT_GE(timers[i]->at, due[i]);
    EXPECT_LE(timers[i]->at - due[i], DeadlineWheel::slot_width + 1ms);
  }
  EXPECT_LT(turns, 5000);  // it waits instead of spinning
}

TEST_F(Wheel, armed_deadline_that_dies_leaves_the_wheel) {
  {
    Timer timer(now);
    wheel.arm(timer.deadline, now + 10ms);
    EXPECT_EQ(wheel.armed(), 1U);
  }
  EXPECT_EQ(wheel.armed(), 0U);
  pass(1s);
}

}  // namespace
}  // namespace holdfast::proxy
