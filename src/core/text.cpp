#include "core/text.h"

#include "core/tensor.h"

namespace zp {

Piece::Piece(std::string_view text) : kind_(Kind::kText), size_(text.size()), at_(text.data()) {}
Piece::Piece(const char* text) : Piece(std::string_view(text)) {}
Piece::Piece(const std::string& text) : Piece(std::string_view(text)) {}
Piece::Piece(std::span<const int64_t> dims) : kind_(Kind::kDims), size_(dims.size()), at_(dims.data()) {}
Piece::Piece(const std::vector<int64_t>& dims) : Piece(std::span<const int64_t>(dims)) {}
Piece::Piece(Number number) : kind_(Kind::kNumber), size_(0), number_(number.value) {}
Piece::Piece(const void* object, Format format) : kind_(Kind::kObject), format_(format), at_(object) {}

Text::Text(const char* text) : only_(text) {}
Text::Text(const std::string& text) : only_(text) {}
Text::Text(std::string_view text) : only_(text) {}
Text::Text(std::initializer_list<Piece> pieces) : only_(""), pieces_(pieces.begin()), count_(pieces.size()) {}

void Piece::append_to(std::string& text) const {
  switch (kind_) {
    case Kind::kText:
      text.append(static_cast<const char*>(at_), size_);
      break;
    case Kind::kNumber:
      text += std::to_string(number_);
      break;
    case Kind::kDims:
      text += to_string(std::span(static_cast<const int64_t*>(at_), size_));
      break;
    case Kind::kObject:
      text += format_(at_);
  }
}

std::string Text::str() const {
  std::string text;
  only_.append_to(text);
  for (size_t i = 0; i < count_; ++i) pieces_[i].append_to(text);
  return text;
}

}  // namespace zp
