// The messages of protocol 3.x by tag (manual, 55.7), and how the proxy treats each body.
#pragma once

#include <cstddef>
#include <cstdint>

namespace holdfast::protocol {

// Tag and length word.
inline constexpr std::size_t header_size = 5;
inline constexpr std::uint32_t empty_length = 4;  // of a message without a body
// PostgreSQL refuses longer ones: PQ_LARGE_MESSAGE_LIMIT, src/include/libpq/libpq.h (MaxAllocSize - 1).
inline constexpr std::uint32_t max_message_length = 0x3fffffff;

namespace client {  // sent by clients
inline constexpr char bind = 'B', close = 'C', copy_data = 'd', copy_done = 'c', copy_fail = 'f', describe = 'D',
                      execute = 'E', flush = 'H', function_call = 'F', parse = 'P', password = 'p', query = 'Q',
                      sync = 'S', terminate = 'X';
}  // namespace client

namespace server {  // sent by servers
inline constexpr char authentication = 'R', backend_key_data = 'K', bind_complete = '2', close_complete = '3',
                      command_complete = 'C', copy_both_response = 'W', copy_data = 'd', copy_done = 'c',
                      copy_in_response = 'G', copy_out_response = 'H', data_row = 'D', empty_query_response = 'I',
                      error_response = 'E', function_call_response = 'V', negotiate_protocol_version = 'v',
                      no_data = 'n', notice_response = 'N', notification_response = 'A', parameter_description = 't',
                      parameter_status = 'S', parse_complete = '1', portal_suspended = 's', ready_for_query = 'Z',
                      row_description = 'T';
}  // namespace server

// How the framer hands a body over.
enum class Body : std::uint8_t {
  whole,    // buffered until complete, up to the framer's limit for whole bodies
  head,     // the first bytes (Framer::Limits::head_limit) or all of it, then the rest in pieces
  stream,   // in pieces, as they come
  unknown,  // no such message in this direction: a protocol error
};

enum class Direction : std::uint8_t { from_client, from_server };

[[nodiscard]] Body body_of(Direction direction, char tag);

// "Bind", "ReadyForQuery": for logs and errors.
[[nodiscard]] const char* name_of(Direction direction, char tag);

}  // namespace holdfast::protocol
