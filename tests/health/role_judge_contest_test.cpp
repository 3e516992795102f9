// A promotion beside a primary that lives and that standbys follow, and two names of one server.
//
// The kind: a higher timeline was believed at once, whoever had promoted it; and two observations of one server were
// two servers. Tried: the mistake, the promotion that somebody means, whoever falls silent before, meanwhile and after,
// the first start, and restarts that one of two names sees first.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "health/role_judge.hpp"

namespace holdfast::health {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr std::uint64_t ours = 7001;

Observation primary_on(std::uint32_t timeline, std::int64_t started = 1) {
  return {.in_recovery = false,
          .system_identifier = ours,
          .timeline = timeline,
          .lsn = 1000,
          .receiver = std::nullopt,
          .started = started};
}
Observation standby_on(std::uint32_t timeline, std::int64_t started, bool visible = true) {
  return {.in_recovery = true,
          .system_identifier = ours,
          .timeline = timeline,
          .lsn = 1000,
          .receiver = Receiver{.visible = visible, .status = ReceiverStatus::streaming, .timeline = timeline},
          .started = started};
}

class Contest : public ::testing::Test {
 protected:
  static constexpr MemberIndex pg1 = 0, pg2 = 1, pg3 = 2;

  // What each member says at every probe from now on; nothing: it is down.
  std::optional<Observation> says[3];

  void probe(MemberIndex member) {
    if (says[member]) {
      roles.observed(member, *says[member], true, now);
    } else {
      roles.lost(member, "connection refused", now);
    }
  }
  void probe_all_for(milliseconds time) {
    for (const auto end = now + time; now <= end; now += milliseconds(100)) {
      for (const MemberIndex member : {pg1, pg2, pg3}) probe(member);
    }
  }
  // pg1 is the primary, pg2 and pg3 follow it.
  void settle() {
    says[pg1] = primary_on(1, 11);
    says[pg2] = standby_on(1, 12);
    says[pg3] = standby_on(1, 13);
    probe_all_for(milliseconds(300));
    ASSERT_EQ(roles.primary(), pg1);
  }
  void promote_pg2() {
    says[pg2] = primary_on(2, 12);
    probe(pg2);
  }

