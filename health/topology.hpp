// Who is primary and who is usable, as of one moment: an immutable snapshot that the control thread publishes and every
// worker has by shared_ptr. A worker reads it without locks; a newer one replaces it by message.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/model.hpp"
#include "health/freshness.hpp"

namespace holdfast::health {

// Index into the cluster's list of members, stable between reloads that keep the member's name.
using MemberIndex = std::uint32_t;

enum class MemberState : std::uint8_t {
  unknown,      // not yet judged
  primary,      // the one that writes go to
  replica,      // in recovery, right cluster, right timeline
  starting,     // answers 57P03: will be back
  suspect,      // a probe failed a moment ago; probed again. The primary stays Topology::primary meanwhile
  down,         // does not answer
  fenced,       // claims to be primary and gets no traffic: a stale timeline, or a split brain
  quarantined,  // wrong system identifier, unknown ancestry, stuck receiver, or hot standby off
};
[[nodiscard]] const char* name_of(MemberState state);

struct MemberStatus {
  std::string name;
  std::string host;     // as configured; verify-full checks the certificate against it
  std::string address;  // numeric address that DNS gave, or a Unix socket's directory; empty: not resolved yet
  std::uint16_t port = 0;
  std::string zone;
  std::uint32_t weight = 1;
  MemberState state = MemberState::unknown;
  bool removed = false;  // from the configuration: its index stays, `down`
  // A replica that may get reads. False for the primary, which Topology::primary names and which can serve every read.
  // A suspect replica keeps its reads, and so does one whose primary died.
  bool accepts_reads = false;
  std::string reason;  // why it is not usable, for people: "timeline 1 is behind the cluster's 2"
  std::uint32_t timeline = 0;
  std::uint64_t lsn = 0;        // insert position of a primary, replay position of a replica
  std::uint64_t lag_bytes = 0;  // behind the primary's last known position; meaningful when lag_known
  bool lag_known = false;
  // Grows whenever connections made before must not be used any more (restart, fence, new address): a pool closes
  // links whose generation is older.
  std::uint64_t generation = 0;
};

// A new primary begins its timeline below the position that its predecessor was last seen at: what lies between is only
// there. The predecessor may have written more since it was seen, and its successor some before it was: the bytes are
// the least that it can be.
struct LeftBehind {
  std::uint64_t reached = 0;  // the predecessor's insert position
  std::uint64_t begins = 0;   // the successor's, when it was accepted
  [[nodiscard]] std::uint64_t bytes() const { return reached - begins; }
  friend bool operator==(const LeftBehind&, const LeftBehind&) = default;
};

struct Topology {
  std::string cluster;
  std::uint64_t version = 0;              // grows with every snapshot
  std::uint64_t epoch = 0;                // grows with every accepted primary; never decreases
  std::uint64_t system_identifier = 0;    // 0: not yet known
  std::uint32_t timeline = 0;             // of the accepted primary
  std::optional<MemberIndex> primary;     // none: writes wait
  std::string why_no_primary;             // for people, when there is none
  std::optional<LeftBehind> left_behind;  // by the primary of this epoch
  // A split brain: the members that are, or were when they fell silent, primary of this cluster at the same time.
  // Empty: none; else at least two. Writes go on only when a higher timeline says which of them is the primary.
  std::vector<MemberIndex> split_brain;
  // Too few members are in sight, by this process and by the primary itself (health/isolation): why. Empty: enough are.
  // Whether writes wait for that, `primary` says.
  std::string isolated;
  std::vector<MemberStatus> members;
  TimePoint looked_at{};  // every member's last full probe, whatever it gave, began at this moment or later
  std::shared_ptr<const FreshnessMarks> freshness;  // one mark per member, by index
};

using TopologyPtr = std::shared_ptr<const Topology>;

// What traffic saw of a member; a worker posts it to the monitor, which probes at once instead of at the next tick.
enum class Evidence : std::uint8_t {
  connect_refused,     // ECONNREFUSED
  connect_timeout,     // no answer in time
  connect_failed,      // any other failure to connect or to log in
  connection_lost,     // EOF or RST on an established link
  admin_shutdown,      // 57P01 or the notice of an immediate shutdown
  crash_shutdown,      // 57P02
  cannot_connect_now,  // 57P03
  read_only,           // 25006 where a primary was expected
  role_changed,        // ParameterStatus in_hot_standby flipped
  answer_overdue,      // a reply is long overdue
};
[[nodiscard]] const char* name_of(Evidence evidence);

}  // namespace holdfast::health
