// Turns positions into freshness marks. A machine without sockets or clock.
//
// The primary's insert position, read by a query that was sent at P, covers everything that finished before P: a commit
// is reported only when its record is inserted. A replica that has replayed to that position shows all of it, so its
// mark becomes P. Each replica keeps a short ring of samples it has not reached yet.
// Thread: control; the marks are read by workers.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "health/freshness.hpp"

namespace holdfast::health {

// The insert position looks ahead of a page boundary: with nothing behind it, it points behind the next page's header
// (24 bytes, or 40 at a segment's start), while replay reports the page's start; an idle primary would stay ahead of
// its replicas for ever. No record ends inside a header, so going back to the page's start loses nothing.
// (XLogBytePosToRecPtr and XLogBytePosToEndRecPtr, src/backend/access/transam/xlog.c.)
[[nodiscard]] std::uint64_t normalise_insert_position(std::uint64_t lsn, std::uint32_t block_size,
                                                      std::uint64_t segment_size);

class Sampler {
 public:
  // Marks are shared with topology snapshots; index by member.
  explicit Sampler(std::shared_ptr<FreshnessMarks> marks);

  // `lsn` is normalised. `sent` is when the query that gave it was sent.
  void primary_at(std::uint64_t lsn, TimePoint sent);
  void replica_at(std::size_t member, std::uint64_t replayed);
  // The connection to the replica was lost, so it may have restarted: after a crash a standby serves reads again once
  // it is consistent, which may be before the position it had replayed. Its mark is void.
  void forget(std::size_t member);
  // A new epoch: every mark is void.
  void reset();
  // After a reload that added members: marks of those that stay are kept.
  void resize(std::size_t members);

  [[nodiscard]] const std::shared_ptr<FreshnessMarks>& marks() const { return marks_; }
  // True while the replica has not reached every sample.
  [[nodiscard]] bool pending(std::size_t member) const { return rings_[member].count != 0; }

 private:
  void raise(std::size_t member, TimePoint moment);

  struct Sample {
    std::uint64_t lsn = 0;
    TimePoint sent{};
  };
  struct Ring {
    std::array<Sample, 16> samples{};
    std::size_t first = 0;
    std::size_t count = 0;
    bool known = false;  // replayed was seen
    std::uint64_t replayed = 0;
  };

  std::shared_ptr<FreshnessMarks> marks_;
  std::vector<Ring> rings_;
};

}  // namespace holdfast::health
