#include "proxy/session/aligner.hpp"

#include <vector>

#include "protocol/backend.hpp"
#include "protocol/message.hpp"
#include "proxy/pool/server_reader.hpp"

namespace holdfast::proxy {

namespace tag = protocol::server;
using protocol::Reply;

Aligner::Aligner(PoolContext& context, ServerLease lease, const protocol::SettingsRef& wanted, Sequences sequences)
    : context_(context), lease_(std::move(lease)), alignment_(lease_->session, wanted, sequences) {}

Aligner::~Aligner() {
  if (lease_) lease_->user = nullptr;
}

Task<Aligner::End> Aligner::run() {
  std::vector<std::byte> out;
  if (alignment_.begin(out) == protocol::Alignment::State::aligned) co_return End::aligned;
  lease_->user = this;
  lease_->sent_at = context_.reactor.now();
  lease_->link.send(out);  // if this fails, the server's reader notices
  while (!end_) co_await signal_.next();
  if (lease_) {
    lease_->user = nullptr;
    if (*end_ == End::given_up) alignment_.give_up();
    if (*end_ == End::aligned && canceled_) end_ = End::canceled;
    if (*end_ != End::aligned) lease_ = ServerLease();
  }
  co_return *end_;
}

void Aligner::end(End end) {
  if (end_) return;
  end_ = end;
  signal_.notify(context_.reactor);
}

Pass Aligner::answers(ServerLink& server) {
  const Pass pass = read_frames(
      server, [this](const protocol::Frame& frame) { return message(frame); }, [](const protocol::Frame&) {});
  const auto state = alignment_.answered();
  if (state == protocol::Alignment::State::aligned) end(End::aligned);
  if (state == protocol::Alignment::State::refused) end(End::refused);
  return pass;
}

bool Aligner::message(const protocol::Frame& frame) {
  ServerLink& server = *lease_;
  if (frame.tag == tag::parameter_status) return note_parameter(context_, server, frame);
  if (frame.tag == tag::notice_response || frame.tag == tag::error_response) note_evidence(context_, server, frame);
  const Reply reply = server.session.exchange.received(frame.tag, frame.body());
  if (reply.action == Reply::Action::fatal || reply.action == Reply::Action::unexpected) return false;
  if (frame.tag == tag::error_response) {
    const auto fields = protocol::parse_error(frame.body());
    alignment_.failed(fields ? Error{fields->state, std::string(fields->message)} : fields.error());
  }
  server.session.settle(reply, [](std::uint32_t, protocol::Outcome) {});
  if (frame.tag == tag::ready_for_query) server.unit_ended();
  return true;
}

void Aligner::server_lost(ServerLink& server) {
  server.user = nullptr;
  lease_ = ServerLease();
  end(End::lost);
}

}  // namespace holdfast::proxy
