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

std::vector<int64_t> sorted_axes(const InferContext& c, std::vector<int64_t> axes, int rank) {
  for (int64_t& a : axes) a = c.axis(a, rank);
  sort_small(axes);
  if (std::adjacent_find(axes.begin(), axes.end()) != axes.end()) {
    c.fail(ErrorCode::kShapeMismatch, "an axis is named twice");
  }
  return axes;
}

}  // namespace zp
