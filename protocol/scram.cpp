#include "protocol/scram.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <charconv>
#include <ostream>
#include <utility>

#include "protocol/base64.hpp"
#include "protocol/secure_random.hpp"

namespace holdfast::protocol::scram {
namespace {

constexpr std::size_t max_salt = 1024;

const unsigned char* raw(Bytes bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
unsigned char* raw(Key& key) {
  return reinterpret_cast<unsigned char*>(key.bytes.data());
}

std::unexpected<Error> no_crypto() {
  return fail(sqlstate::internal_error, "SHA-256 failed in OpenSSL");
}

Result<Key> hmac(const Key& key, std::string_view text) {
  Key out;
  unsigned size = 0;
  if (HMAC(EVP_sha256(), key.bytes.data(), static_cast<int>(key.bytes.size()), raw(as_bytes(text)), text.size(),
           raw(out), &size) == nullptr ||
      size != out.bytes.size()) {
    return no_crypto();
  }
  return out;
}

Result<Key> sha256(Bytes bytes) {
  Key out;
  unsigned size = 0;
  if (EVP_Digest(bytes.data(), bytes.size(), raw(out), &size, EVP_sha256(), nullptr) != 1 || size != out.bytes.size()) {
    return no_crypto();
  }
  return out;
}

Key exclusive_or(const Key& a, const Key& b) {
  Key out;
  for (std::size_t i = 0; i < out.bytes.size(); ++i) out.bytes[i] = a.bytes[i] ^ b.bytes[i];
  return out;
}

std::optional<Key> decode_key(std::string_view text) {
  const auto bytes = base64_decode(text);
  Key key;
  if (!bytes || bytes->size() != key.bytes.size()) return std::nullopt;
  std::ranges::copy(*bytes, key.bytes.begin());
  return key;
}

std::optional<std::uint32_t> decode_count(std::string_view text) {
  std::uint32_t count = 0;
  const char* end = text.data() + text.size();
  // No sign, no leading zero, no blanks: RFC 5802's posit-number.
  if (text.empty() || text[0] < '1' || text[0] > '9') return std::nullopt;
  const auto parsed = std::from_chars(text.data(), end, count);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  return count;
}

// RFC 5802's printable: what nonces are made of.
bool is_nonce(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7f && c != ','; });
}

// RFC 5802's saslname: '=' only as =2C and =3D.
bool is_saslname(std::string_view text) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\0') return false;
    if (text[i] != '=') continue;
    const auto code = text.substr(i + 1, 2);
    if (code != "2C" && code != "3D") return false;
  }
  return true;
}

// "a=value,b=value": attributes are read in the one order that the grammar allows.
class Attributes {
 public:
  explicit Attributes(std::string_view rest) : rest_(rest), more_(!rest.empty()) {}

  // The next attribute's name, 0 at the end.
  [[nodiscard]] char name() const { return more_ && !rest_.empty() ? rest_[0] : '\0'; }
  [[nodiscard]] bool at_end() const { return !more_; }

  [[nodiscard]] std::optional<std::string_view> take(char name) {
    if (!more_ || rest_.size() < 2 || rest_[0] != name || rest_[1] != '=') return std::nullopt;
    const auto comma = rest_.find(',');
    const auto value = rest_.substr(2, comma == std::string_view::npos ? comma : comma - 2);
    more_ = comma != std::string_view::npos;
    rest_ = more_ ? rest_.substr(comma + 1) : std::string_view{};
    return value;
  }

  // Optional extensions may stand at the end of a message and are ignored. SCRAM's own attribute names are no
  // extensions: at this point they are duplicates or out of order.
  [[nodiscard]] bool skip_extensions() {
    constexpr std::string_view reserved = "anmrcsipve";
    while (more_) {
      const char c = name();
      const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
      if (!letter || reserved.contains(c) || !take(c)) return false;
    }
    return true;
  }

 private:
  std::string_view rest_;
  bool more_;
};

std::unexpected<Error> malformed(std::string_view what) {
  return fail(sqlstate::protocol_violation, "malformed SCRAM message: " + std::string(what));
}

// The gs2 header and the data behind it, as c= repeats it.
std::string binding_input(std::string_view gs2_header, Bytes data) {
  std::string input(gs2_header);
  input.append(as_text(data));
  return base64_encode(as_bytes(input));
}

}  // namespace

bool operator==(const Key& a, const Key& b) {
  return CRYPTO_memcmp(a.bytes.data(), b.bytes.data(), a.bytes.size()) == 0;
}
std::ostream& operator<<(std::ostream& out, const Key&) {
  return out << "[secret]";
}

