// What is in flight between one client and one server.
//
// Task: is told every message that goes to the server, in order, and every message that comes back; says to whom each
// answer belongs, when the proxy's own answers have their turn, whether the server may serve somebody else, and what
// the client is owed when the server dies. Follows PostgresMain() and SocketBackend() (src/backend/tcop/postgres.c)
// and CopyGetData() (src/backend/commands/copyfromparse.c) message by message. Owns no bytes, has no clock. Remembers
// eight bytes for each message in flight: who reads the client bounds in_flight().
// Thread: any one; no locks. Lifetime: one per server link; reset() when it is linked anew.
//
//            sent(P B D E C)          sent(Q F)                        received(G)          C / E
//     idle ----------------> batch    idle --------> query     query or execute ---> copy in -------> before
//      ^      sent(S), Z       |       ^      Z        |                       (H: copy out, W: both)
//      +-----------------------+       +---------------+
//            received(E) in a batch: skipping, nothing sent until a Sync is answered     (E in Q, F, S: then Z)
//
// Call order: sent()/answered_locally() for each client message; received() for each server message. After every such
// call `before()` and `after()` hold the local answers that are due: those before the message just received is passed
// on, and those behind it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/loss.hpp"
#include "protocol/message.hpp"
#include "protocol/request.hpp"
#include "protocol/request_queue.hpp"

namespace holdfast::protocol {

// What to do with a message of the server.
struct Reply {
  enum class Action : std::uint8_t {
    forward,     // to the client
    swallow,     // it answers what the proxy injected
    replace,     // the ErrorResponse of a failing request: the client gets the proxy's own error, by the cookie
    async,       // NoticeResponse, ParameterStatus, NotificationResponse: answers nothing
    fatal,       // an ErrorResponse of severity FATAL or PANIC: the server ends; on_server_lost() says the rest
    unexpected,  // answers nothing that was asked: the link is broken, close the server
  };
  Action action = Action::unexpected;
  bool finished = false;  // `request` has all its answers
  bool failed = false;    // an ErrorResponse ended it; see dropped() for what went with it
  Request request;        // whom the message answers; tag 0 for async, fatal and unexpected
};

enum class Copy : std::uint8_t { none, in, out, both };

class Exchange {
 public:
  enum class Fate : std::uint8_t {
    in_flight,  // will be answered
    skipped,    // the server ignores it: an earlier message failed, and no Sync has come since
  };

  // A message was sent to the server. `request.tag`: Q P B D E C S H F d c f (`request.local` is not read). A skipped
  // message leaves no name behind. While doubtful() the proxy must not inject a Sync without another message before it.
  Fate sent(Request request);

  // The proxy answers this message itself (ParseComplete for a statement that the server has, CloseComplete, …); any
  // tag but S, H, d, c, f. The answer is due when its turn comes and the server would flush, see before() and after();
  // it is dropped if an earlier message of its batch fails.
  Fate answered_locally(char tag, std::uint32_t cookie, Trait traits = Trait::none);

  // A message of the server begins. `body`: whole for ErrorResponse and ReadyForQuery, not read otherwise.
  [[nodiscard]] Reply received(char tag, Bytes body) {
    if (const Reply* reply = unchanged(tag)) return *reply;
    return step(tag, body);
  }
  // The answer to received(tag, …) where that would change nothing: rows behind the first one, and whatever a simple
  // Query says before its ReadyForQuery. Nothing is due then. Null: ask received().
  [[nodiscard]] const Reply* unchanged(char tag) const {
    if (stream_ == Stream::none) return nullptr;
    if (tag == stream_tag_) return &row_;
    const bool of_query = tag == server::command_complete || tag == server::row_description;
    return stream_ == Stream::query && of_query ? &row_ : nullptr;
  }

  // Are there any?
  [[nodiscard]] bool any_due() const { return !due_.empty(); }
  // Local answers due before the message just received is passed on, oldest first. Valid until the next call.
  [[nodiscard]] std::span<const Request> before() const { return std::span(due_).first(due_before_); }
  // … and behind it; after sent() and answered_locally(): now. A Flush, or an answer in front of a flushed one, makes
  // them due.
  [[nodiscard]] std::span<const Request> after() const { return std::span(due_).subspan(due_before_); }
  // Requests that the ErrorResponse just received took along, without the failed one. Valid until the next call.
  [[nodiscard]] std::span<const Request> dropped() const { return dropped_; }