  RoleJudge roles{{"pg1", "pg2", "pg3"}, 0};
  TimePoint now{seconds(1000)};
};

TEST_F(Contest, a_mistake_holds_writes_for_a_while_and_is_refused) {
  settle();
  promote_pg2();
  EXPECT_FALSE(roles.primary());
  EXPECT_THAT(roles.take_confirmations(), ::testing::Contains(pg1)) << "does it live?";
  probe_all_for(milliseconds(4500));
  EXPECT_FALSE(roles.primary());
  EXPECT_EQ(
      roles.why_no_primary(),
      "pg2 was promoted to timeline 2 beside pg1, which answers and is followed by 1 of the standbys: pg1 goes on "
      "after 5.0 s unless it stops or more of them follow pg2");
  EXPECT_EQ(roles.split_brain(), (std::vector<MemberIndex>{pg1, pg2}));
  EXPECT_EQ(roles.view(pg1).role, Role::candidate);
  probe_all_for(milliseconds(1000));
  EXPECT_EQ(roles.primary(), pg1);
  EXPECT_EQ(roles.epoch(), 1U);
  EXPECT_EQ(roles.timeline(), 1U);
  EXPECT_EQ(roles.view(pg2).role, Role::fenced);
  EXPECT_EQ(
      roles.view(pg2).reason,
      "was promoted to timeline 2 beside pg1, which standbys followed, and lacks what was written since: rebuild it "
      "as a replica");
  EXPECT_TRUE(roles.view(pg3).accepts_reads);
}

TEST_F(Contest, ends_when_the_old_primary_stops) {
  settle();
  promote_pg2();
  probe_all_for(seconds(1));
  says[pg1].reset();
  probe(pg1);
  probe(pg2);
  EXPECT_EQ(roles.primary(), pg2);
  EXPECT_EQ(roles.timeline(), 2U);
}

TEST_F(Contest, is_none_where_the_old_primary_does_not_answer) {
  settle();
  roles.unanswered(pg1, now);
  promote_pg2();
  probe(pg2);
  EXPECT_EQ(roles.primary(), pg2);
  EXPECT_EQ(roles.view(pg1).role, Role::fenced);
}

TEST_F(Contest, ends_when_the_old_primary_does_not_answer_any_more) {
  settle();
  promote_pg2();
  probe(pg2);
  EXPECT_FALSE(roles.primary()) << "nobody knows yet whether it lives";
  roles.unanswered(pg1, now);
  EXPECT_EQ(roles.primary(), pg2);
}

TEST_F(Contest, ends_when_the_standbys_follow_the_new_one) {
  settle();
  promote_pg2();
  probe_all_for(seconds(1));
  says[pg3] = standby_on(2, 13);
  probe_all_for(milliseconds(100));
  EXPECT_EQ(roles.primary(), pg2);
  EXPECT_EQ(roles.view(pg1).role, Role::fenced);
}

TEST_F(Contest, is_none_where_nobody_follows_the_old_primary) {
  settle();
  says[pg3].reset();
  probe(pg3);
  promote_pg2();
  probe(pg2);
  EXPECT_EQ(roles.primary(), pg2);
}

TEST_F(Contest, a_hidden_receiver_follows_nobody) {
  says[pg1] = primary_on(1, 11);
  says[pg2] = standby_on(1, 12);
  says[pg3] = standby_on(1, 13, false);
  probe_all_for(milliseconds(300));
  promote_pg2();
  probe(pg2);
  EXPECT_EQ(roles.primary(), pg2);
}

TEST_F(Contest, one_that_was_refused_lacks_what_was_written_since) {
  settle();
  promote_pg2();
  probe_all_for(seconds(6));
  ASSERT_EQ(roles.primary(), pg1);
  says[pg1].reset();
  probe_all_for(seconds(10));
  EXPECT_FALSE(roles.primary());
  EXPECT_EQ(
      roles.why_no_primary(),
      "pg1 is gone: connection refused; pg2 was promoted to timeline 2 beside a primary that standbys followed, and "
      "lacks what was written since: rebuild it as a replica");
  says[pg3] = standby_on(2, 13);  // the operator's word
  probe_all_for(milliseconds(300));
  EXPECT_EQ(roles.primary(), pg2);
}

TEST_F(Contest, a_new_record_forgets_who_was_refused) {
  settle();
  promote_pg2();
  probe_all_for(seconds(6));
  says[pg1].reset();
  says[pg3].reset();
  probe_all_for(milliseconds(300));
  EXPECT_FALSE(roles.primary());
  roles.begin_record(0, now);
  probe_all_for(milliseconds(300));
  EXPECT_EQ(roles.primary(), pg2);
}

TEST_F(Contest, one_that_goes_away_is_refused_when_the_incumbent_has_gone_on) {
  settle();
  promote_pg2();
  probe_all_for(seconds(1));
  says[pg2].reset();
  probe_all_for(milliseconds(200));
  EXPECT_EQ(roles.primary(), pg1) << "the healthy one goes on at once";
  probe_all_for(seconds(5));
  says[pg1].reset();
  says[pg2] = primary_on(2, 22);
  probe_all_for(seconds(1));
  EXPECT_FALSE(roles.primary());
}

// A promotion in earnest, whose server restarts at once.
TEST_F(Contest, one_that_restarts_before_the_old_primary_stops_wins) {
  settle();
  promote_pg2();
  says[pg2].reset();
  probe(pg2);
  says[pg2] = primary_on(2, 22);
  probe_all_for(milliseconds(300));
  EXPECT_FALSE(roles.primary());
  says[pg1].reset();
  probe_all_for(milliseconds(300));
  EXPECT_EQ(roles.primary(), pg2);
}

TEST_F(Contest, one_that_comes_and_goes_holds_writes_for_no_longer) {
  settle();
  promote_pg2();
  for (int i = 0; i < 6; ++i) {
    probe_all_for(milliseconds(800));
    says[pg2].reset();
    probe_all_for(milliseconds(200));
    says[pg2] = primary_on(2, 22 + i);
  }
  probe_all_for(milliseconds(300));
  EXPECT_EQ(roles.primary(), pg1);
}

TEST_F(Contest, one_that_became_a_replica_again_may_be_promoted_in_earnest) {
  settle();
  promote_pg2();
  probe_all_for(seconds(6));
  says[pg2] = standby_on(1, 22);
  probe_all_for(milliseconds(300));
  EXPECT_EQ(roles.view(pg2).role, Role::replica);
  says[pg1].reset();
  probe(pg1);
  says[pg2] = primary_on(2, 22);
  probe_all_for(milliseconds(200));
  EXPECT_EQ(roles.primary(), pg2);
}

TEST_F(Contest, at_a_first_start_the_one_that_is_followed_wins) {
  says[pg1] = primary_on(1, 11);
  says[pg2] = primary_on(2, 12);
  says[pg3] = standby_on(1, 13);
  probe_all_for(seconds(2));
  EXPECT_FALSE(roles.primary());
  probe_all_for(seconds(4));
  EXPECT_EQ(roles.primary(), pg1);
}

TEST_F(Contest, at_a_first_start_the_higher_one_wins_if_it_is_followed) {
  says[pg1] = primary_on(1, 11);
  says[pg2] = primary_on(2, 12);
  says[pg3] = standby_on(2, 13);
  probe_all_for(milliseconds(300));
  EXPECT_EQ(roles.primary(), pg2);
}

TEST_F(Contest, may_be_decided_without_waiting) {
  roles.set_claim_wait(milliseconds(0));
  settle();
  promote_pg2();
  probe_all_for(milliseconds(200));
  EXPECT_EQ(roles.primary(), pg1);
}

// ---- what a refused claim must not do ------------------------------------------------------------------------------

class Refused : public Contest {
 protected:
  Refused() {
    settle();
    promote_pg2();
    probe_all_for(seconds(6));
  }
  void goes_on() {
    probe_all_for(seconds(1));
    EXPECT_EQ(roles.primary(), pg1) << roles.why_no_primary();
    EXPECT_EQ(roles.epoch(), 1U);
  }
};

TEST_F(Refused, and_rebuilt_it_is_a_replica) {
  roles.removed(pg2, now);
  roles.restored(pg2);
  roles.forget(pg2, now);
  says[pg2] = standby_on(1, 22);
  goes_on();
  EXPECT_TRUE(roles.view(pg2).accepts_reads);
}

TEST_F(Refused, and_stopped_a_new_record_takes_nothing_from_the_primary) {
  says[pg2].reset();
  probe(pg2);
  roles.begin_record(0, now);
  probe_all_for(seconds(1));
  EXPECT_EQ(roles.primary(), pg1) << roles.why_no_primary();
}

TEST_F(Refused, and_restarted_as_a_standby_it_makes_nobody_stale) {
  says[pg2] = standby_on(2, 22);
  says[pg2]->receiver->status = ReceiverStatus::waiting;
  goes_on();
  says[pg2] = standby_on(1, 32);
  goes_on();
}

TEST_F(Refused, it_does_not_win_while_the_primary_answers) {
  says[pg3] = standby_on(2, 23);
  goes_on();
  says[pg3].reset();
  goes_on();
}

TEST_F(Refused, it_stands_in_no_successors_way) {
  says[pg1].reset();
  says[pg3] = primary_on(2, 13);  // the same number again
  probe_all_for(seconds(1));
  EXPECT_EQ(roles.primary(), pg3) << roles.why_no_primary();
  EXPECT_EQ(roles.view(pg2).role, Role::fenced);
  EXPECT_FALSE(roles.dual());
}

TEST_F(Refused, it_stays_so_in_the_next_run) {
  const auto record = roles.record();
  ASSERT_TRUE(record);
  RoleJudge next({"pg1", "pg2", "pg3"}, 0);
  next.remember(*record, "/state/main.record");
  for (int i = 0; i < 5; ++i) {
    now += milliseconds(100);
    next.observed(pg2, primary_on(2, 12), true, now);
    next.lost(pg1, "refused", now);
    next.observed(pg3, standby_on(1, 13), true, now);
  }
  EXPECT_FALSE(next.primary());
}

TEST_F(Refused, it_may_serve_when_the_old_primary_is_removed) {
  says[pg1].reset();
  probe_all_for(milliseconds(300));
  EXPECT_FALSE(roles.primary());
  roles.removed(pg1, now);
  for (int i = 0; i < 3; ++i) {
    now += milliseconds(100);
    probe(pg2);
    probe(pg3);
  }
  EXPECT_EQ(roles.primary(), pg2);
}

// A restart of the proxy while it lives, in whatever order they answer.
TEST_F(Refused, its_claim_counts_for_nothing_before_the_incumbent_was_asked) {
  auto record = roles.record();
  ASSERT_TRUE(record);
  record->refused.clear();  // a version that kept none
  for (const auto& order : std::vector<std::vector<MemberIndex>>{{pg2, pg1, pg3}, {pg1, pg2, pg3}, {pg3, pg2, pg1}}) {
    RoleJudge next({"pg1", "pg2", "pg3"}, 0);
    next.remember(*record, "/state/main.record");
    for (int i = 0; i < 70; ++i) {
      now += milliseconds(100);
      for (const auto member : order) next.observed(member, *says[member], true, now);
    }
    EXPECT_EQ(next.primary(), pg1) << next.why_no_primary();
  }
}

TEST_F(Contest, a_receiver_that_reconnects_still_follows) {
  settle();
  promote_pg2();
  probe_all_for(seconds(1));
  const auto streams = says[pg3];
  says[pg3]->receiver.reset();
  probe_all_for(milliseconds(500));
  EXPECT_FALSE(roles.primary());
  says[pg3] = streams;
  probe_all_for(seconds(5));
  EXPECT_EQ(roles.primary(), pg1);
}

TEST_F(Contest, a_primary_that_takes_no_writes_is_no_incumbent) {
  settle();
  says[pg1]->read_only = true;  // a hand-over by an operator
  probe(pg1);
  promote_pg2();
  probe_all_for(milliseconds(300));
  EXPECT_EQ(roles.primary(), pg2);
}

TEST_F(Contest, as_many_followers_are_not_enough) {
  roles = RoleJudge({"pg1", "pg2", "pg3", "pg4"}, 0);
  const auto probe_four = [&](milliseconds time) {
    for (const auto end = now + time; now <= end; now += milliseconds(100)) {
      for (const MemberIndex member : {pg1, pg2, pg3}) probe(member);
      roles.observed(3, standby_on(1, 14), true, now);
    }
  };
  says[pg1] = primary_on(1, 11);
  says[pg2] = standby_on(1, 12);
  says[pg3] = standby_on(1, 13);
  probe_four(milliseconds(300));
  says[pg2] = primary_on(2, 12);
  says[pg3] = standby_on(2, 13);  // it cascaded from pg2
  probe_four(seconds(4));
  EXPECT_FALSE(roles.primary());
  probe_four(seconds(2));
  EXPECT_EQ(roles.primary(), pg1) << roles.why_no_primary();
}

// Where some of several standbys move, the many decide.
class FiveMembers : public ::testing::Test {
 protected:
  FiveMembers() { probe_all_for(milliseconds(300)); }
  void probe_all_for(milliseconds time) {
    for (const auto end = now + time; now <= end; now += milliseconds(100)) {
      for (MemberIndex member = 0; member < says.size(); ++member) {
        if (says[member]) {
          roles.observed(member, *says[member], true, now);
        } else {
          roles.lost(member, "connection refused", now);
        }
      }
    }
  }