Result<Verifier> Verifier::parse(std::string_view text) {
  const auto bad = [] { return fail(sqlstate::invalid_password, "not a SCRAM-SHA-256 verifier"); };
  constexpr std::string_view prefix = "SCRAM-SHA-256$";
  if (!text.starts_with(prefix)) return bad();
  text.remove_prefix(prefix.size());
  const auto colon = text.find(':');
  const auto dollar = text.find('$');
  const auto last_colon = text.rfind(':');
  if (colon == text.npos || dollar == text.npos || colon > dollar || last_colon < dollar) return bad();

  const auto iterations = decode_count(text.substr(0, colon));
  auto salt = base64_decode(text.substr(colon + 1, dollar - colon - 1));
  const auto stored_key = decode_key(text.substr(dollar + 1, last_colon - dollar - 1));
  const auto server_key = decode_key(text.substr(last_colon + 1));
  if (!iterations || !salt || salt->empty() || salt->size() > max_salt || !stored_key || !server_key) return bad();
  return Verifier{
      .iterations = *iterations, .salt = std::move(*salt), .stored_key = *stored_key, .server_key = *server_key};
}

std::string Verifier::print() const {
  return "SCRAM-SHA-256$" + std::to_string(iterations) + ":" + base64_encode(salt) + "$" +
         base64_encode(stored_key.bytes) + ":" + base64_encode(server_key.bytes);
}

Result<Key> salted_password(std::string_view password, Bytes salt, std::uint32_t iterations) {
  if (iterations == 0 || iterations > 0x7fffffffU) {
    return fail(sqlstate::invalid_password, "SCRAM with " + std::to_string(iterations) + " iterations");
  }
  Key out;
  if (PKCS5_PBKDF2_HMAC(password.data(), static_cast<int>(password.size()), raw(salt), static_cast<int>(salt.size()),
                        static_cast<int>(iterations), EVP_sha256(), static_cast<int>(out.bytes.size()),
                        raw(out)) != 1) {
    return no_crypto();
  }
  return out;
}

Result<Keys> keys_from(const Key& salted_password) {
  auto client_key = hmac(salted_password, "Client Key");
  if (!client_key) return std::unexpected(client_key.error());
  auto server_key = hmac(salted_password, "Server Key");
  if (!server_key) return std::unexpected(server_key.error());
  return Keys{.client_key = *client_key, .server_key = *server_key};
}

Result<Verifier> make_verifier(std::string_view password, Bytes salt, std::uint32_t iterations) {
  auto salted = salted_password(password, salt, iterations);
  if (!salted) return std::unexpected(salted.error());
  auto keys = keys_from(*salted);
  if (!keys) return std::unexpected(keys.error());
  return verifier_from(*keys, {salt.begin(), salt.end()}, iterations);
}

Result<Verifier> verifier_from(const Keys& keys, std::vector<std::byte> salt, std::uint32_t iterations) {
  auto stored_key = sha256(keys.client_key.bytes);
  if (!stored_key) return std::unexpected(stored_key.error());
  return Verifier{
      .iterations = iterations, .salt = std::move(salt), .stored_key = *stored_key, .server_key = keys.server_key};
}

Result<Verifier> mock_verifier(std::string_view user, Bytes secret, std::uint32_t iterations) {
  std::string input(user);
  input.append(as_text(secret));
  auto digest = sha256(as_bytes(input));
  if (!digest) return std::unexpected(digest.error());
  Verifier verifier{.iterations = iterations, .mock = true};
  verifier.salt.assign(digest->bytes.begin(), digest->bytes.begin() + default_salt_size);
  return verifier;
}

ServerExchange::ServerExchange(Verifier verifier, Options options)
    : verifier_(std::move(verifier)), options_(std::move(options)) {}

Result<std::string> ServerExchange::client_first(std::string_view message) {
  auto answer = state_ == State::first ? parse_first(message) : malformed("out of order");
  state_ = answer ? State::final : State::failed;
  return answer;
}

Result<std::string> ServerExchange::client_final(std::string_view message) {
  auto answer = state_ == State::final ? parse_final(message) : malformed("out of order");
  state_ = answer ? State::succeeded : State::failed;
  if (!answer) keys_.reset();
  return answer;
}

