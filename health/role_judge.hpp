// Who is the primary? The one role fact of a cluster: {epoch, system identifier, timeline, primary, who is fenced}.
// A machine without sockets or clock: observations and losses of members go in, the fact comes out.
//
// The rules, in order:
//  1. A member of another system identifier is quarantined and takes part in nothing. The identifier is configured, or
//     learnt when every member has answered or been given up once: the one that most members have; a tie accepts none.
//     That of the record of an earlier run counts as configured.
//  2. A claimant says that it is not in recovery. Claims below the floor are fenced as stale. The floor is the highest
//     timeline that was accepted, claimed, or followed by a standby; it never falls while the record lives.
//  3. Of several claimants the highest timeline wins, the others are fenced. Two that were seen to claim at the same
//     time are a split brain all the same: clients that do not come through the proxy may write to the loser.
//     Unless the lower one is the incumbent (accepted, or at a first start the one that most standbys follow), answers,
//     takes writes, and standbys stream its timeline: somebody may have promoted a standby by mistake. Then writes
//     wait, for `claim_wait` at most. If the incumbent falls silent meanwhile, or more standbys stream the higher
//     timeline, that one wins. Else the claim is refused, and the incumbent goes on. Not even its end makes the refused
//     one primary, which lacks what was written since, nor does a restart of this process. What does: that the
//     incumbent is gone and standbys follow the refused one, that it leaves the configuration, or begin_record(). A
//     timeline that is contested or refused raises no floor.
//  4. A claimant on the accepted timeline must be the accepted member, unless that one is now seen in recovery (a clean
//     hand-over without promotion) or has left the configuration. Anything else is a split brain on one timeline.
//  5. Two claimants on one timeline: DUAL, the split brain that no timeline resolves. No member gets writes, not even
//     the accepted one, until all but one of them are seen in recovery, in another cluster, or are removed from the
//     configuration. Going silent resolves nothing; but the accepted one goes on when nothing has listened at any of
//     the others' addresses for ten seconds.
//  6. A claimant is accepted after two agreeing observations in a row; the second is asked for at once.
//  7. The epoch grows when the accepted primary is another member, is on another timeline, or was restarted. The same
//     reign seen again after a silence, or by another run with its record, keeps its epoch. Epoch and timeline never
//     decrease within one record; begin_record() ends it, the epoch goes on.
//  8. Two members that say the same of their server are one: the second name takes part in nothing while the first
//     answers, and stands for it else.
// Thread: control. Invariant, tested with random histories: at most one primary, fenced members never are it.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "health/observation.hpp"
#include "health/record.hpp"
#include "health/topology.hpp"

namespace holdfast::health {

// The role that the cluster gives to a member. `none` while nothing current is known.
enum class Role : std::uint8_t { none, primary, replica, candidate, fenced, quarantined };
[[nodiscard]] const char* name_of(Role role);

class RoleJudge {
 public:
  // How long a replica may lag behind a timeline, or wait for WAL, before it leaves the read pool.
  static constexpr std::chrono::seconds stuck_after{3};
  // Backends outlive their postmaster by seconds (measured: 3.5), and work on.
  static constexpr std::chrono::seconds dead_after{10};
  // A receiver that reconnects still follows whom it followed: wal_retrieve_retry_interval is 5 s.
  static constexpr std::chrono::seconds streamed_for{6};
  // One of two names sees the restart of their server first.
  static constexpr std::chrono::seconds same_for{10};

  // `system_identifier` 0: to be learnt. Members get the indices of their names, which are for reasons only.
  RoleJudge(const std::vector<std::string>& names, std::uint64_t system_identifier);

  void set_claim_wait(std::chrono::milliseconds wait) { claim_wait_ = wait; }
  // What an earlier run accepted, before anything is observed; `where` says where it stands, for reasons. A configured
  // system identifier that is another one makes it void.
  void remember(const Record& record, const std::string& where);
  // The operator ended the record: what is observed now is believed as at a first start.
  void begin_record(std::uint64_t system_identifier, TimePoint now);
  // Grows when record() has changed.
  [[nodiscard]] std::uint64_t record_version() const { return record_version_; }
  // For the next run; none until a primary was accepted in this one.
  [[nodiscard]] std::optional<Record> record() const;

  // A full probe that was ok. `usable` is the member machine's word: false while it has not risen yet.
  void observed(MemberIndex member, const Observation& observation, bool usable, TimePoint now);
  // The member is down, starting, or has not been reached: what it claimed is void. `refuses`: nothing listens there.
  enum class Silence : std::uint8_t { quiet, refuses };
  void lost(MemberIndex member, const std::string& reason, TimePoint now, Silence silence = Silence::quiet);
  // A probe was not answered, which takes nothing back yet.
  void unanswered(MemberIndex member, TimePoint now);
  // The position that a light probe gave: normalised for a primary, replayed for a standby.
  void positioned(MemberIndex member, std::uint64_t lsn);
  // Membership, from a reload. A removed member takes part in nothing and resolves a DUAL it was part of.
  void added(std::string name);
  void removed(MemberIndex member, TimePoint now);
  void restored(MemberIndex member);  // back under the same name
  // Another server may answer under this name from now on.
  void forget(MemberIndex member, TimePoint now);

