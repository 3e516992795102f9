// How often, and when, a unit goes out again. Replay says whether it may: because nothing of it had left, because a
// standby refused it, or because it is a proven read. But a read may also be what kills its servers, one after the other.
//
//   what became of it                         | next
//   not one byte had left (unsent)            | at once; from the fourth time on after `breath`; when that has gone on for
//                                             |   hold_timeout: given_up
//   a standby refused it                      | at once, on the primary: Replay allows that once; not counted here
//   lost: a server may have begun it          | after `pause`; the second time, behind the same pause: lost_again
//   … with the last word that it crashed      | crashed
//   … and its server has crashed, as the      | crashed
//     pool has learnt since the loss          |
//
// Task: the memory of one unit across its attempts. Owner: whatever stands for the unit: on its way (ClientSession::
// Routing), then in flight (Linked). Thread: any one. Lifetime: the unit's; a plain value.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <utility>

namespace holdfast::protocol {

class Repeats {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  // After the crash of one session PostgreSQL re-initialises: its other sessions end at once (57P02), new ones are refused
  // for a tenth of a second or two (57P03). Before it is over one of these shows.
  static constexpr std::chrono::milliseconds pause{100};
  static constexpr std::chrono::milliseconds breath{10};

  enum class Crash : std::uint8_t { none, seen };
  enum class Next : std::uint8_t {
    send,
    wait,        // until due()
    lost_again,  // the client is told 40001
    crashed,     // … 57P02: a retry would do it again
    given_up,    // … 57P03: each connection ended before it was sent
  };

  enum class Reason : std::uint8_t { unsent, lost };

  void unsent(TimePoint now);
  void lost(TimePoint now, Crash crash);

  // When a server that may have begun it was lost: `crash` of next() is about what was seen since.
  [[nodiscard]] std::optional<TimePoint> lost_at() const { return losses_ > 0 ? std::optional(lost_at_) : std::nullopt; }
  [[nodiscard]] bool any() const { return losses_ > 0 || unsent_ > 0; }
  // Asked before the unit is sent.
  [[nodiscard]] Next next(TimePoint now, std::chrono::milliseconds hold_timeout, Crash crash) const;
  [[nodiscard]] TimePoint due() const { return due_; }
  // It goes out. Why again; none: it is the first time.
  [[nodiscard]] std::optional<Reason> goes_out() { return std::exchange(pending_, std::nullopt); }

 private:
  static constexpr std::uint32_t at_once = 3;

  TimePoint lost_at_;
  TimePoint unsent_since_;
  TimePoint due_;
  std::uint32_t unsent_ = 0;
  std::uint32_t losses_ = 0;
  std::optional<Reason> pending_;
  bool crashed_ = false;
};

[[nodiscard]] const char* name_of(Repeats::Next next);

}  // namespace holdfast::protocol