// client-first-message = gs2-cbind-flag "," [ authzid ] "," [reserved-mext ","] username "," nonce ["," extensions]
Result<std::string> ServerExchange::parse_first(std::string_view message) {
  if (message.size() > max_client_message) return malformed("too long");
  if (message.contains('\0')) return malformed("length does not match input length");
  const auto flag_end = message.find(',');
  if (flag_end == message.npos) return malformed("no gs2 header");
  const auto flag = message.substr(0, flag_end);
  if (flag.starts_with("p=")) {
    if (!options_.plus_selected) return malformed("channel binding without SCRAM-SHA-256-PLUS");
    if (flag != "p=tls-server-end-point") {
      return fail(sqlstate::protocol_violation, "unsupported SCRAM channel-binding type");
    }
  } else if (flag == "n" || flag == "y") {
    if (options_.plus_selected) return malformed("SCRAM-SHA-256-PLUS without channel binding");
    if (flag == "y" && options_.channel_binding) {
      // The client could bind and was made to believe that we can't: an attacker removed -PLUS from our list.
      return fail(sqlstate::invalid_authorization, "SCRAM channel binding negotiation error");
    }
  } else {
    return malformed("unexpected channel-binding flag");
  }

  const auto header_end = message.find(',', flag_end + 1);
  if (header_end == message.npos) return malformed("no authorization identity");
  if (header_end != flag_end + 1) {
    return fail(sqlstate::feature_not_supported, "client uses authorization identity, but it is not supported");
  }
  gs2_header_ = message.substr(0, header_end + 1);
  const auto bare = message.substr(header_end + 1);
  client_first_bare_ = bare;

  Attributes attributes(bare);
  if (attributes.name() == 'm') {
    return fail(sqlstate::feature_not_supported, "client requires an unsupported SCRAM extension");
  }
  // The user is that of the StartupMessage, as in PostgreSQL: this name only has to be well-formed.
  const auto name = attributes.take('n');
  if (!name || !is_saslname(*name)) return malformed("user name");
  const auto client_nonce = attributes.take('r');
  if (!client_nonce || !is_nonce(*client_nonce)) return malformed("nonce");
  if (!attributes.skip_extensions()) return malformed("unexpected attribute");

  if (options_.nonce.empty()) {
    auto fresh = random_nonce();
    if (!fresh) return fresh;
    options_.nonce = std::move(*fresh);
  }
  nonce_ = std::string(*client_nonce) + options_.nonce;
  server_first_ = "r=" + nonce_ + ",s=" + base64_encode(verifier_.salt) + ",i=" + std::to_string(verifier_.iterations);
  return server_first_;
}

// client-final-message = channel-binding "," nonce ["," extensions] "," proof
Result<std::string> ServerExchange::parse_final(std::string_view message) {
  if (message.size() > max_client_message) return malformed("too long");
  if (message.contains('\0')) return malformed("length does not match input length");
  // The proof comes last and signs everything before it. Base64 has no comma, so it stands behind the last one.
  const auto proof_start = message.rfind(",p=");
  if (proof_start == message.npos) return malformed("no proof");
  const auto without_proof = message.substr(0, proof_start);
  const auto proof = decode_key(message.substr(proof_start + 3));
  if (!proof) return malformed("proof");

  Attributes attributes(without_proof);
  const auto binding = attributes.take('c');
  if (!binding) return malformed("channel binding");
  const auto nonce = attributes.take('r');
  if (!nonce) return malformed("nonce");
  if (!attributes.skip_extensions()) return malformed("unexpected attribute");

  const Bytes data = options_.plus_selected && options_.channel_binding ? Bytes(*options_.channel_binding) : Bytes{};
  if (*binding != binding_input(gs2_header_, data)) {
    return fail(sqlstate::invalid_authorization, "SCRAM channel binding check failed");
  }
  if (*nonce != nonce_) return fail(sqlstate::protocol_violation, "invalid SCRAM response: nonce does not match");

  const std::string auth_message = client_first_bare_ + "," + server_first_ + "," + std::string(without_proof);
  auto client_signature = hmac(verifier_.stored_key, auth_message);
  if (!client_signature) return std::unexpected(client_signature.error());
  const Key client_key = exclusive_or(*proof, *client_signature);
  auto stored_key = sha256(client_key.bytes);
  if (!stored_key) return std::unexpected(stored_key.error());
  auto server_signature = hmac(verifier_.server_key, auth_message);
  if (!server_signature) return std::unexpected(server_signature.error());

  // Everything is computed before anything is judged: a user that doesn't exist takes as long as a wrong password.
  const bool proven = *stored_key == verifier_.stored_key;
  if (!proven || verifier_.mock) return fail(sqlstate::invalid_password, "");
  keys_ = Keys{.client_key = client_key, .server_key = verifier_.server_key};
  return "v=" + base64_encode(server_signature->bytes);
}

ClientExchange::ClientExchange(std::optional<Keys> keys, Options options) : options_(std::move(options)), keys_(keys) {}

std::unexpected<Error> ClientExchange::broken(SqlState state, std::string message) {
  state_ = State::failed;
  return fail(state, std::move(message));
}

std::string ClientExchange::gs2_header() const {
  switch (options_.binding) {
    case Binding::unsupported: return "n,,";
    case Binding::not_offered: return "y,,";
    case Binding::end_point: return "p=tls-server-end-point,,";
  }
  return {};
}

