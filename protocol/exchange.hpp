// What is in flight between one client and one server.
//
// Task: is told every message that goes to the server, in order, and every message that comes back; says which request
// each answer belongs to, when the proxy's own answers are due, whether the server may serve another client, and what
// the client is owed when the server dies. Follows PostgresMain() and SocketBackend() (src/backend/tcop/postgres.c)
// and CopyGetData() (src/backend/commands/copyfromparse.c) message by message. Owns no bytes, has no clock. Keeps
// eight bytes for each message in flight: the code that reads the client must bound in_flight().
// Thread: any one; no locks. Lifetime: one per server connection; reset() after its login.
//
//            sent(P B D E C)          sent(Q F)                        received(G)          C / E
//     idle ----------------> batch    idle --------> query     query or execute ---> copy in -------> before
//      ^      sent(S), Z       |       ^      Z        |                       (H: copy out, W: both)
//      +-----------------------+       +---------------+
//            received(E) in a batch: skipping, nothing sent until a Sync is answered     (E in Q, F, S: then Z)
//
// Call order: sent()/answered_locally() for each client message; received() for each server message. After every such
// call `before()` and `after()` give the local answers that are due: those to be sent before the message just received
// is passed on, and those to be sent after it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "protocol/bytes.hpp"
#include "protocol/error.hpp"
#include "protocol/loss.hpp"
#include "protocol/message.hpp"
#include "protocol/request.hpp"
#include "protocol/request_queue.hpp"

namespace holdfast::protocol {

// What to do with a message from the server.
struct Reply {
  enum class Action : std::uint8_t {
    forward,     // to the client
    swallow,     // it answers what the proxy injected
    replace,     // the ErrorResponse to an Origin::failing request: the client gets our own error, found by the cookie
    async,       // NoticeResponse, ParameterStatus, NotificationResponse: answers nothing
    fatal,       // an ErrorResponse of severity FATAL or PANIC: the server ends; on_server_lost() says the rest
    unexpected,  // answers no request: the link is broken, close the server
  };
  Action action = Action::unexpected;
  bool finished = false;  // `request` has all its answers
  bool failed = false;    // an ErrorResponse ended it; dropped() gives the requests that went with it
  Request request;        // the request that the message answers; tag 0 for async, fatal and unexpected
};

enum class Copy : std::uint8_t { none, in, out, both };

class Exchange {
 public:
  enum class Fate : std::uint8_t {
    in_flight,  // will be answered
    skipped,    // the server ignores it: an earlier message failed, and no Sync has come since
  };

  // A message was sent to the server. `request.tag`: Q P B D E C S H F d c f (`request.local` is not read). A skipped
  // message is not recorded. While doubtful() the proxy must not inject a Sync without another message before it.
  Fate sent(Request request);

  // The proxy answers this message itself (ParseComplete for a statement that the server has, CloseComplete, …); any
  // tag but S, H, d, c, f. The answer is due when its turn comes and the server would flush (see before() and after());
  // it is dropped if an earlier message of its batch fails.
  Fate answered_locally(char tag, std::uint32_t cookie, Trait traits = Trait::none);

  // A message from the server begins. `body`: whole for ErrorResponse and ReadyForQuery, not read otherwise.
  [[nodiscard]] Reply received(char tag, Bytes body) {
    if (const Reply* reply = unchanged(tag)) return *reply;
    return step(tag, body);
  }
  // The same for a caller that has asked unchanged(tag) and got null.
  [[nodiscard]] Reply step(char tag, Bytes body);
  // What received(tag, …) would return if it would change nothing: for rows behind the first one, and for answers to a
  // simple Query before its ReadyForQuery. Then no local answer is due. Null: call received().
  [[nodiscard]] const Reply* unchanged(char tag) const {
    if (stream_ == Stream::none) return nullptr;
    if (tag == stream_tag_) return &row_;
    const bool of_query = tag == server::command_complete || tag == server::row_description;
    return stream_ == Stream::query && of_query ? &row_ : nullptr;
  }

  // Whether any local answer is due.
  [[nodiscard]] bool any_due() const { return !due_.empty(); }
  // Local answers due before the message just received is passed on, oldest first. Valid until the next call.
  [[nodiscard]] std::span<const Request> before() const { return std::span(due_).first(due_before_); }
  // Local answers due after it, or at once if the last call was sent() or answered_locally(). A Flush, or an answer in
  // front of a flushed one, makes them due.
  [[nodiscard]] std::span<const Request> after() const { return std::span(due_).subspan(due_before_); }
  // Requests dropped because of the ErrorResponse just received, without the failed one. Valid until the next call.
  [[nodiscard]] std::span<const Request> dropped() const { return dropped_; }

