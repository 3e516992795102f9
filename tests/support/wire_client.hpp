// A client that speaks the protocol byte by byte: the messages that tests send, and a log-in without libpq.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/scripted_peer.hpp"

namespace holdfast::testing::wire {

std::string query(const std::string& sql);
std::string parse(const std::string& name, const std::string& sql);  // without parameter types
std::string bind(const std::string& name);                           // the unnamed portal, without parameters
std::string describe(const std::string& name);                       // of a statement
std::string execute();                                               // the unnamed portal, all rows
std::string copy_data(const std::string& bytes);
std::string copy_done();
std::string copy_fail(const std::string& reason);
std::string sync();
std::string flush();

// A client that is logged in without a password and has read everything up to ReadyForQuery. Throws ScriptError.
std::unique_ptr<PeerConnection> log_in(int port, const std::vector<std::pair<std::string, std::string>>& more = {});
// The SQLSTATE of an ErrorResponse or a notice; empty when the message is something else.
std::string sqlstate(const PeerMessage& message);
// Reads up to the next ErrorResponse, whatever comes in front of it, and returns its SQLSTATE.
std::string read_error(PeerConnection& peer);
// Reads up to ReadyForQuery and returns the first column of the last row in text; throws ScriptError at an
// ErrorResponse.
std::string read_value(PeerConnection& peer);

}  // namespace holdfast::testing::wire
