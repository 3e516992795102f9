// Plays a script of messages between an exchange and the model backend, and checks after every step that each answer
// went where it belongs. Shared by the exhaustive test and the fuzzer.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "protocol/exchange.hpp"
#include "tests/protocol/model_backend.hpp"

namespace holdfast::protocol::testing {

class ScriptPlayer {
 public:
  // What went wrong, empty if nothing.
  [[nodiscard]] const std::string& fault() const { return fault_; }
  [[nodiscard]] bool doubtful() const { return exchange_.doubtful(); }
  [[nodiscard]] bool broken() const { return exchange_.broken(); }
  [[nodiscard]] const ModelBackend& model() const { return model_; }
  Exchange& exchange() { return exchange_; }

  // The client's or the proxy's next message.
  void send(const Operation& operation) {
    // The server, which never hears of it, would go on copying where the model breaks off.
    if (operation.local && model_.copying()) return;
    const std::size_t id = sent_++;
    owners_.push_back(operation);
    // In doubt everything is sent.
    if (exchange_.doubtful()) owners_.back().local = false;
    const bool has_answer = std::string_view("Hdcf").find(operation.tag) == std::string_view::npos;
    if (operation.copy != CopyEnd::none) has_copy_ = true;
    model_.read(operation, id);
    Exchange::Fate fate;
    if (owners_.back().local) {
      fate = exchange_.answered_locally(operation.tag, static_cast<std::uint32_t>(id));
    } else {
      fate = exchange_.sent({operation.tag, operation.origin, Trait::none, false, static_cast<std::uint32_t>(id)});
    }
    if (fate == Exchange::Fate::skipped && has_answer) skipped_.push_back(id);
    emit(exchange_.before());
    emit(exchange_.after());
  }

  [[nodiscard]] bool can_receive() {
    skip_local_answers();
    return received_ < model_.answers().size() && !exchange_.broken();
  }
  // The model's next answer reaches the exchange. Precondition: can_receive().
  void receive() {
    const auto& answer = model_.answers()[received_];
    receive(answer.tag, body_of(answer));
  }
  // What a real server answered reaches the exchange; it must be what the model answers.
  void receive(char tag, Bytes body) {
    if (received_ >= model_.answers().size()) return complain(std::string("the model answers no ") + tag);
    const auto& answer = model_.answers()[received_];
    if (answer.tag != tag || (tag == 'Z' && as_text(body) != std::string_view(&answer.status, 1)))
      return complain(std::string("the server answered ") + tag + ", the model " + answer.tag);
    const Operation& owner = owners_[answer.owner];
    if (exchange_.may_release()) complain("released while an answer was under way");
    const bool doubtful = exchange_.doubtful();
    const Reply reply = exchange_.received(tag, body);
    emit(exchange_.before());
    ++received_;
    if (answer.fatal) {
      if (reply.action != Reply::Action::fatal) complain("fatal error not seen");
      return;
    }
    if (answer.tag == 'N') {
      if (reply.action != Reply::Action::async) complain("a notice that answers something");
      client_.push_back({answer.tag, answer.owner});
      return;
    }
    if (reply.action == Reply::Action::unexpected) {
      if (!has_copy_) complain(std::string("unexpected ") + answer.tag);
      return;
    }
    if (!doubtful && !(answer.tag == 'Z' && exchange_.doubtful()) && reply.request.cookie != answer.owner)
      complain(std::string("answer ") + answer.tag + " of another request");
    if (!doubtful && reply.action != action_of(answer, owner)) complain(std::string("wrong action for ") + answer.tag);
    if (reply.action != Reply::Action::swallow) client_.push_back({answer.tag, answer.owner});
    if (answer.tag == 'Z' && exchange_.transaction_status() != answer.status) complain("wrong status");
    for (const Request& request : exchange_.dropped()) skipped_.push_back(request.cookie);
    emit(exchange_.after());
  }

  // The script so far.
  [[nodiscard]] std::string text() const {
    std::string text = " [";
    for (const Operation& operation : owners_) text += std::string(operation.name) + " ";
    return text + "]";
  }