  // The server is gone. Leaves the exchange as it is.
  [[nodiscard]] Loss on_server_lost() const;

  // Forgets everything: the server is in transaction status `status`.
  void reset(char status = 'I');

  // 'I', 'T' or 'E': from the last ReadyForQuery.
  [[nodiscard]] char transaction_status() const { return status_; }
  // Requests without a (complete) answer.
  [[nodiscard]] std::size_t in_flight() const { return queue_.size(); }
  [[nodiscard]] bool idle() const { return queue_.empty(); }
  // Extended messages were sent since the last Sync (a portal may be open, an implicit transaction running), or the
  // server is skipping.
  [[nodiscard]] bool open_batch() const { return open_batch_ || skipping_; }
  // The server ignores what is sent until a Sync.
  [[nodiscard]] bool skipping() const { return skipping_; }
  [[nodiscard]] Copy copy() const { return copy_; }
  // More ReadyForQuery may come than are expected. When the exchange is idle(): close the server, or send the proxy's
  // own Close and Sync; CloseComplete proves that no more will come (unless certainty is lost for good: broken()).
  [[nodiscard]] bool doubtful() const { return spare_syncs_ > 0 || broken_; }
  // It is no longer known which request an answer belongs to. Close the server.
  [[nodiscard]] bool broken() const { return broken_; }
  // Nothing is under way: no request, no transaction, no batch, no copy. At most an unexpected ReadyForQuery may still
  // come (doubtful()).
  [[nodiscard]] bool quiet() const {
    return queue_.empty() && status_ == 'I' && !open_batch() && copy_ == Copy::none && !ended_;
  }
  // quiet(), and no unexpected ReadyForQuery can come either: as far as the exchange knows, another client may have it.
  [[nodiscard]] bool may_release() const { return quiet() && !doubtful(); }
  // The request that the server's next answer belongs to; tag 0 if none is outstanding.
  [[nodiscard]] Request oldest() const;
  // The client waits for an answer.
  [[nodiscard]] bool expects() const;
  // Something of the client's own is in flight, not only what was sent for it or in its place.
  [[nodiscard]] bool runs_for_client() const;
  // What is in flight may have an effect although the client sends nothing more: a statement that is no proven read, and
  // all that ends its unit.
  [[nodiscard]] bool takes_effect() const;
  // Answers will come although nothing more is sent: a unit is whole, or a Flush came last.
  [[nodiscard]] bool answers_come() const {
    return !queue_.empty() && (flushed_ || has_boundary(0)) && !copy_waits_for_client();
  }
  // The server waits for more CopyData, or for the CopyDone or CopyFail that the client has not sent.
  [[nodiscard]] bool copy_waits_for_client() const;

 private:
  using Entry = RequestQueue::Entry;

  enum class Progress : std::uint8_t { wrong, more, done };
  enum class Stream : std::uint8_t { none, rows, query };

  Reply on_answer(char tag);
  [[gnu::cold]] Reply on_error(Bytes body);
  Reply on_ready(Bytes body);
  Progress advance(std::size_t at, char tag);
  void executed(Trait traits);
  Progress advance_statement(std::size_t at, char tag);
  Progress begin_copy(Copy copy);
  bool end_copy_in(std::size_t at);
  bool abort_copy_in(std::size_t at, const SqlState& state);
  [[gnu::cold]] Reply fail_batch();
  [[gnu::cold]] Reply fail_unit();
  [[gnu::cold]] Reply spare_ready(char status);
  [[gnu::cold]] Reply give_up();
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
  Reply row_;                      // what unchanged() returns
  std::uint32_t spare_syncs_ = 0;  // Syncs that a failed copy-in may or may not have consumed
  Stream stream_ = Stream::none;   // what may come without changing anything
  char stream_tag_ = 0;            // data_row or copy_data
  char status_ = 'I';
  Copy copy_ = Copy::none;
  bool open_batch_ = false;
  bool skipping_ = false;
  bool flushed_ = false;      // the last message sent was a Flush
  bool delivered_ = false;    // part of an answer was passed on since the last ReadyForQuery
  bool wrote_ = false;        // an Execute that was no proven read was answered since the last ReadyForQuery
  bool begun_ = false;        // a BEGIN by Execute was answered since: a block is open, whatever status_ says
  bool block_ended_ = false;  // the end of a block was answered since: none is open, whatever status_ says
  bool committed_ = false;    // the block's end may have been a COMMIT
  bool broken_ = false;
  bool ended_ = false;  // a FATAL error came
};

}  // namespace holdfast::protocol
