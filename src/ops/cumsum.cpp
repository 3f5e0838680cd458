// CumSum: running sums along an axis.
#include <algorithm>

#include "kernels/reduce.h"
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

template <class T>
Kernel kernel(const kernels::CumulativeSum& sum, int64_t rows) {
  return [=](const RunContext& r) {
    r.parallel_range(rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, sum.length)),
                     [&](int64_t begin, int64_t end) {
                       kernels::cumulative_sum(sum, r.in<T>(0), r.out<T>(0), begin, end);
                     });
  };
}

Kernel prepare(PrepareContext& c) {
  require_inputs(c, 2);
  const Shape& x = c.dims(0);
  const std::vector<int64_t> given = prepared_integers(c, 1);
  const auto rank = static_cast<int>(x.size());
  if (given.size() != 1 || given[0] < -rank || given[0] >= rank)
    c.fail(ErrorCode::kShapeMismatch, "the axis is outside the tensor");
  const auto axis = static_cast<size_t>(c.axis(given[0], rank));
  kernels::CumulativeSum sum;
  sum.exclusive = c.node().int_attribute("exclusive", 0) != 0;
  sum.reverse = c.node().int_attribute("reverse", 0) != 0;
  sum.length = x[axis];
  int64_t rows = 1;
  for (size_t d = 0; d < x.size(); ++d) {
    if (d > axis) sum.inner *= x[d];
    if (d != axis) rows *= x[d];
  }
  switch (c.dtype(0)) {
    case DType::kFloat32:
      return kernel<float>(sum, rows);
    case DType::kFloat64:
      return kernel<double>(sum, rows);
    case DType::kInt32:
      return kernel<int32_t>(sum, rows);
    case DType::kUint32:
      return kernel<uint32_t>(sum, rows);
    case DType::kInt64:
      return kernel<int64_t>(sum, rows);
    case DType::kUint64:
      return kernel<uint64_t>(sum, rows);
    default:
      fail_type(c);
  }
}

const RegisterOp kCumSum(
    {.name = "CumSum", .since = 11, .infer = infer, .prepare = prepare, .layout = any_layout});

}  // namespace
}  // namespace zp
