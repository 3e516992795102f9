#include "protocol/loss.hpp"

#include "protocol/exchange.hpp"

namespace holdfast::protocol {
namespace {

using Entry = RequestQueue::Entry;
using Mark = RequestQueue::Mark;

// Whether anything in flight may have been committed. Takes the requests in the order in which the server would;
// whatever can't be disproved counts as committed. A block that a BEGIN in flight would open proves nothing about what
// was sent behind that BEGIN's Sync: the BEGIN may have failed, and then each statement committed by itself.
class Certainty {
 public:
  Certainty(bool in_block, bool aborted, bool batch_wrote)
      : in_block_(in_block), aborted_(aborted), wrote_(batch_wrote) {}

  void statement(const Entry& entry, bool endless_copy) {
    const Trait traits = entry.traits;
    const bool simple = entry.tag != client::execute;
    if (simple && wrote_) may_commit();  // ends the implicit transaction before it
    if (has(traits, Trait::commits)) {
      // COMMIT of a failed block is a ROLLBACK; a ROLLBACK TO in flight before it may have revived the block.
      if (!(aborted_ && first_)) unknown_ = true;
      in_block_ = begun_ = false;
    } else if (has(traits, Trait::rolls_back)) {
      in_block_ = wrote_ = begun_ = false;
    } else if (has(traits, Trait::may_commit)) {
      unknown_ = true;
    } else if (has(traits, Trait::commits_itself)) {
      may_commit();
    } else if (has(traits, Trait::begins)) {
      begun_ = !simple;  // a string with BEGIN and without COMMIT leaves its block open, or fails as a whole
    } else if (!has(traits, Trait::repeatable) && !endless_copy) {
      if (simple)
        may_commit();
      else
        wrote_ = true;
    }
    if (simple) end_batch();
    first_ = false;
  }
  void sync() {
    if (wrote_) may_commit();
    end_batch();
  }
  // The batch has failed or will fail.
  void failed() { wrote_ = false; }

  [[nodiscard]] bool unknown() const { return unknown_; }

 private:
  // A Query behind a BEGIN of the same batch runs inside that block, or is skipped because the BEGIN failed.
  void may_commit() {
    if (!in_block_ && !begun_) unknown_ = true;
  }
  void end_batch() { wrote_ = begun_ = false; }

  bool in_block_;  // certain: the server said so
  bool aborted_;
  bool wrote_;          // the implicit transaction of this batch may have written
  bool begun_ = false;  // a BEGIN is in this batch: its Sync does not commit
  bool first_ = true;
  bool unknown_ = false;
};

// What the client is owed, unit by unit, given that everything in flight fails.
class Debt {
 public:
  Debt(Loss& loss, bool in_block) : loss_(loss), in_block_(in_block) {}

  void add(const Entry& entry) {
    traits_ |= entry.traits;
    const bool extended = entry.tag != client::query && entry.tag != client::function_call && entry.tag != client::sync;
    if (extended) {
      // A failed injection in front of a Query fails no batch: the client waits for its Query's own answer.
      if (entry.origin != Origin::proxy) failing_ = true;
      return;
    }
    // A Query behind a message that failed is skipped: its batch goes on to the next Sync.
    if (failing_ && entry.tag != client::sync) return;
    end_unit(entry);
  }
  // After the last request. `open`: the batch has no Sync. `told`: the client knows that it failed.
  void close(bool open, bool told) {
    if (open && told)
      loss_.batch = Loss::Batch::failed;
    else if (failing_)
      loss_.batch = Loss::Batch::owed;
    else if (open)
      loss_.batch = Loss::Batch::answered;
    settle_block();
    loss_.status_after = in_block_ ? 'E' : 'I';
  }

