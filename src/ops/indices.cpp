#include "ops/indices.h"

namespace zp {
namespace {

std::string outside_axis(int64_t index, int64_t size) {
  return Text{"index ", index, " is outside an axis of ", size, " elements"}.str();
}

}  // namespace

int64_t Indices::refuse(int64_t i, int64_t index, int64_t size) const {
  run->fault->report(input, i, index, size, outside_axis);
  return 0;
}

void require_index_type(const InferContext& c, size_t input) {
  const DType t = c.dtype(input);
  if (t != DType::kInt64 && t != DType::kInt32 && t != DType::kUndefined) {
    c.fail(ErrorCode::kUnsupportedType, {"indices of type ", name_of(t), " are not supported"});
  }
}

void check_constant_indices(const PrepareContext& c, size_t input, const Shape& sizes) {
  const Tensor* indices = c.constant(input);
  if (!indices || sizes.empty()) return;
  for (int64_t i = 0; i < indices->size(); ++i) {
    const int64_t index = indices->integer_at(i), size = sizes[static_cast<size_t>(i) % sizes.size()];
    if (index < -size || index >= size)
      c.fail_input(input, ErrorCode::kIndexOutOfRange, outside_axis(index, size));
  }
}

}  // namespace zp
