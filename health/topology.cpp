#include "health/topology.hpp"

namespace holdfast::health {

const char* name_of(MemberState state) {
  switch (state) {
    case MemberState::unknown: return "unknown";
    case MemberState::primary: return "primary";
    case MemberState::replica: return "replica";
    case MemberState::starting: return "starting";
    case MemberState::suspect: return "suspect";
    case MemberState::down: return "down";
    case MemberState::fenced: return "fenced";
    case MemberState::quarantined: return "quarantined";
  }
  return "?";
}

const char* name_of(Evidence evidence) {
  switch (evidence) {
    case Evidence::connect_refused: return "connect_refused";
    case Evidence::connect_timeout: return "connect_timeout";
    case Evidence::connect_failed: return "connect_failed";
    case Evidence::connection_lost: return "connection_lost";
    case Evidence::admin_shutdown: return "admin_shutdown";
    case Evidence::crash_shutdown: return "crash_shutdown";
    case Evidence::cannot_connect_now: return "cannot_connect_now";
    case Evidence::read_only: return "read_only";
    case Evidence::role_changed: return "role_changed";
    case Evidence::answer_overdue: return "answer_overdue";
  }
  return "?";
}

}  // namespace holdfast::health
