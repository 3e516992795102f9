// A model of a PostgreSQL backend's protocol, written from postgres.c and copyfromparse.c message by message and
// knowing nothing of the exchange: what it answers, to whom, and what it skips.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "protocol/request.hpp"

namespace holdfast::protocol::testing {

// How the copy-in of an operation ends.
enum class CopyEnd { none, well, fails_unread, fails_reading, fails_at_done };

// One kind of message, with what the backend makes of it. `answers`: the tags it is answered with when all goes well,
// without ReadyForQuery; an 'E' among them is where it fails.
struct Operation {
  const char* name;
  char tag;
  std::string answers;
  CopyEnd copy = CopyEnd::none;
  Origin origin = Origin::client;
  bool local = false;  // answered by the proxy: the model answers instead, to show where the answer belongs
  char block = 0;      // 'B' begins a transaction block, 'C' ends it
};

inline const std::vector<Operation>& operations() {
  static const std::vector<Operation> all = {
      {"Q", 'Q', "TDDC"},
      {"Qempty", 'Q', "I"},
      {"Qtwo", 'Q', "TDCC"},
      {"Qfail", 'Q', "E"},
      {"Qtwofail", 'Q', "TDCTDE"},
      {"Qbegin", 'Q', "C", CopyEnd::none, Origin::client, false, 'B'},
      {"Qcommit", 'Q', "C", CopyEnd::none, Origin::client, false, 'C'},
      {"Qproxy", 'Q', "C", CopyEnd::none, Origin::proxy},
      {"Qfailing", 'Q', "E", CopyEnd::none, Origin::failing},
      {"Qcopyout", 'Q', "HddcC"},
      {"Qcopyin", 'Q', "G", CopyEnd::well},
      {"Qcopyin!", 'Q', "G", CopyEnd::fails_unread},
      {"Qcopyin!d", 'Q', "G", CopyEnd::fails_reading},
      {"Qcopyin!c", 'Q', "G", CopyEnd::fails_at_done},
      {"P", 'P', "1"},
      {"Pfail", 'P', "E"},
      {"Pnotice", 'P', "N1"},
      {"Pproxy", 'P', "1", CopyEnd::none, Origin::proxy},
      {"Pproxyfail", 'P', "E", CopyEnd::none, Origin::proxy},
      {"Pfailing", 'P', "E", CopyEnd::none, Origin::failing},
      {"Plocal", 'P', "1", CopyEnd::none, Origin::client, true},
      {"B", 'B', "2"},
      {"Ds", 'D', "tT"},
      {"Dn", 'D', "tn"},
      {"Dp", 'D', "T"},
      {"E", 'E', "DDC"},
      {"Efail", 'E', "DE"},
      {"Epart", 'E', "Ds"},
      {"Eempty", 'E', "I"},
      {"Ecopyout", 'E', "HdcC"},
      {"Ecopyin", 'E', "G", CopyEnd::well},
      {"Ecopyin!", 'E', "G", CopyEnd::fails_unread},
      {"Ecopyin!d", 'E', "G", CopyEnd::fails_reading},
      {"Ecopyin!c", 'E', "G", CopyEnd::fails_at_done},
      {"C", 'C', "3"},
      {"S", 'S', ""},
      {"Sfail", 'S', "E"},
      {"H", 'H', ""},
      {"F", 'F', "V"},
      {"Ffail", 'F', "E"},
      {"d", 'd', ""},
      {"c", 'c', ""},
      {"f", 'f', ""},
  };
  return all;
}

class ModelBackend {
 public:
  struct Answer {
    char tag;
    std::size_t owner;  // number of the message that it answers
    char status = 'I';  // ReadyForQuery
    bool fatal = false;
    bool violation = false;  // 08P01
  };

  // Reads message number `id`. What it answers is appended to answers().
  void read(const Operation& operation, std::size_t id) {
    if (ended_) return;
    if (copying_) return read_copy(operation);
    // SocketBackend()
    const bool was_ignoring = ignore_till_sync_;
    const bool had_batch = batch_;
    if (operation.tag == 'S') ignore_till_sync_ = false;
    if (ignore_till_sync_) {
      if (operation.tag != 'H' && operation.tag != 'd' && operation.tag != 'c' && operation.tag != 'f')
        skipped_.push_back(id);
      return;
    }
    switch (operation.tag) {
      case 'H':
      case 'd':
      case 'c':
      case 'f': return;
      case 'S':
      case 'Q':
      case 'F': batch_ = false; break;
      default: batch_ = true;
    }
    // Where there is nothing to commit a Sync can't fail.
    if (operation.tag == 'S' && (was_ignoring || !had_batch)) return answer('Z', id);
    run(operation, id);
  }

  [[nodiscard]] const std::vector<Answer>& answers() const { return answers_; }
  [[nodiscard]] const std::vector<std::size_t>& skipped() const { return skipped_; }
  [[nodiscard]] char status() const { return status_; }
  // Extended messages since the last message that ends a batch, or skipping.
  [[nodiscard]] bool open_batch() const { return batch_ || ignore_till_sync_; }
  [[nodiscard]] bool copying() const { return copying_; }
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] bool free() const { return !open_batch() && !copying_ && !ended_ && status_ == 'I'; }

 private:
  void answer(char tag, std::size_t id) { answers_.push_back({tag, id, status_}); }

  void run(const Operation& operation, std::size_t id) {
    for (char tag : operation.answers) {
      if (tag == 'E') return error(operation, id);
      answer(tag, id);
    }
    if (operation.copy == CopyEnd::fails_unread) return error(operation, id);
    if (operation.copy != CopyEnd::none) {
      copying_ = true;
      copy_ = operation;
      copy_id_ = id;
      return;
    }
    if (operation.block == 'B' && status_ == 'I') status_ = 'T';
    if (operation.block == 'C') status_ = 'I';
    ready(operation, id);
  }
  void ready(const Operation& operation, std::size_t id) {
    if (operation.tag == 'Q' || operation.tag == 'F' || operation.tag == 'S') answer('Z', id);
  }
  void error(const Operation& operation, std::size_t id) {
    answer('E', id);
    if (status_ == 'T') status_ = 'E';
    const bool doing_extended_query_message = operation.tag != 'Q' && operation.tag != 'F' && operation.tag != 'S';
    if (doing_extended_query_message)
      ignore_till_sync_ = true;
    else
      ready(operation, id);
  }
  // CopyGetData()
  void read_copy(const Operation& operation) {
    switch (operation.tag) {
      case 'H':
      case 'S': return;  // ignored
      case 'd':
        if (copy_.copy != CopyEnd::fails_reading) return;
        break;
      case 'c':
        if (copy_.copy != CopyEnd::fails_at_done) {
          copying_ = false;
          answer('C', copy_id_);
          return ready(copy_, copy_id_);
        }
        break;
      case 'f': break;
      default:  // "unexpected message type during COPY from stdin", then "protocol synchronization was lost"
        answers_.push_back({.tag = 'E', .owner = copy_id_, .status = status_, .violation = true});
        answers_.push_back({'E', copy_id_, status_, true});
        ended_ = true;
        return;
    }
    copying_ = false;
    error(copy_, copy_id_);
  }

  std::vector<Answer> answers_;
  std::vector<std::size_t> skipped_;
  Operation copy_ = {};
  std::size_t copy_id_ = 0;
  char status_ = 'I';
  bool ignore_till_sync_ = false;
  bool batch_ = false;
  bool copying_ = false;
  bool ended_ = false;
};

}  // namespace holdfast::protocol::testing