  std::vector<std::optional<Observation>> says{primary_on(1, 11), standby_on(1, 12), standby_on(1, 13),
                                               standby_on(1, 14), standby_on(1, 15)};
  RoleJudge roles{{"pg1", "pg2", "pg3", "pg4", "pg5"}, 0};
  TimePoint now{seconds(1000)};
};

TEST_F(FiveMembers, of_which_most_follow_the_new_primary_have_it) {
  ASSERT_EQ(roles.primary(), MemberIndex{0});
  says[1] = primary_on(2, 12);
  probe_all_for(seconds(1));
  EXPECT_FALSE(roles.primary());
  says[2] = standby_on(2, 13);
  says[3] = standby_on(2, 14);
  probe_all_for(milliseconds(300));
  EXPECT_EQ(roles.primary(), MemberIndex{1}) << "2 of 3, while the old one still answers";
}

TEST_F(FiveMembers, of_which_one_follows_a_mistake_keep_their_primary) {
  says[1] = primary_on(2, 12);
  says[2] = standby_on(2, 13);
  probe_all_for(seconds(6));
  EXPECT_EQ(roles.primary(), MemberIndex{0}) << roles.why_no_primary();
  says[2] = standby_on(1, 23);
  probe_all_for(seconds(1));
  EXPECT_EQ(roles.primary(), MemberIndex{0}) << roles.why_no_primary();
}

TEST_F(FiveMembers, have_the_successor_though_a_refused_one_is_on_its_timeline) {
  says[1] = primary_on(2, 12);
  probe_all_for(seconds(6));
  says[0].reset();
  says[2] = primary_on(2, 13);
  says[3] = standby_on(2, 14);  // it follows pg3
  says[4] = standby_on(2, 15);
  probe_all_for(seconds(1));
  EXPECT_EQ(roles.primary(), MemberIndex{2}) << roles.why_no_primary();
  EXPECT_EQ(roles.view(1).role, Role::fenced);
}

// A promotion ends a split brain on one timeline: none of its two is an incumbent.
TEST_F(FiveMembers, whose_split_brain_ends_with_a_promotion_have_a_primary) {
  says[4] = primary_on(1, 25);
  probe_all_for(milliseconds(300));
  ASSERT_TRUE(roles.dual());
  says[1] = primary_on(2, 12);
  probe_all_for(milliseconds(300));
  EXPECT_EQ(roles.primary(), MemberIndex{1}) << roles.why_no_primary();
}

// Nor does a refused promotion end one.
TEST_F(FiveMembers, whose_split_brain_has_fallen_silent_still_have_it) {
  says[4] = primary_on(1, 25);
  probe_all_for(milliseconds(300));
  says[4].reset();
  probe_all_for(milliseconds(300));
  roles.observed(1, primary_on(2, 12), true, now);
  roles.lost(1, "connection refused", now);  // it is gone before it could be accepted
  says[1].reset();
  probe_all_for(seconds(8));
  EXPECT_FALSE(roles.primary());
  EXPECT_TRUE(roles.dual());
}

// A standby that cascades from it is seen on its timeline first.
TEST_F(FiveMembers, of_which_a_cascade_shows_the_mistake_first_keep_their_primary) {
  says[2] = standby_on(2, 13);
  probe_all_for(milliseconds(300));
  EXPECT_FALSE(roles.primary()) << "there is a primary that nobody sees";
  says[1] = primary_on(2, 12);
  probe_all_for(seconds(6));
  EXPECT_EQ(roles.primary(), MemberIndex{0}) << roles.why_no_primary();
}

TEST(FirstStart, forgets_with_its_record_who_claimed_before_all_were_asked) {
  RoleJudge roles({"pg1", "pg2", "pg3"}, ours);
  TimePoint now{seconds(1000)};
  roles.observed(1, primary_on(2, 12), true, now);
  roles.lost(1, "connection refused", now);
  roles.begin_record(ours, now);
  for (int i = 0; i < 3; ++i) {
    roles.observed(0, primary_on(1, 11), true, now);
    roles.observed(2, standby_on(1, 13), true, now);
    now += milliseconds(100);
  }
  EXPECT_EQ(roles.primary(), MemberIndex{0}) << roles.why_no_primary();
}

// ---- two names of one server ----------------------------------------------------------------------------------------

class TwoNames : public Contest {
 protected:
  void two_names_of_the_primary() {
    says[pg1] = primary_on(1, 11);
    says[pg2] = primary_on(1, 11);
    says[pg3] = standby_on(1, 13);
    probe_all_for(milliseconds(300));
  }
};

TEST_F(TwoNames, of_a_primary_are_one_primary) {
  two_names_of_the_primary();
  EXPECT_EQ(roles.primary(), pg1);
  EXPECT_FALSE(roles.dual());
  EXPECT_TRUE(roles.split_brain().empty());
  EXPECT_EQ(roles.view(pg2).role, Role::quarantined);
  EXPECT_EQ(roles.view(pg2).reason, "leads to the same server as pg1: one of the two names is wrong");
}

TEST_F(TwoNames, of_a_standby_are_one_standby) {
  settle();
  says[pg3] = standby_on(1, 12);
  probe_all_for(milliseconds(300));
  EXPECT_EQ(roles.primary(), pg1);
  EXPECT_TRUE(roles.view(pg2).accepts_reads);
  EXPECT_EQ(roles.view(pg3).role, Role::quarantined);
}

// The second name stands for the first when that leads nowhere.
TEST_F(TwoNames, of_which_one_dies_leave_the_other) {
  two_names_of_the_primary();
  const auto server = says[pg1];
  says[pg1].reset();
  probe_all_for(milliseconds(300));
  EXPECT_EQ(roles.primary(), pg2);
  EXPECT_FALSE(roles.dual());
  says[pg1] = server;
  probe_all_for(milliseconds(300));
  EXPECT_EQ(roles.primary(), pg2);
  EXPECT_EQ(roles.view(pg1).role, Role::quarantined);
}

TEST_F(TwoNames, of_which_one_is_removed_leave_the_other) {
  two_names_of_the_primary();
  roles.removed(pg1, now);
  says[pg1].reset();
  for (int i = 0; i < 3; ++i) {
    now += milliseconds(100);
    probe(pg2);
    probe(pg3);
  }
  EXPECT_EQ(roles.primary(), pg2);
}

// The name pg2 leads to its own server now, which was promoted when the primary's host had died.
TEST_F(TwoNames, hide_no_successor) {
  two_names_of_the_primary();
  says[pg1].reset();
  probe(pg1);
  says[pg2] = primary_on(2, 12);
  says[pg3] = standby_on(2, 13);
  probe_all_for(milliseconds(300));
  EXPECT_EQ(roles.primary(), pg2);
}

// One of the names sees the restart first.
TEST_F(TwoNames, are_one_server_while_it_restarts) {
  two_names_of_the_primary();
  for (const MemberIndex first : {pg1, pg2}) {
    const auto started = says[first]->started + 10;
    says[first] = primary_on(1, started);
    now += milliseconds(100);
    probe(first);
    EXPECT_FALSE(roles.dual());
    says[pg1] = says[pg2] = primary_on(1, started);
    probe_all_for(milliseconds(300));
    EXPECT_FALSE(roles.dual());
    EXPECT_EQ(roles.primary(), pg1);
  }
}

TEST_F(TwoNames, that_lead_to_different_servers_again_are_two) {
  two_names_of_the_primary();
  says[pg2] = standby_on(1, 12);
  probe_all_for(seconds(11));
  EXPECT_EQ(roles.primary(), pg1);
  EXPECT_EQ(roles.view(pg2).role, Role::replica);
  EXPECT_TRUE(roles.view(pg2).accepts_reads);
}

}  // namespace
}  // namespace holdfast::health
