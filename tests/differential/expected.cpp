#include "tests/differential/expected.hpp"

namespace holdfast::differential {

void Owed::advance() {
  while (!queue_.empty() && !over_) {
    const char tag = queue_.front();
    if (copying_) {
      queue_.pop_front();
      // Sync and Flush mean nothing here, everything but the data's own messages is an error of the copy's.
      if (tag != 'd' && tag != 'H' && tag != 'S') copying_ = false;
      continue;
    }
    if (current_ != 0) return;
    queue_.pop_front();
    if (skipping_ && tag != 'S' && tag != 'X') continue;
    if (tag == 'S') skipping_ = false;
    const bool silent = tag == 'H' || tag == 'd' || tag == 'c' || tag == 'f';
    if (!silent) current_ = tag;
  }
}

void Owed::received(char tag) {
  if (tag == 'N' || tag == 'S' || tag == 'A') return;
  const bool up_to_ready = current_ == 'Q' || current_ == 'F' || current_ == 'S';
  switch (tag) {
    case 'E':
      copying_ = false;
      if (up_to_ready) return;
      skipping_ = true;
      return done();
    case 'G': copying_ = true; return advance();
    case 'Z': return done();
    case '1':
    case '2':
    case '3':
    case 'n':
    case 's':
    case 'I':
    case 'C':
      if (!up_to_ready) done();
      return;
    case 'T':
      if (current_ == 'D') done();
      return;
    default: return;  // t, D, H, d, c, V: more comes
  }
}

}  // namespace holdfast::differential
