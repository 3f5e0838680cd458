#include "core/text.h"

#include "core/tensor.h"

namespace zp {

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
