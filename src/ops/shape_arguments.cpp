#include "ops/shape_arguments.h"

#include <algorithm>

#include "core/sort.h"

namespace zp {

std::optional<std::vector<int64_t>> shape_integers(const InferContext& c, size_t input) {
  if (!c.has_input(input)) return std::nullopt;
  const Tensor* tensor = c.shape_argument(input);
  if (!tensor) return std::nullopt;
  return tensor->integers();
}

std::optional<size_t> shape_length(const InferContext& c, size_t input) {
  constexpr int64_t kMost = 64;  // more than any tensor has
  const SymShape* length = c.shape(input);
  if (!length || length->size() != 1 || !(*length)[0].known()) return std::nullopt;
  c.require((*length)[0].value() <= kMost, {"a shape of ", (*length)[0].value(), " dimensions"});
  return static_cast<size_t>((*length)[0].value());
}

std::vector<int64_t> prepared_integers(const PrepareContext& c, size_t input) {
  if (!c.has_input(input)) return {};
  if (const Tensor* tensor = c.constant(input)) return tensor->integers();
  c.fail(ErrorCode::kUnsupportedOperator, {"input ", input, " is only known while the model runs"},
         "export the model with this argument as a constant");
}

size_t element_bytes(const PrepareContext& c, size_t input) {
  const int bits = bits_of(c.dtype(input));
  if (bits < 8) {
    c.fail(ErrorCode::kUnsupportedType, {"elements of type ", name_of(c.dtype(input)), " cannot be moved"});
  }
  return static_cast<size_t>(bits) / 8;
}

bool is_byte_edge(const EdgeQuant* edge) {
  return edge && !edge->at_run_time() && edge->per_tensor() &&
         (edge->dtype == DType::kUint8 || edge->dtype == DType::kInt8);
}

bool same_quantization(const EdgeQuant& a, const EdgeQuant& b) {
  return a.dtype == b.dtype && a.scalar_scale() == b.scalar_scale() &&
         a.scalar_zero_point() == b.scalar_zero_point();
}

int64_t product(const Shape& dims, size_t from, size_t to) {
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

std::vector<int64_t> sorted_axes(const InferContext& c, std::vector<int64_t> axes, int rank) {
  for (int64_t& a : axes) a = c.axis(a, rank);
  sort_small(axes);
  if (std::adjacent_find(axes.begin(), axes.end()) != axes.end()) {
    c.fail(ErrorCode::kShapeMismatch, "an axis is named twice");
  }
  return axes;
}

}  // namespace zp