  // Everything was received: both sides must agree about what is left.
  void check_quiet() {
    if (exchange_.broken()) {
      if (!has_copy_) complain("broken without a copy");
      return;
    }
    if (exchange_.doubtful() && !has_copy_) complain("doubt without a reason");
    if (exchange_.may_release() && !model_.free()) complain("released while not free");
    const bool tail = has_local_tail();
    if (!exchange_.doubtful() && !tail && exchange_.may_release() != model_.free()) complain("not released while free");
    if (!model_.copying() && !exchange_.doubtful() && exchange_.open_batch() != model_.open_batch())
      complain("open batch");
    if (model_.copying() != (exchange_.copy() == Copy::in)) complain("copy state");
    if (!model_.copying() && !tail && !model_.ended() && !exchange_.idle()) complain("something left in flight");
    check_client(tail);
    check_skipped();
  }

 private:
  struct Seen {
    char tag;
    std::size_t owner;
    friend bool operator==(const Seen&, const Seen&) = default;
  };

  static Bytes body_of(const ModelBackend::Answer& answer) {
    static constexpr std::string_view error("SERROR\0VERROR\0CXX000\0Mmodel\0\0", 29);
    static constexpr std::string_view fatal("SFATAL\0VFATAL\0C08P01\0Mmodel\0\0", 29);
    static constexpr std::string_view violation("SERROR\0VERROR\0C08P01\0Mmodel\0\0", 29);
    static constexpr std::string_view statuses("ITE");
    if (answer.tag == 'E') return as_bytes(answer.fatal ? fatal : answer.violation ? violation : error);
    if (answer.tag == 'Z') return as_bytes(statuses.substr(statuses.find(answer.status), 1));
    return {};
  }
  // Whose an answer is, told from the origin alone.
  [[nodiscard]] Reply::Action action_of(const ModelBackend::Answer& answer, const Operation& owner) const {
    if (owner.origin == Origin::failing && answer.tag == 'E') return Reply::Action::replace;
    if (owner.origin != Origin::proxy) return Reply::Action::forward;
    // An injected message that fails a client's batch fails the client.
    if (owner.tag != 'Q' && answer.tag == 'E') return Reply::Action::forward;
    return Reply::Action::swallow;
  }
  // The proxy emits its answers itself; the model's are only there to show their place.
  void skip_local_answers() {
    while (received_ < model_.answers().size() && owners_[model_.answers()[received_].owner].local) ++received_;
  }
  void emit(std::span<const Request> due) {
    for (const Request& request : due) client_.push_back({'1', request.cookie});
  }
  [[nodiscard]] bool is_for_client(const ModelBackend::Answer& answer) const {
    const Operation& owner = owners_[answer.owner];
    return !answer.fatal && (owner.origin != Origin::proxy || action_of(answer, owner) == Reply::Action::forward);
  }
  // The last answers are the proxy's own and no Flush or Sync has asked for them.
  [[nodiscard]] bool has_local_tail() const {
    return !model_.answers().empty() && owners_[model_.answers().back().owner].local &&
           exchange_.in_flight() > (model_.copying() ? 1U : 0U);
  }
  void check_client(bool tail) {
    std::vector<Seen> expected;
    for (const auto& answer : model_.answers())
      if (is_for_client(answer)) expected.push_back({answer.tag, answer.owner});
    if (tail) {
      while (expected.size() > client_.size() && owners_[expected.back().owner].local) expected.pop_back();
    }
    if (client_ != expected) complain("the client saw another stream: " + text(client_) + ", not " + text(expected));
  }
  void check_skipped() {
    std::vector<std::size_t> expected = model_.skipped();
    std::ranges::sort(expected);
    std::ranges::sort(skipped_);
    if (!model_.ended() && skipped_ != expected) complain("skipped others");
  }
  static std::string text(const std::vector<Seen>& stream) {
    std::string text;
    for (const Seen& seen : stream) text += std::string(1, seen.tag) + std::to_string(seen.owner) + " ";
    return text;
  }
  void complain(std::string what) {
    if (!fault_.empty()) return;
    fault_ = std::move(what) + text();
  }

  Exchange exchange_;
  ModelBackend model_;
  std::vector<Operation> owners_;
  std::vector<Seen> client_;
  std::vector<std::size_t> skipped_;
  std::size_t sent_ = 0;
  std::size_t received_ = 0;
  bool has_copy_ = false;
  std::string fault_;
};

}  // namespace holdfast::protocol::testing