 private:
  void end_unit(const Entry& entry) {
    settle_block();
    // The client is owed nothing for a unit of the proxy's own.
    if (entry.origin != Origin::proxy) {
      loss_.units.push_back({.tag = entry.tag,
                             .error_owed = !entry.is(Mark::failed),
                             .status = in_block_ ? 'E' : 'I',
                             .traits = traits_});
    }
    traits_ = Trait::none;
    failing_ = false;
  }
  // A block whose BEGIN was lost counts as begun: the client means what it sends next to run inside it.
  void settle_block() {
    if (has(traits_, Trait::begins))
      in_block_ = true;
    else if (has(traits_, Trait::commits | Trait::rolls_back))
      in_block_ = false;
  }

  Loss& loss_;
  Trait traits_ = Trait::none;
  bool in_block_;
  bool failing_ = false;
};

bool ends_copy_in(const Entry& entry) {
  return entry.tag == client::copy_done || entry.tag == client::copy_fail;
}
bool is_unit(const Entry& entry) {
  return entry.tag == client::query || entry.tag == client::function_call;
}
bool runs(const Entry& entry) {
  return is_unit(entry) || entry.tag == client::execute;
}

bool repeatable(const Entry& entry) {
  if (entry.is(Mark::failed) || ends_copy_in(entry)) return false;
  return !runs(entry) || has(entry.traits, Trait::repeatable);
}

}  // namespace

Loss Exchange::on_server_lost() const {
  Loss loss;
  loss.status_before = status_;
  loss.copy_in = copy_ == Copy::in;
  // The status of the last ReadyForQuery, corrected by what was answered since.
  const bool in_block = begun_ || (status_ != 'I' && !block_ended_);
  Certainty certainty(in_block, status_ == 'E' && !block_ended_ && !begun_, wrote_);
  Debt debt(loss, in_block);
  bool can_repeat = status_ == 'I' && !delivered_ && copy_ == Copy::none && !doubtful();
  bool batch_failed = skipping_;
  const std::size_t copying = loss.copy_in ? first_remote() : queue_.size();
  const std::size_t copy_end = loss.copy_in ? find_copy_end() : 0;
  // Without its CopyDone a copy-in can't have succeeded.
  const bool endless = copy_end == queue_.size() || queue_[copy_end].tag == client::copy_fail;

  for (std::size_t i = 0; i < queue_.size(); ++i) {
    const Entry& entry = queue_[i];
    can_repeat = can_repeat && repeatable(entry);
    if (ends_copy_in(entry)) continue;
    loss.unanswered.push_back(entry.request());
    // In copy-in mode the server ignores a Sync: the client sends another one behind its CopyDone.
    if (entry.tag == client::sync && i > copying && i < copy_end) continue;
    debt.add(entry);

    const bool fails = entry.is(Mark::failed) || entry.origin == Origin::failing;
    if (fails) certainty.failed();
    if (entry.tag == client::sync) {
      certainty.sync();
      batch_failed = false;
    } else if (fails) {
      batch_failed = batch_failed || !is_unit(entry);
    } else if (runs(entry) && !batch_failed && !entry.is(Mark::local)) {
      certainty.statement(entry, i == copying && endless);
    }
  }
  debt.close(open_batch(), skipping_);

  if (committed_)
    loss.outcome = Loss::Outcome::unknown;  // a COMMIT of this batch was answered: "rolled back" would be a lie
  else if (queue_.empty())
    loss.outcome = Loss::Outcome::nothing_in_flight;
  else if (can_repeat)
    loss.outcome = Loss::Outcome::repeatable;
  else
    loss.outcome = certainty.unknown() ? Loss::Outcome::unknown : Loss::Outcome::rolled_back;
  return loss;
}

const char* name_of(Loss::Outcome outcome) {
  switch (outcome) {
    case Loss::Outcome::nothing_in_flight: return "nothing_in_flight";
    case Loss::Outcome::repeatable: return "repeatable";
    case Loss::Outcome::rolled_back: return "rolled_back";
    case Loss::Outcome::unknown: return "unknown";
  }
  return "unknown";
}

}  // namespace holdfast::protocol
