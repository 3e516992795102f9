// How a line of the table is tied to a field: internal to schema.cpp and settings.cpp. Plain function pointers made
// from pointers to members; nothing is looked up by name at run time.
#pragma once

#include <algorithm>
#include <concepts>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "config/model.hpp"
#include "config/schema.hpp"
#include "config/value.hpp"
#include "config/words.hpp"

namespace holdfast::config {

template <class Object>
struct Binding {
  Key key;
  void (*assign)(Object&, Value);
  std::optional<Value> (*read)(const Object&);
};

struct SessionBinding : Binding<SessionSettings> {
  void (*merge)(const SessionSettings&, EffectiveSettings&);
};

// The table itself: one list per mapping, in the order of the reference (settings.cpp).
[[nodiscard]] const std::vector<Binding<Config>>& process_table();
[[nodiscard]] const std::vector<Binding<Listener>>& listener_table();
[[nodiscard]] const std::vector<Binding<Cluster>>& cluster_table();
[[nodiscard]] const std::vector<Binding<Member>>& member_table();
[[nodiscard]] const std::vector<Binding<Database>>& database_table();
[[nodiscard]] const std::vector<Binding<User>>& user_table();
[[nodiscard]] const std::vector<SessionBinding>& session_table();

template <class T>
struct Bare {
  using type = T;
};
template <class T>
struct Bare<std::optional<T>> {
  using type = T;
};

template <class T>
Value to_value(const T& field) {
  if constexpr (std::is_enum_v<T>) {
    return std::string(word_of(field));
  } else if constexpr (std::unsigned_integral<T> && !std::same_as<T, bool>) {
    return std::uint64_t{field};
  } else {
    return field;
  }
}

// The value has been checked against the key's type, range and words before.
template <class T>
T from_value(Value value) {
  if constexpr (std::is_enum_v<T>) {
    const auto& text = std::get<std::string>(value);
    const auto found = std::ranges::find(words_of<T>, text, &Word::text);
    return static_cast<T>(found - words_of<T>.begin());
  } else if constexpr (std::unsigned_integral<T> && !std::same_as<T, bool>) {
    return static_cast<T>(std::get<std::uint64_t>(value));
  } else {
    return std::get<T>(std::move(value));
  }
}

// Fills in what follows from the field: its type, its words, and the largest number that fits.
template <class T>
Key complete(Key key) {
  if constexpr (std::is_enum_v<T>) {
    key.type = Type::word;
    key.words = words_of<T>;
  } else if constexpr (std::same_as<T, bool>) {
    key.type = Type::boolean;
  } else if constexpr (std::unsigned_integral<T>) {
    if (key.type != Type::size) key.type = Type::integer;
    key.range.max = std::min<std::uint64_t>(key.range.max, std::numeric_limits<T>::max());
  } else if constexpr (std::same_as<T, Milliseconds>) {
    key.type = Type::duration;
  } else if constexpr (std::same_as<T, Secret>) {
    key.type = Type::secret;
  } else if constexpr (std::same_as<T, std::vector<std::string>>) {
    key.type = Type::list;
  } else {
    static_assert(std::same_as<T, std::string>);
    if (key.type != Type::file && key.type != Type::word) key.type = Type::text;
  }
  return key;
}

// object.*first.*rest…
template <auto First, auto... Rest>
decltype(auto) reach(auto& object) {
  if constexpr (sizeof...(Rest) == 0) {
    return (object.*First);
  } else {
    return reach<Rest...>(object.*First);
  }
}

// A key for the field that the pointers lead to; its default is what a new Object holds.
template <class Object, auto... Path>
Binding<Object> bind(Key key) {
  using T = std::remove_cvref_t<decltype(reach<Path...>(std::declval<Object&>()))>;
  key = complete<T>(std::move(key));
  if (!key.required) key.standard = to_value(reach<Path...>(std::as_const(static_cast<const Object&>(Object{}))));
  return {std::move(key), [](Object& object, Value value) { reach<Path...>(object) = from_value<T>(std::move(value)); },
          [](const Object& object) -> std::optional<Value> { return to_value(reach<Path...>(object)); }};
}

// A session setting; its default is that of EffectiveSettings.
template <auto Field, auto Effective>
SessionBinding bind_session(Key key) {
  using T = typename Bare<std::remove_cvref_t<decltype(std::declval<SessionSettings&>().*Field)>>::type;
  key = complete<T>(std::move(key));
  key.standard = to_value(EffectiveSettings{}.*Effective);
  return {
      {std::move(key), [](SessionSettings& object, Value value) { object.*Field = from_value<T>(std::move(value)); },
       [](const SessionSettings& object) -> std::optional<Value> {
         if (!(object.*Field)) return std::nullopt;
         return to_value(*(object.*Field));
       }},
      [](const SessionSettings& level, EffectiveSettings& into) {
        if (level.*Field) into.*Effective = *(level.*Field);
      }};
}

}  // namespace holdfast::config