  // The server is gone. Leaves the exchange as it is.
  [[nodiscard]] Loss on_server_lost() const;

  // As new, for a link whose server is in `status`.
  void reset(char status = 'I');

  // 'I', 'T' or 'E' of the last ReadyForQuery.
  [[nodiscard]] char transaction_status() const { return status_; }
  // Requests without (complete) answer.
  [[nodiscard]] std::size_t in_flight() const { return queue_.size(); }
  [[nodiscard]] bool idle() const { return queue_.empty(); }
  // Extended messages since the last Sync: a portal may be open, an implicit transaction running; or skipping.
  [[nodiscard]] bool open_batch() const { return open_batch_ || skipping_; }
  // The server ignores what is sent until a Sync.
  [[nodiscard]] bool skipping() const { return skipping_; }
  [[nodiscard]] Copy copy() const { return copy_; }
  // More ReadyForQuery may come than are known to. When the exchange is idle(): close the server, or send the proxy's
  // own Close and Sync; CloseComplete proves that none comes any more (unless certainty is lost for good: broken()).
  [[nodiscard]] bool doubtful() const { return spare_syncs_ > 0 || broken_; }
  // It can't be said any more whose an answer is. Close the server.
  [[nodiscard]] bool broken() const { return broken_; }
  // Nothing is under way: no request, no transaction, no batch, no copy. Only a ReadyForQuery may still come that is
  // not known to (doubtful()).
  [[nodiscard]] bool quiet() const {
    return queue_.empty() && status_ == 'I' && !open_batch() && copy_ == Copy::none && !ended_;
  }
  // … and not even that: the server may serve another client.
  [[nodiscard]] bool may_release() const { return quiet() && !doubtful(); }
  // Whom the next answer that belongs to anything would be for; tag 0: nothing is waited for.
  [[nodiscard]] Request oldest() const;
  // The client waits for something.
  [[nodiscard]] bool expects() const;

 private:
  using Entry = RequestQueue::Entry;

  enum class Progress : std::uint8_t { wrong, more, done };
  enum class Stream : std::uint8_t { none, rows, query };

  Reply step(char tag, Bytes body);
  Reply on_answer(char tag);
  Reply on_error(Bytes body);
  Reply on_ready(Bytes body);
  Progress advance(std::size_t at, char tag);
  void executed(Trait traits);
  Progress advance_statement(std::size_t at, char tag);
  Progress begin_copy(Copy copy);
  bool end_copy_in(std::size_t at);
  bool abort_copy_in(std::size_t at);
  Reply fail_batch();
  Reply fail_unit();
  Reply spare_ready(char status);
  Reply give_up();
  void drop(std::size_t from, std::size_t to);
  void after_finished();
  void make_due(std::size_t count);
  void flush_locals();
  void forget_due();
  void forget_batch();
  [[nodiscard]] std::size_t first_remote() const;
  [[nodiscard]] std::size_t find_copy_end() const;
  [[nodiscard]] bool has_boundary(std::size_t at) const;

  RequestQueue queue_;
  std::vector<Request> due_;
  std::vector<Request> dropped_;
  std::size_t due_before_ = 0;
  Reply row_;                      // what unchanged() answers
  std::uint32_t spare_syncs_ = 0;  // Syncs that a failed copy-in may or may not have swallowed
  Stream stream_ = Stream::none;   // what may come without changing anything
  char stream_tag_ = 0;            // data_row or copy_data
  char status_ = 'I';
  Copy copy_ = Copy::none;
  bool open_batch_ = false;
  bool skipping_ = false;
  bool flushed_ = false;      // the last message sent was a Flush
  bool delivered_ = false;    // something of an answer was passed on since the last ReadyForQuery
  bool wrote_ = false;        // an Execute that was no proven read was answered since the last ReadyForQuery
  bool begun_ = false;        // a BEGIN by Execute was answered since: a block is open, whatever status_ says yet
  bool block_ended_ = false;  // … or ended: none is open, whatever status_ says
  bool committed_ = false;    // and by what may have been a COMMIT
  bool broken_ = false;
  bool ended_ = false;  // a FATAL error came
};

}  // namespace holdfast::protocol
