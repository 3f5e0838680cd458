// Messages as lists of their pieces: {"axis ", axis, " is outside ", dims}. Nothing is put together, and
// nothing allocated, unless the message is wanted.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace zp {

// Made by functions that are not inlined: there are hundreds of messages.
class Piece {
 public:
  Piece(const char* text);                  // NOLINT(google-explicit-constructor): these all
  Piece(const std::string& text);           // NOLINT(google-explicit-constructor)
  Piece(std::string_view text);             // NOLINT(google-explicit-constructor)
  Piece(std::span<const int64_t> dims);     // NOLINT(google-explicit-constructor)
  Piece(const std::vector<int64_t>& dims);  // NOLINT(google-explicit-constructor)
  template <std::integral T>
  Piece(T number) : Piece(Number{static_cast<int64_t>(number)}) {}  // NOLINT(google-explicit-constructor)
  // Whatever has a to_string of its own.
  template <class T>
    requires requires(const T& v) {
      { to_string(v) } -> std::same_as<std::string>;
    }
  Piece(const T& value)  // NOLINT(google-explicit-constructor)
      : Piece(&value, [](const void* v) { return to_string(*static_cast<const T*>(v)); }) {}

  void append_to(std::string& text) const;

 private:
  using Format = std::string (*)(const void*);
  struct Number {
    int64_t value;
  };
  explicit Piece(Number number);
  Piece(const void* object, Format format);

  enum class Kind : uint8_t { kText, kNumber, kDims, kObject };
  Kind kind_;
  union {
    size_t size_;
    Format format_;
  };
  union {
    const void* at_;
    int64_t number_;
  };
};

// Refers to pieces that outlive the call: a parameter, never a member.
class Text {
 public:
  Text(const char* text);                     // NOLINT(google-explicit-constructor): these all
  Text(const std::string& text);              // NOLINT(google-explicit-constructor)
  Text(std::string_view text);                // NOLINT(google-explicit-constructor)
  Text(std::initializer_list<Piece> pieces);  // NOLINT(google-explicit-constructor)
  std::string str() const;

 private:
  Piece only_;
  const Piece* pieces_ = nullptr;
  size_t count_ = 0;
};

}  // namespace zp
