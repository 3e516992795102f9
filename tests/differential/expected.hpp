// Which answers a server still owes. Only to know when a turn's answer has ended; what it says is not judged here.
//
// Task: follows one session of PostgreSQL itself. Told of every message that is sent and of every one that comes.
// Thread: any one. Source: src/backend/tcop/postgres.c (ignore_till_sync), commands/copyfromparse.c (CopyGetData).
//
//            sent, nobody before it               its last answer
//   queued ------------------------> current ------------------------> gone
//      |  behind an error, up to Sync            an error: gone, or up to ReadyForQuery (Query, FunctionCall, Sync)
//      +-------> gone, without an answer
#pragma once

#include <deque>

namespace holdfast::differential {

class Owed {
 public:
  void sent(char tag) {
    queue_.push_back(tag);
    advance();
  }
  // `kind` of a Describe; a portal has no ParameterDescription, which makes no difference here.
  void received(char tag);
  void ended() {
    queue_.clear();
    current_ = 0;
    copying_ = false;
    over_ = true;
  }

  // Nothing comes before the client says something.
  [[nodiscard]] bool nothing() const { return over_ || (queue_.empty() && (current_ == 0 || copying_)); }
  // Only the connection's end.
  [[nodiscard]] bool end() const { return current_ == 'X'; }
  [[nodiscard]] bool skipping() const { return skipping_; }
  [[nodiscard]] bool copying() const { return copying_; }

 private:
  void advance();
  void done() {
    current_ = 0;
    advance();
  }

  std::deque<char> queue_;
  char current_ = 0;       // whose answer comes
  bool skipping_ = false;  // an error of the extended protocol: up to the next Sync
  bool copying_ = false;   // the current one waits for the client's data
  bool over_ = false;
};

}  // namespace holdfast::differential
