// Bytes on the wire: views, a bounded reader and a writer. Network byte order throughout (manual, 55.1).
#pragma once

#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace holdfast::protocol {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

[[nodiscard]] inline Bytes as_bytes(std::string_view text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
[[nodiscard]] inline std::string_view as_text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

template <std::unsigned_integral T>
[[nodiscard]] inline T load_be(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  if constexpr (std::endian::native == std::endian::little && sizeof(T) > 1) {
    if constexpr (sizeof(T) == 2) value = __builtin_bswap16(value);
    if constexpr (sizeof(T) == 4) value = __builtin_bswap32(value);
    if constexpr (sizeof(T) == 8) value = __builtin_bswap64(value);
  }
  return value;
}
template <std::unsigned_integral T>
inline void store_be(std::byte* to, T value) {
  if constexpr (std::endian::native == std::endian::little && sizeof(T) > 1) {
    if constexpr (sizeof(T) == 2) value = __builtin_bswap16(value);
    if constexpr (sizeof(T) == 4) value = __builtin_bswap32(value);
    if constexpr (sizeof(T) == 8) value = __builtin_bswap64(value);
  }
  std::memcpy(to, &value, sizeof value);
}

// Reads a message body from the front. A read beyond the end fails the reader for good and returns zero or empty,
// so a caller checks ok() once, at the end. Views point into the bytes that the reader was made from.
class Reader {
 public:
  explicit Reader(Bytes bytes) : rest_(bytes) {}

  [[nodiscard]] bool ok() const { return ok_; }
  [[nodiscard]] bool at_end() const { return rest_.empty(); }
  [[nodiscard]] std::size_t remaining() const { return rest_.size(); }
  // ok() and nothing left over: must hold after the last field of most messages.
  [[nodiscard]] bool complete() const { return ok_ && rest_.empty(); }

  std::uint8_t u8() { return integer<std::uint8_t>(); }
  std::uint16_t u16() { return integer<std::uint16_t>(); }
  std::uint32_t u32() { return integer<std::uint32_t>(); }
  std::uint64_t u64() { return integer<std::uint64_t>(); }
  std::int16_t i16() { return static_cast<std::int16_t>(u16()); }
  std::int32_t i32() { return static_cast<std::int32_t>(u32()); }
  char letter() { return static_cast<char>(u8()); }

  Bytes bytes(std::size_t count) {
    if (count > rest_.size()) return failed();
    auto taken = rest_.first(count);
    rest_ = rest_.subspan(count);
    return taken;
  }
  Bytes rest() { return bytes(rest_.size()); }

  // Up to the next NUL, which is consumed but not returned.
  std::string_view text() {
    const void* nul = rest_.empty() ? nullptr : std::memchr(rest_.data(), 0, rest_.size());
    if (nul == nullptr) return as_text(failed());
    auto size = static_cast<std::size_t>(static_cast<const std::byte*>(nul) - rest_.data());
    auto taken = rest_.first(size);
    rest_ = rest_.subspan(size + 1);
    return as_text(taken);
  }

 private:
  Bytes failed() {
    ok_ = false;
    rest_ = {};
    return {};
  }
  template <typename T>
  T integer() {
    auto taken = bytes(sizeof(T));
    return taken.size() == sizeof(T) ? load_be<T>(taken.data()) : T{};
  }

  Bytes rest_;
  bool ok_ = true;
};

// Appends messages to a buffer that the caller owns; begin() and end() fill in the length.
//   Writer w(out); w.begin('Z'); w.letter('I'); w.end();
class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) {}

  // Starts a message with a tag byte, or without one if `tag` is 0 (start-up packets).
  Writer& begin(char tag) {
    if (tag != 0) letter(tag);
    start_ = out_.size();
    return u32(0);
  }
  // Ends the message: the length counts itself and the body, not the tag.
  void end() { store_be(out_.data() + start_, static_cast<std::uint32_t>(out_.size() - start_)); }

  Writer& u8(std::uint8_t value) { return integer(value); }
  Writer& u16(std::uint16_t value) { return integer(value); }
  Writer& u32(std::uint32_t value) { return integer(value); }
  Writer& u64(std::uint64_t value) { return integer(value); }
  Writer& letter(char value) { return integer(static_cast<std::uint8_t>(value)); }
  Writer& bytes(Bytes value) {
    out_.insert(out_.end(), value.begin(), value.end());
    return *this;
  }
  // The text and a NUL. A NUL inside would end it early: the caller makes sure that there is none.
  Writer& text(std::string_view value) { return bytes(as_bytes(value)).u8(0); }

 private:
  template <typename T>
  Writer& integer(T value) {
    std::byte buffer[sizeof(T)];
    store_be(buffer, value);
    out_.insert(out_.end(), buffer, buffer + sizeof(T));
    return *this;
  }

  std::vector<std::byte>& out_;
  std::size_t start_ = 0;
};

}  // namespace holdfast::protocol
