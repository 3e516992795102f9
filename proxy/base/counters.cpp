#include "proxy/base/counters.hpp"

namespace holdfast::proxy {

const char* name_of(RouteReason reason) {
  switch (reason) {
    case RouteReason::write: return "write";
    case RouteReason::read_replica: return "read";
    case RouteReason::not_fresh: return "not_fresh";
    case RouteReason::no_replica: return "no_replica";
    case RouteReason::configured: return "configured";
    case RouteReason::transaction: return "transaction";
    case RouteReason::session_state: return "session_state";
    case RouteReason::role_question: return "role_question";
    case RouteReason::unparsed: return "unparsed";
    case RouteReason::learnt: return "learnt";
    case RouteReason::count_: break;
  }
  return "?";
}

const char* name_of(RepeatReason reason) {
  switch (reason) {
    case RepeatReason::unsent: return "unsent";
    case RepeatReason::refused: return "refused";
    case RepeatReason::lost: return "lost";
    case RepeatReason::count_: break;
  }
  return "?";
}

}  // namespace holdfast::proxy
