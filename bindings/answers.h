// The common language of the Embind surface: answers, JavaScript objects and arrays, bytes.
//
// No call throws into JavaScript: each answers { value } or { error: { code, message, node, op, tensor, hint
// } }.
#pragma once

#include <emscripten/val.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/error.h"
#include "core/function.h"

namespace zp::bindings {

using emscripten::val;

val text(std::string_view s);
val number(int64_t n);

// The name of a property: a literal.
struct Name {
  consteval Name(const char* name) : text(name) {}  // NOLINT(google-explicit-constructor): it is one
  const char* text;
};

// As a JavaScript string, brought there once.
const val& property(Name name);

// A new JavaScript object. Its functions are not inlined: Embind's own are templates over the lengths of
// names.
class Object {
 public:
  [[gnu::noinline]] void set(Name key, const val& value) { object_.set(property(key), value); }
  [[gnu::noinline]] void set(Name key, double value) { set(key, val(value)); }
  [[gnu::noinline]] void set(Name key, bool value) { set(key, val(value)); }
  [[gnu::noinline]] void set(Name key, std::string_view value) { set(key, text(value)); }
  void set(Name key, const char* value) { set(key, std::string_view(value)); }  // not as a bool
  template <std::integral T>
    requires(!std::same_as<T, bool>)
  void set(Name key, T value) {
    set(key, static_cast<double>(value));
  }
  void set_named(const std::string& key, const val& value) { object_.set(key, value); }
  operator const val&() const { return object_; }  // NOLINT(google-explicit-constructor): it is one

 private:
  val object_ = val::object();
};

class Array {
 public:
  [[gnu::noinline]] void push(const val& value) { array_.set(size_++, value); }
  operator const val&() const { return array_; }  // NOLINT(google-explicit-constructor): it is one

 private:
  val array_ = val::array();
  unsigned size_ = 0;
};

template <class T>
[[gnu::noinline]] T field(const val& object, Name key) {
  return object[property(key)].as<T>();
}

// Calls it, and answers with the error that it throws.
val answer_of(FunctionRef<val()> body);

// Runs `body` and answers with what it returns, or with the error it throws.
template <class Body>
val answer(Body&& body) {
  return answer_of([&]() -> val {
    if constexpr (std::is_void_v<std::invoke_result_t<Body>>) {
      body();
      return val::undefined();
    } else {
      return body();
    }
  });
}

template <class T, class F>
val array_of(const T& items, F&& convert) {
  Array list;
  for (const auto& item : items) list.push(convert(item));
  return list;
}

template <class F>
void for_entries(const val& object, F&& f) {
  const val entries = val::global("Object").call<val>("entries", object);
  const auto count = field<unsigned>(entries, "length");
  for (unsigned i = 0; i < count; ++i) f(entries[i][0].as<std::string>(), entries[i][1]);
}

val sentences(const std::vector<std::string>& all);
Object progress_of(size_t done, size_t total);

// The engine's bytes as a Uint8Array.
val view_of(const std::byte* data, size_t bytes);
// A copy in JavaScript's own memory.
val copied(const std::byte* data, size_t bytes);

}  // namespace zp::bindings