Result<std::string> ClientExchange::client_first() {
  if (state_ != State::start) return broken(sqlstate::internal_error, "SCRAM exchange out of order");
  if (options_.nonce.empty()) {
    auto fresh = random_nonce();
    if (!fresh) return broken(fresh.error().state, fresh.error().message);
    options_.nonce = std::move(*fresh);
  }
  // No user name, as in libpq: servers take that of the StartupMessage.
  client_first_bare_ = "n=,r=" + options_.nonce;
  state_ = State::first;
  return gs2_header() + client_first_bare_;
}

// server-first-message = [reserved-mext ","] nonce "," salt "," iteration-count ["," extensions]
Result<void> ClientExchange::server_first(std::string_view message) {
  const auto bad = [this](std::string_view what) {
    return broken(sqlstate::protocol_violation, "malformed SCRAM message of the server: " + std::string(what));
  };
  if (state_ != State::first) return bad("out of order");
  if (message.size() > max_server_message) return bad("too long");
  Attributes attributes(message);
  if (attributes.name() == 'm') return bad("mandatory extension");
  const auto nonce = attributes.take('r');
  if (!nonce || !is_nonce(*nonce)) return bad("nonce");
  // If the server added nothing of its own, an old answer could be replayed to us.
  if (!nonce->starts_with(options_.nonce) || nonce->size() == options_.nonce.size()) return bad("foreign nonce");
  const auto salt_text = attributes.take('s');
  auto salt = salt_text ? base64_decode(*salt_text) : std::nullopt;
  if (!salt || salt->empty() || salt->size() > max_salt) return bad("salt");
  const auto count_text = attributes.take('i');
  const auto count = count_text ? decode_count(*count_text) : std::nullopt;
  if (!count) return bad("iteration count");
  if (!attributes.skip_extensions()) return bad("unexpected attribute");
  if (*count > options_.max_iterations) {
    return broken(sqlstate::program_limit_exceeded, "the server asks for " + std::to_string(*count) +
                                                        " SCRAM iterations; the limit is " +
                                                        std::to_string(options_.max_iterations));
  }
  nonce_ = *nonce;
  salt_ = std::move(*salt);
  iterations_ = *count;
  server_first_ = message;
  state_ = keys_ ? State::ready : State::needs_key;
  return {};
}

Result<void> ClientExchange::use(const Key& salted_password) {
  if (state_ != State::needs_key) return broken(sqlstate::internal_error, "SCRAM exchange out of order");
  auto keys = keys_from(salted_password);
  if (!keys) return broken(keys.error().state, keys.error().message);
  keys_ = *keys;
  state_ = State::ready;
  return {};
}

Result<std::string> ClientExchange::client_final() {
  if (state_ != State::ready) return broken(sqlstate::internal_error, "SCRAM exchange out of order");
  const Bytes data = options_.binding == Binding::end_point ? Bytes(options_.end_point) : Bytes{};
  std::string message = "c=" + binding_input(gs2_header(), data) + ",r=" + nonce_;
  auth_message_ = client_first_bare_ + "," + server_first_ + "," + message;
  auto stored_key = sha256(keys_->client_key.bytes);
  if (!stored_key) return broken(stored_key.error().state, stored_key.error().message);
  auto signature = hmac(*stored_key, auth_message_);
  if (!signature) return broken(signature.error().state, signature.error().message);
  message += ",p=" + base64_encode(exclusive_or(keys_->client_key, *signature).bytes);
  state_ = State::final;
  return message;
}

// server-final-message = (server-error / verifier) ["," extensions]
Result<void> ClientExchange::server_final(std::string_view message) {
  if (state_ != State::final) return broken(sqlstate::protocol_violation, "SCRAM message of the server out of order");
  if (message.size() > max_server_message) {
    return broken(sqlstate::protocol_violation, "malformed SCRAM message of the server: too long");
  }
  Attributes attributes(message);
  if (attributes.name() == 'e') {
    return broken(sqlstate::invalid_password, "the server refused the SCRAM exchange");
  }
  const auto text = attributes.take('v');
  const auto signature = text ? decode_key(*text) : std::nullopt;
  if (!signature || !attributes.skip_extensions()) {
    return broken(sqlstate::protocol_violation, "malformed SCRAM message of the server: signature");
  }
  auto expected = hmac(keys_->server_key, auth_message_);
  if (!expected) return broken(expected.error().state, expected.error().message);
  if (!(*signature == *expected)) {
    return broken(sqlstate::invalid_password, "the server could not prove that it knows the password");
  }
  state_ = State::verified;
  return {};
}

}  // namespace holdfast::protocol::scram
