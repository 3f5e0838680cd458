// CumSum and CumProd: running sums and products along an axis.
#include <algorithm>

#include "core/element_types.h"
#include "core/grain.h"
#include "kernels/reduction/reduce.h"
#include "ops/shape_arguments.h"
#include "ops/unary.h"

namespace zp {
namespace {

void infer(InferContext& c) {
  if (const auto axis = shape_integers(c, 1); axis && c.shape(0)) {
    c.require(axis->size() == 1, "the axis is not one number");
    c.axis((*axis)[0], c.rank(0));
  }
  infer_same(c);
}

template <bool kProduct>
Kernel prepare(PrepareContext& c) {
  const Shape& x = c.dims(0);
  const std::vector<int64_t> given = prepared_integers(c, 1);
  const auto rank = static_cast<int>(x.size());
  if (given.size() != 1 || given[0] < -rank || given[0] >= rank)
    c.fail(ErrorCode::kShapeMismatch, "the axis is outside the tensor");
  const auto axis = static_cast<size_t>(c.axis(given[0], rank));
  kernels::CumulativeSum sum;
  sum.product = kProduct;
  sum.exclusive = c.node().int_attribute("exclusive", 0) != 0;
  sum.reverse = c.node().int_attribute("reverse", 0) != 0;
  sum.length = x[axis];
  int64_t rows = 1;
  for (size_t d = 0; d < x.size(); ++d) {
    if (d > axis) sum.inner *= x[d];
    if (d != axis) rows *= x[d];
  }
  const DType type = c.dtype(0);
  if (!is_one_of(type, ElementTypes<float, double, int32_t, uint32_t, int64_t, uint64_t>())) fail_type(c);
  return [=](const RunContext& r) {
    const int64_t grain = grain_for({.work = sum.length});
    r.parallel_range(rows, grain, [&](int64_t begin, int64_t end) {
      kernels::cumulative_sum(sum, type, r.inputs[0], r.outputs[0], begin, end);
    });
  };
}

constexpr OpDef kCumSum = {.name = "CumSum",
                           .inputs = "x axis",
                           .opsets = "11fdiIlL 14hb",
                           .since = 11,
                           .types = "Ti",
                           .infer = infer,
                           .prepare = prepare<false>,
                           .layout = any_layout};
constexpr OpDef kCumProd = {.name = "CumProd",
                            .inputs = "x axis",
                            .opsets = "26FbiIlL",
                            .since = 26,
                            .types = "Ti",
                            .infer = infer,
                            .prepare = prepare<true>,
                            .layout = any_layout};
const RegisterOps kRegistered({&kCumSum, &kCumProd});

}  // namespace
}  // namespace zp
