#include "protocol/message.hpp"

#include <array>

namespace holdfast::protocol {
namespace {

struct Entry {
  Body body = Body::unknown;
  const char* name = "unknown message";
};
using Table = std::array<Entry, 256>;

constexpr Table client_table() {
  Table t{};
  auto set = [&t](char tag, Body body, const char* name) { t[static_cast<unsigned char>(tag)] = {body, name}; };
  set(client::bind, Body::head, "Bind");
  set(client::close, Body::whole, "Close");
  set(client::copy_data, Body::stream, "CopyData");
  set(client::copy_done, Body::whole, "CopyDone");
  set(client::copy_fail, Body::stream, "CopyFail");
  set(client::describe, Body::whole, "Describe");
  set(client::execute, Body::whole, "Execute");
  set(client::flush, Body::whole, "Flush");
  set(client::function_call, Body::stream, "FunctionCall");
  set(client::parse, Body::whole, "Parse");
  set(client::password, Body::whole, "PasswordMessage");
  set(client::query, Body::whole, "Query");
  set(client::sync, Body::whole, "Sync");
  set(client::terminate, Body::whole, "Terminate");
  return t;
}

constexpr Table server_table() {
  Table t{};
  auto set = [&t](char tag, Body body, const char* name) { t[static_cast<unsigned char>(tag)] = {body, name}; };
  set(server::authentication, Body::whole, "Authentication");
  set(server::backend_key_data, Body::whole, "BackendKeyData");
  set(server::bind_complete, Body::whole, "BindComplete");
  set(server::close_complete, Body::whole, "CloseComplete");
  set(server::command_complete, Body::whole, "CommandComplete");
  set(server::copy_both_response, Body::whole, "CopyBothResponse");
  set(server::copy_data, Body::stream, "CopyData");
  set(server::copy_done, Body::whole, "CopyDone");
  set(server::copy_in_response, Body::whole, "CopyInResponse");
  set(server::copy_out_response, Body::whole, "CopyOutResponse");
  set(server::data_row, Body::stream, "DataRow");
  set(server::empty_query_response, Body::whole, "EmptyQueryResponse");
  set(server::error_response, Body::whole, "ErrorResponse");
  set(server::function_call_response, Body::stream, "FunctionCallResponse");
  set(server::negotiate_protocol_version, Body::whole, "NegotiateProtocolVersion");
  set(server::no_data, Body::whole, "NoData");
  set(server::notice_response, Body::stream, "NoticeResponse");
  set(server::notification_response, Body::stream, "NotificationResponse");
  set(server::parameter_description, Body::stream, "ParameterDescription");
  set(server::parameter_status, Body::whole, "ParameterStatus");
  set(server::parse_complete, Body::whole, "ParseComplete");
  set(server::portal_suspended, Body::whole, "PortalSuspended");
  set(server::ready_for_query, Body::whole, "ReadyForQuery");
  set(server::row_description, Body::stream, "RowDescription");
  return t;
}

constexpr Table from_clients = client_table();
constexpr Table from_servers = server_table();

const Entry& entry(Direction direction, char tag) {
  const auto& table = direction == Direction::from_client ? from_clients : from_servers;
  return table[static_cast<unsigned char>(tag)];
}

}  // namespace

Body body_of(Direction direction, char tag) {
  return entry(direction, tag).body;
}
const char* name_of(Direction direction, char tag) {
  return entry(direction, tag).name;
}

}  // namespace holdfast::protocol
