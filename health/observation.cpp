#include "health/observation.hpp"

namespace holdfast::health {

const char* name_of(Grade grade) {
  switch (grade) {
    case Grade::ok: return "ok";
    case Grade::dns: return "dns";
    case Grade::refused: return "refused";
    case Grade::unreachable: return "unreachable";
    case Grade::connect_timeout: return "connect_timeout";
    case Grade::tls: return "tls";
    case Grade::auth: return "auth";
    case Grade::starting: return "starting";
    case Grade::too_many: return "too_many";
    case Grade::connection_lost: return "connection_lost";
    case Grade::query_timeout: return "query_timeout";
    case Grade::query_failed: return "query_failed";
    case Grade::own_shortage: return "own_shortage";
  }
  return "?";
}

bool is_answer(Grade grade) {
  switch (grade) {
    case Grade::ok:
    case Grade::refused:
    case Grade::tls:
    case Grade::auth:
    case Grade::starting:
    case Grade::too_many:
    case Grade::query_failed: return true;
    case Grade::dns:
    case Grade::unreachable:
    case Grade::connect_timeout:
    case Grade::connection_lost:
    case Grade::query_timeout:
    case Grade::own_shortage: break;
  }
  return false;
}

}  // namespace holdfast::health
