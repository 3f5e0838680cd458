// Messages as lists of their pieces: {"axis ", axis, " is outside ", dims}. Nothing is put together, and nothing
// allocated, unless the message is wanted.
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

class Piece {
 public:
  Piece(const char* text) : Piece(std::string_view(text)) {}    // NOLINT(google-explicit-constructor)
  Piece(const std::string& text) : Piece(std::string_view(text)) {}  // NOLINT(google-explicit-constructor)
  Piece(std::string_view text) : kind_(Kind::kText), at_(text.data()), size_(text.size()) {}  // NOLINT
  template <std::integral T>
  Piece(T number) : kind_(Kind::kNumber), number_(static_cast<int64_t>(number)) {}  // NOLINT
  Piece(std::span<const int64_t> dims) : kind_(Kind::kDims), at_(dims.data()), size_(dims.size()) {}  // NOLINT
  Piece(const std::vector<int64_t>& dims) : Piece(std::span<const int64_t>(dims)) {}  // NOLINT
  // Whatever has a to_string of its own.
  template <class T>
    requires requires(const T& v) {
      { to_string(v) } -> std::same_as<std::string>;
    }
  Piece(const T& value)  // NOLINT(google-explicit-constructor)
      : kind_(Kind::kObject), at_(&value), format_([](const void* v) { return to_string(*static_cast<const T*>(v)); }) {}

  void append_to(std::string& text) const;

 private:
  enum class Kind : uint8_t { kText, kNumber, kDims, kObject };
  Kind kind_;
  const void* at_ = nullptr;
  size_t size_ = 0;
  int64_t number_ = 0;
  std::string (*format_)(const void*) = nullptr;
};

// Refers to pieces that outlive the call: a parameter, never a member.
class Text {
 public:
  Text(const char* text) : only_(text) {}         // NOLINT(google-explicit-constructor)
  Text(const std::string& text) : only_(text) {}  // NOLINT(google-explicit-constructor)
  Text(std::string_view text) : only_(text) {}    // NOLINT(google-explicit-constructor)
  Text(std::initializer_list<Piece> pieces) : only_(""), pieces_(pieces.begin()), count_(pieces.size()) {}  // NOLINT
  std::string str() const;

 private:
  Piece only_;
  const Piece* pieces_ = nullptr;
  size_t count_ = 0;
};

}  // namespace zp
