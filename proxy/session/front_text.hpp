// The statement of the message at the front of what a client has sent, when it takes too long to be judged on a worker:
// another thread reads it while its client waits, and others are served.
//
// Task: one reading at a time, and what came of it for as long as that message is at the front. A verdict that can be
// remembered by its shape goes to the classifier instead. Owner: the session. Thread: the worker's.
//
//   (nothing) ──begin()──> being read ──finish()──> (nothing: the classifier has learnt it)
//                                       └─────────> read: this verdict, or that it can't be known ──moved()──> (nothing)
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "protocol/framer.hpp"
#include "protocol/frontend.hpp"
#include "protocol/sql/classify.hpp"
#include "proxy/io/reading.hpp"

namespace holdfast::proxy {

class FrontText {
 public:
  using Classifier = protocol::sql::Classifier;

  // Another message may be at the front now.
  void moved() { ++front_; }

  // The classifier has said `elsewhere` to a text of the message, or batch, at the front.
  void begin(Reactor& reactor, ParseService& service, Classifier& classifier) {
    reading_front_ = front_;
    reading_ = std::make_unique<Reading>(reactor, service, classifier.take_long_text());
  }
  [[nodiscard]] bool being_read() const { return reading_ != nullptr; }
  [[nodiscard]] Reading& reading() { return *reading_; }
  // Nobody waits for it any more.
  void give_up() {
    if (reading_) reading_->give_up();
  }
  // Behind reading().done().
  void finish(Classifier& classifier) {
    if (const auto& hash = reading_->hash()) {
      classifier.learn(*hash, reading_->verdict());
    } else {
      read_ = {.front = reading_front_, .verdict = reading_->verdict()};
    }
    reading_.reset();
  }

  // It has been read: nothing of this message or batch is waited for a second time.
  [[nodiscard]] bool read() const { return read_ && read_->front == front_; }
  [[nodiscard]] Classifier::Patience patience() const {
    return read() ? Classifier::Patience::none : Classifier::Patience::any;
  }
  // Lets the classifier know the verdict of the Query at the front of `received`, as long as `known` lives.
  void tell(std::optional<Classifier::Known>& known, Classifier& classifier, protocol::Framer framer,
            protocol::Bytes received) const {
    const auto frame = framer.next(received);
    if (frame.kind != protocol::Frame::Kind::start || !frame.last || frame.tag != protocol::client::query) return;
    if (const auto text = protocol::parse_query(frame.body())) known.emplace(classifier, *text, read_->verdict);
  }

 private:
  struct Read {
    std::uint64_t front = 0;
    protocol::sql::Verdict verdict;
  };
  std::uint64_t front_ = 0;
  std::uint64_t reading_front_ = 0;
  std::optional<Read> read_;
  std::unique_ptr<Reading> reading_;
};

}  // namespace holdfast::proxy
