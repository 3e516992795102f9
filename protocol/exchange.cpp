#include "protocol/exchange.hpp"

#include "protocol/backend.hpp"

namespace holdfast::protocol {
namespace {

using Mark = RequestQueue::Mark;

bool ends_copy_in(char tag) {
  return tag == client::copy_done || tag == client::copy_fail;
}

// The messages for which SocketBackend() sets doing_extended_query_message: after an error in one of them the server
// skips until Sync.
bool is_extended(char tag) {
  return tag != client::query && tag != client::function_call && tag != client::sync;
}

Reply::Action action_for(Origin origin) {
  return origin == Origin::proxy ? Reply::Action::swallow : Reply::Action::forward;
}

// Keeps some memory for the next use, but not that of a deep pipeline.
void forget(std::vector<Request>& requests) {
  if (requests.capacity() > 256)
    requests = {};
  else
    requests.clear();
}

}  // namespace

Exchange::Fate Exchange::sent(Request request) {
  forget_due();
  const char tag = request.tag;
  Entry entry{request.cookie, tag, request.origin, request.traits, 0};
  switch (tag) {
    case client::copy_data:  // is never answered, in copy mode or out of it
      if (!queue_.empty() && queue_.back().tag == client::sync) queue_.back().mark(Mark::data_behind);
      return skipping_ ? Fate::skipped : Fate::in_flight;
    case client::flush:
      flushed_ = true;
      if (!queue_.empty() && queue_.back().is(Mark::local)) queue_.back().mark(Mark::flush_after);
      flush_locals();
      return skipping_ ? Fate::skipped : Fate::in_flight;
    case client::copy_done:
    case client::copy_fail:
      if (skipping_) return Fate::skipped;
      // Recorded only where a copy may consume it: elsewhere the server ignores it. Never right behind a local answer,
      // so that local answers at the queue's front are always followed by a request.
      if (!queue_.empty() && !queue_.back().is(Mark::local)) queue_.push(entry);
      return Fate::in_flight;
    case client::sync:
      // The failed batch ends here; its error has been reported already.
      if (skipping_) entry.mark(Mark::failed);
      skipping_ = open_batch_ = false;
      break;
    default:
      if (skipping_) {
        // Undecidable: a failed COPY may or may not have consumed the Sync that would have ended the skipping.
        if (spare_syncs_ > 0) broken_ = true;
        return Fate::skipped;
      }
      open_batch_ = is_extended(tag);
  }
  flushed_ = false;
  queue_.push(entry);
  return Fate::in_flight;
}

Exchange::Fate Exchange::answered_locally(char tag, std::uint32_t cookie, Trait traits) {
  forget_due();
  if (skipping_) {
    if (spare_syncs_ > 0) broken_ = true;  // as in sent()
    return Fate::skipped;
  }
  flushed_ = false;
  queue_.push({cookie, tag, Origin::client, traits, Mark::local});
  if (is_extended(tag)) {
    open_batch_ = true;
  } else {
    // A Query's answer ends with ReadyForQuery, which flushes.
    queue_.back().mark(Mark::flush_after);
    flush_locals();
  }
  return Fate::in_flight;
}

Reply Exchange::step(char tag, Bytes body) {
  forget_due();
  if (!dropped_.empty()) forget(dropped_);
  stream_ = Stream::none;
  switch (tag) {
    case server::notice_response:
      // A notice of a statement would come a second time if the statement ran again.
      if (!queue_.empty()) delivered_ = true;
      [[fallthrough]];
    case server::parameter_status:
    case server::notification_response:
      // The server said it while it had come to the oldest request: what was answered here comes before it.
      if (const std::size_t at = first_remote(); at > 0 && at < queue_.size()) {
        make_due(at);
        due_before_ = due_.size();
      }
      return {.action = Reply::Action::async};
    case server::error_response: return on_error(body);
    case server::ready_for_query: return on_ready(body);
    default: return on_answer(tag);
  }
}

// An answer other than ErrorResponse and ReadyForQuery: it always belongs to the oldest unanswered request.
Reply Exchange::on_answer(char tag) {
  const std::size_t at = first_remote();
  if (broken_ || ended_ || at == queue_.size()) return give_up();
  Entry& entry = queue_[at];
  if (entry.is(Mark::failed) || entry.origin == Origin::failing) return give_up();

  const Progress progress = advance(at, tag);
  if (progress == Progress::wrong) return give_up();
  spare_syncs_ = 0;  // it was sent behind them
  make_due(at);
  due_before_ = due_.size();

  Entry& front = queue_[0];
  front.mark(Mark::answered);
  Reply reply{.action = action_for(front.origin), .finished = progress == Progress::done, .request = front.request()};
  if (reply.action == Reply::Action::forward) delivered_ = true;
  if (reply.finished) {
    if (front.tag == client::execute) executed(front.traits);
    queue_.pop_front();
    after_finished();
  } else if (due_.empty()) {
    const bool query = front.tag == client::query && copy_ == Copy::none;
    if (query || tag == server::data_row || tag == server::copy_data) {
      stream_ = query ? Stream::query : Stream::rows;
      stream_tag_ = query ? server::data_row : tag;
      row_ = reply;
    }
  }
  return reply;
}

// An Execute was answered in full.
void Exchange::executed(Trait traits) {
  if (!has(traits, Trait::repeatable)) wrote_ = true;
  if (has(traits, Trait::commits | Trait::rolls_back | Trait::may_commit)) {
    begun_ = wrote_ = false;
    block_ended_ = true;
  }
  if (has(traits, Trait::begins)) {  // behind the end: AND CHAIN is both
    begun_ = true;
    block_ended_ = false;
  }
  if (has(traits, Trait::commits | Trait::may_commit)) committed_ = true;
}

// Whether `tag` can answer the request at `at` now, and whether it is that request's last answer (manual, 55.2).
Exchange::Progress Exchange::advance(std::size_t at, char tag) {
  const Entry& entry = queue_[at];
  switch (entry.tag) {
    case client::parse: return tag == server::parse_complete ? Progress::done : Progress::wrong;
    case client::bind: return tag == server::bind_complete ? Progress::done : Progress::wrong;
    case client::close: return tag == server::close_complete ? Progress::done : Progress::wrong;
    case client::describe:
      if (tag == server::parameter_description) return entry.is(Mark::answered) ? Progress::wrong : Progress::more;
      return tag == server::row_description || tag == server::no_data ? Progress::done : Progress::wrong;
    case client::function_call:
      if (tag != server::function_call_response || entry.is(Mark::answered)) return Progress::wrong;
      return Progress::more;  // ReadyForQuery is the last
    case client::execute:
    case client::query: return advance_statement(at, tag);
    default: return Progress::wrong;  // Sync is answered by ReadyForQuery alone; CopyDone and CopyFail by nothing
  }
}

// The same for a request that runs statements.
Exchange::Progress Exchange::advance_statement(std::size_t at, char tag) {
  const bool simple = queue_[at].tag == client::query;
  const Progress complete = simple ? Progress::more : Progress::done;
  switch (tag) {
    case server::data_row:
      if (copy_ == Copy::none) return Progress::more;
      [[fallthrough]];
    case server::row_description:
      // START_REPLICATION ends with the next timeline as a row (manual, 55.4).
      if (copy_ == Copy::both) copy_ = Copy::none;
      return simple && copy_ == Copy::none ? Progress::more : Progress::wrong;
    case server::command_complete:
      if (copy_ == Copy::in && !end_copy_in(at)) return Progress::wrong;
      if (copy_ == Copy::out) return Progress::wrong;  // CopyDone comes first
      copy_ = Copy::none;
      return complete;
    case server::empty_query_response: return copy_ == Copy::none ? complete : Progress::wrong;
    case server::portal_suspended: return copy_ == Copy::none && !simple ? Progress::done : Progress::wrong;
    case server::copy_in_response: return begin_copy(Copy::in);
    case server::copy_out_response: return begin_copy(Copy::out);
    case server::copy_both_response: return begin_copy(Copy::both);
    case server::copy_data: return copy_ == Copy::out || copy_ == Copy::both ? Progress::more : Progress::wrong;
    case server::copy_done:
      if (copy_ == Copy::out)
        copy_ = Copy::none;
      else if (copy_ != Copy::both)
        return Progress::wrong;
      return Progress::more;
    default: return Progress::wrong;
  }
}

Exchange::Progress Exchange::begin_copy(Copy copy) {
  if (copy_ != Copy::none) return Progress::wrong;
  copy_ = copy;
  return Progress::more;
}

// The copy-in of the request at `at` has succeeded: the server has read everything up to a CopyDone and, on its way
// there, ignored each Flush and Sync (CopyGetData). False if no CopyDone was sent, or if something was sent that would
// have failed the copy.
bool Exchange::end_copy_in(std::size_t at) {
  bool swallowed = false;
  while (at + 1 < queue_.size()) {
    const Entry& entry = queue_[at + 1];
    if (entry.tag == client::copy_done) {
      queue_.erase(at + 1, 1);
      // The batch is open again if none of its Syncs remains.
      if (swallowed && queue_[at].tag == client::execute && !has_boundary(at + 1)) open_batch_ = true;
      return true;
    }
    if (entry.tag != client::sync) return false;
    queue_.erase(at + 1, 1);
    swallowed = true;
  }
  return false;
}

// The copy-in of the request at `at` has failed, before or after the server read what was sent behind it. A Sync before
// the CopyDone was either ignored by CopyGetData or will be answered: it is removed and counted as spare. Other messages
// are none of the copy's: had it read one, the error would be a `violation`, and the session would end
// (CopyGetData and PostgresMain). False if it can't be told what becomes of them.
bool Exchange::abort_copy_in(std::size_t at, const SqlState& state) {
  copy_ = Copy::none;
  const bool violation = state == sqlstate::protocol_violation;
  // An error of its data comes before it reads what is behind that, but it may be canceled at any time.
  if (!violation && !state.view().starts_with("57")) {
    std::size_t behind = at + 1;
    const auto is_sync = [](const Entry& entry) { return entry.tag == client::sync && entry.origin == Origin::client; };
    while (behind < queue_.size() && is_sync(queue_[behind]) && !queue_[behind].is(Mark::data_behind)) ++behind;
    if (behind < queue_.size() && queue_[behind].tag != client::sync && !ends_copy_in(queue_[behind].tag)) return true;
  }
  while (at + 1 < queue_.size()) {
    const Entry entry = queue_[at + 1];
    // Behind a Sync that may have been ignored they run or are skipped.
    if (!ends_copy_in(entry.tag) && (entry.tag != client::sync || entry.origin != Origin::client))
      return !violation && spare_syncs_ == 0;
    queue_.erase(at + 1, 1);
    if (ends_copy_in(entry.tag)) return true;
    ++spare_syncs_;
  }
  return true;
}

Reply Exchange::on_error(Bytes body) {
  const auto fields = parse_error(body);
  if (!fields) return give_up();
  if (fields->ends_session()) {
    ended_ = true;
    return {.action = Reply::Action::fatal};
  }
  const std::size_t at = first_remote();
  if (broken_ || ended_) return give_up();
  if (at == queue_.size()) {
    // A statement_timeout that struck while the server read a Flush is an error of the Flush.
    if (!flushed_ || !open_batch_ || skipping_) return give_up();
    drop(0, at);
    skipping_ = delivered_ = true;
    return {.action = Reply::Action::forward, .finished = true, .failed = true, .request = {.tag = client::flush}};
  }
  if (queue_[at].tag != client::sync) spare_syncs_ = 0;
  make_due(at);
  due_before_ = due_.size();
  if (copy_ == Copy::in && !abort_copy_in(0, fields->state)) broken_ = true;
  copy_ = Copy::none;
  const bool extended = is_extended(queue_[0].tag);
  Reply reply = extended ? fail_batch() : fail_unit();
  if (reply.action != Reply::Action::swallow) delivered_ = true;
  if (extended) after_finished();
  return reply;
}

// The oldest request, an extended one, has failed: the server skips everything until the next Sync that it reads.
Reply Exchange::fail_batch() {
  const Request failed = queue_[0].request();
  std::size_t sync = 1;
  while (sync < queue_.size() && queue_[sync].tag != client::sync) ++sync;
  const bool has_sync = sync < queue_.size();
  drop(1, sync);
  // If a spare Sync was not consumed by the copy, the skipping ended there and these messages run.
  if (spare_syncs_ > 0 && !dropped_.empty()) broken_ = true;
  queue_.pop_front();

  Reply reply{.action = Reply::Action::forward, .finished = true, .failed = true, .request = failed};
  if (failed.origin == Origin::failing) reply.action = Reply::Action::replace;
  // An injected message that fails in a client's batch fails that batch, so the client is told; not so in a batch of
  // the proxy's own.
  if (failed.origin == Origin::proxy && has_sync && queue_[0].origin == Origin::proxy)
    reply.action = Reply::Action::swallow;
  if (has_sync)
    queue_[0].mark(Mark::failed);
  else
    skipping_ = true;
  return reply;
}

// The oldest request, a Query, FunctionCall or Sync, has failed: its ReadyForQuery comes next.
Reply Exchange::fail_unit() {
  if (queue_[0].is(Mark::failed)) return give_up();
  Entry& entry = queue_[0];
  // Behind a Flush, it may have been the Flush that failed (a statement_timeout); then the Query is skipped and one
  // ReadyForQuery fewer comes than expected: the exchange never becomes idle, and the server is never reused.
  entry.mark(Mark::failed);
  Reply reply{.action = action_for(entry.origin), .failed = true, .request = entry.request()};
  if (entry.origin == Origin::failing) reply.action = Reply::Action::replace;
  return reply;
}

Reply Exchange::on_ready(Bytes body) {
  const char status = body.size() == 1 ? static_cast<char>(body.front()) : '\0';
  if ((status != 'I' && status != 'T' && status != 'E') || broken_ || ended_ || copy_ != Copy::none) return give_up();
  const std::size_t at = first_remote();
  if (at == queue_.size()) return spare_ready(status);
  const Entry& oldest = queue_[at];
  const bool due = oldest.tag == client::sync ||
                   (!is_extended(oldest.tag) && (oldest.is(Mark::answered) || oldest.is(Mark::failed)));
  if (!due) return spare_ready(status);

  make_due(at);
  due_before_ = due_.size();
  const Entry entry = queue_[0];
  queue_.pop_front();
  status_ = status;
  forget_batch();
  after_finished();
  return {.action = action_for(entry.origin), .finished = true, .request = entry.request()};
}

// A ReadyForQuery that no recorded request expects: it answers a Sync that a failed copy-in did not consume.
Reply Exchange::spare_ready(char status) {
  if (spare_syncs_ == 0) return give_up();
  --spare_syncs_;
  if (skipping_) skipping_ = open_batch_ = false;
  status_ = status;
  forget_batch();
  return {.action = Reply::Action::forward, .finished = true, .request = {.tag = client::sync}};
}

Reply Exchange::give_up() {
  broken_ = true;
  return {};
}

// Position of the oldest request that the server answers; the queue's size if there is none.
std::size_t Exchange::first_remote() const {
  std::size_t at = 0;
  while (at < queue_.size() && queue_[at].is(Mark::local)) ++at;
  return at;
}

Request Exchange::oldest() const {
  const std::size_t at = first_remote();
  return at < queue_.size() ? queue_[at].request() : Request{};
}

// Position of the first CopyDone or CopyFail; the queue's size if there is none.
std::size_t Exchange::find_copy_end() const {
  std::size_t at = 0;
  while (at < queue_.size() && !ends_copy_in(queue_[at].tag)) ++at;
  return at;
}

// Whether a message that ends a batch (Sync, Query, FunctionCall) is in the queue from `at` on.
bool Exchange::has_boundary(std::size_t at) const {
  for (; at < queue_.size(); ++at)
    if (const Entry& entry = queue_[at]; !is_extended(entry.tag) && !entry.is(Mark::local)) return true;
  return false;
}

// Removes the requests from `from` up to but not including `to`: they will not be answered.
void Exchange::drop(std::size_t from, std::size_t to) {
  for (std::size_t i = from; i < to; ++i)
    if (!ends_copy_in(queue_[i].tag)) dropped_.push_back(queue_[i].request());
  queue_.erase(from, to - from);
}

// After a request has finished: removes requests that have no answer; local answers may be due.
void Exchange::after_finished() {
  // Out of copy mode the server ignores CopyDone and CopyFail (PostgresMain).
  while (!queue_.empty() && ends_copy_in(queue_[0].tag)) queue_.pop_front();
  if (queue_.empty())
    queue_.release_spare();
  else
    flush_locals();
}

// The first `count` requests, all local, are due.
void Exchange::make_due(std::size_t count) {
  if (count == 0) return;
  for (std::size_t i = 0; i < count; ++i) {
    due_.push_back(queue_[i].request());
    delivered_ = is_extended(queue_[i].tag);  // a Query's answer is complete
  }
  queue_.pop_front(count);
}

// Local answers with nothing before them and a Flush behind them are due.
void Exchange::flush_locals() {
  std::size_t count = 0;
  for (std::size_t i = 0; i < queue_.size() && queue_[i].is(Mark::local); ++i)
    if (queue_[i].is(Mark::flush_after)) count = i + 1;
  make_due(count);
}

// A ReadyForQuery came: its status replaces what was inferred since the last one.
void Exchange::forget_batch() {
  delivered_ = wrote_ = begun_ = block_ended_ = committed_ = false;
}

void Exchange::forget_due() {
  if (!due_.empty()) forget(due_);
  due_before_ = 0;
}

bool Exchange::expects() const {
  for (std::size_t i = 0; i < queue_.size(); ++i)
    if (queue_[i].origin != Origin::proxy && !ends_copy_in(queue_[i].tag)) return true;
  return false;
}

bool Exchange::runs_for_client() const {
  for (std::size_t i = 0; i < queue_.size(); ++i) {
    const auto& entry = queue_[i];
    const bool waits = entry.origin == Origin::client && !entry.is(Mark::local) && !entry.is(Mark::failed);
    if (waits && !ends_copy_in(entry.tag)) return true;
  }
  return false;
}

bool Exchange::takes_effect() const {
  if (copy_waits_for_client()) return false;
  bool wrote = wrote_;
  for (std::size_t i = 0; i < queue_.size(); ++i) {
    const Entry& entry = queue_[i];
    if (entry.is(Mark::local)) continue;
    const bool runs = entry.tag == client::execute || entry.tag == client::query || entry.tag == client::function_call;
    if (runs && !entry.is(Mark::failed) && !has(entry.traits, Trait::repeatable)) wrote = true;
    if (wrote && !is_extended(entry.tag)) return true;
  }
  return false;
}

bool Exchange::copy_waits_for_client() const {
  if (copy_ != Copy::in && copy_ != Copy::both) return false;
  for (std::size_t i = 0; i < queue_.size(); ++i)
    if (ends_copy_in(queue_[i].tag) && queue_[i].origin == Origin::client) return false;
  return true;
}

void Exchange::reset(char status) {
  queue_.clear();
  forget_due();
  dropped_.clear();
  spare_syncs_ = 0;
  stream_ = Stream::none;
  status_ = status;
  copy_ = Copy::none;
  open_batch_ = skipping_ = flushed_ = broken_ = ended_ = false;
  forget_batch();
}

}  // namespace holdfast::protocol