  [[nodiscard]] std::uint64_t epoch() const { return epoch_; }
  [[nodiscard]] std::uint32_t timeline() const { return timeline_; }
  [[nodiscard]] std::uint64_t system_identifier() const { return system_identifier_; }
  [[nodiscard]] std::optional<MemberIndex> primary() const { return primary_; }
  // The member of the current epoch, also while it does not answer.
  [[nodiscard]] std::optional<MemberIndex> accepted() const { return accepted_; }
  [[nodiscard]] const std::string& why_no_primary() const { return why_; }
  // What the primary of the current epoch lacks of its predecessor's WAL, at least.
  [[nodiscard]] const std::optional<LeftBehind>& left_behind() const { return left_behind_; }
  [[nodiscard]] bool dual() const;
  // The members of a split brain (rules 3 and 5): none, or at least two. A claim counts for the time between its first
  // and last observation, so that a primary that fell silent before its successor was seen is no rival of it.
  [[nodiscard]] std::vector<MemberIndex> split_brain() const;

  struct View {
    Role role = Role::none;
    bool accepts_reads = false;  // by role, timeline and receiver; reachability and damping are the caller's
    std::string reason;
    std::uint32_t timeline = 0;
    std::uint64_t lsn = 0;
    std::uint64_t lag_bytes = 0;
    bool lag_known = false;
    std::uint64_t generation = 0;
  };
  [[nodiscard]] const View& view(MemberIndex member) const { return members_[member].view; }
  // Members to be probed at once because a second agreeing observation is wanted. Cleared by the call.
  [[nodiscard]] std::vector<MemberIndex> take_confirmations();

 private:
  // Of a claimant beside an incumbent (rule 3).
  enum class Contest : std::uint8_t { none, waits, refused };
  struct Contested {
    std::uint32_t timeline = 0;
    TimePoint since;
  };
  // What a standby's receiver was seen to stream last.
  struct Streamed {
    std::uint32_t timeline = 0;
    TimePoint at;
  };
  struct SameAs {
    MemberIndex member = 0;
    TimePoint seen;  // last
  };

  struct Facts {
    std::string name;
    std::optional<Observation> last;  // current; none: nothing known
    std::int64_t started = 0;         // of the postmaster that was seen last, also while it is lost
    bool judged = false;              // has answered, or been given up, once
    bool usable = false;
    bool in_configuration = true;
    bool dual = false;                // latched by rule 5
    Contest contest = Contest::none;  // as of the last decision
    std::optional<Contested> contested;
    std::uint32_t refused = 0;  // its claims from this timeline on; 0: none
    std::optional<Streamed> streamed;
    bool unanswered = false;             // the last probe failed
    std::optional<SameAs> same_as;       // rule 8
    TimePoint claimed_from{};            // the standing claim: when it was seen first
    TimePoint claimed_to{};              // … and last
    std::uint32_t agreeing = 0;          // full observations in a row that say the same
    std::uint32_t highest_timeline = 0;  // of this postmaster as a standby
    std::uint32_t claimed_timeline = 0;  // that has not been judged yet
    std::string lost_reason;
    std::optional<TimePoint> refuses_since;
    std::optional<TimePoint> stuck_since;
    View view;
  };

  void decide(TimePoint now);
  void learn_identifier();
  void find_second_names(TimePoint now);
  void judge_contest(TimePoint now);
  void judge_contested(MemberIndex claimant, std::optional<MemberIndex> incumbent, TimePoint now);
  [[nodiscard]] bool over(const Facts& claimant, const Facts& incumbent, TimePoint now) const;
  void refuse(Facts& claimant, std::uint32_t timeline);
  void forgive(Facts& facts);
  void tell_contest(MemberIndex incumbent, TimePoint now);
  [[nodiscard]] std::optional<MemberIndex> incumbent(TimePoint now) const;
  [[nodiscard]] std::size_t followers(const Facts& claimant, TimePoint now) const;
  [[nodiscard]] bool doubted(std::uint32_t timeline) const;
  void judge_others();
  void judge_standby(Facts& facts, TimePoint now);
  void judge_claimants();
  void judge_winner(MemberIndex winner);
  void bury_the_dead(TimePoint now);
  void declare_dual(const std::vector<MemberIndex>& contenders, std::uint32_t timeline);
  void accept(MemberIndex member);
  void set_role(Facts& facts, Role role, std::string reason);
  void update_positions();
  [[nodiscard]] bool all_probed() const;
  [[nodiscard]] bool ours(const Facts& facts) const;
  [[nodiscard]] bool says_primary(const Facts& facts) const;
  [[nodiscard]] bool claims(const Facts& facts) const;  // … and it may be one
  [[nodiscard]] std::string why_nobody_claims() const;
  void note_timelines();
  [[nodiscard]] std::string why_behind(std::uint32_t highest) const;

  std::vector<Facts> members_;
  std::chrono::milliseconds claim_wait_{5000};
  std::uint64_t record_version_ = 0;
  std::uint64_t epoch_ = 0;
  std::uint64_t system_identifier_ = 0;
  std::uint32_t timeline_ = 0;
  std::uint32_t floor_ = 0;
  std::string floor_witness_;  // the standby that raised it, for reasons
  // Believed because of the record alone, as long as no member has shown it.
  struct Recorded {
    std::uint32_t timeline = 0;  // 0: seen by now, or no record
    bool identifier = false;
    std::string primary;
    std::string where;
  };
  Recorded recorded_;
  bool accepted_once_ = false;  // in this run, and in this record
  std::uint32_t dual_timeline_ = 0;
  std::optional<MemberIndex> accepted_;
  std::int64_t accepted_started_ = 0;
  std::optional<MemberIndex> primary_;
  std::optional<std::uint64_t> primary_lsn_;  // last known of this epoch
  std::optional<LeftBehind> left_behind_;
  std::string why_;
  std::vector<MemberIndex> confirmations_;
};

}  // namespace holdfast::health
