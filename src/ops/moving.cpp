#include "ops/moving.h"

#include <algorithm>

namespace zp {

size_t element_bytes(const PrepareContext& c, size_t input) {
  const int bits = bits_of(c.dtype(input));
  if (bits < 8) {
    c.fail(ErrorCode::kUnsupportedType, {"elements of type ", name_of(c.dtype(input)), " cannot be moved"});
  }
  return static_cast<size_t>(bits) / 8;
}

int64_t element_count(const Shape& dims, size_t from, size_t to) {
  int64_t count = 1;
  for (size_t i = from; i < to; ++i) count *= dims[i];
  return count;
}

LayoutRule reshaping_layout(const SymShape* in, const SymShape* out) {
  if (!in || in->size() < 3) return LayoutRule::kLogical;
  const Dim one(1);
  if ((*in)[1] == one || std::all_of(in->begin() + 2, in->end(), [&](const Dim& d) { return d == one; })) {
    return LayoutRule::kReadsAny;
  }
  const auto same = [&](size_t i) {
    return (*in)[i] == (*out)[i] && ((*in)[i].known() || !(*in)[i].symbol().empty());
  };
  return out && out->size() >= 3 && same(0) && same(1) ? LayoutRule::kAny : LayoutRule::kLogical;
}

}  // namespace zp
