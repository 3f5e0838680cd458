// NonZero, of a value that is known when a plan is made: how many there are decides the shape of the output.
#include <algorithm>

#include "core/element_types.h"
#include "ops/op.h"

namespace zp {
namespace {

bool is_zero(const Tensor& t, int64_t i) {
  bool zero = false;
  const bool is_float = visit(t.dtype(), ElementTypes<float, double>(),
                              [&]<class T>(Element<T>) { zero = t.data<T>()[static_cast<size_t>(i)] == 0; });
  return is_float ? zero : t.integer_at(i) == 0;
}

// Positions of what is not zero, in row-major order: one row for each dimension.
Tensor positions(const Tensor& in) {
  std::vector<int64_t> found;
  for (int64_t i = 0; i < in.size(); ++i)
    if (!is_zero(in, i)) found.push_back(i);
  const auto rank = static_cast<int64_t>(in.dims().size()), count = static_cast<int64_t>(found.size());
  Tensor out(DType::kInt64, {rank, count});
  const std::span<int64_t> to = out.mutable_data<int64_t>();
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = found[static_cast<size_t>(i)];
    for (int64_t d = rank; d-- > 0;) {
      const int64_t size = in.dims()[static_cast<size_t>(d)];
      to[static_cast<size_t>(d * count + i)] = rest % size;
      rest /= size;
    }
  }
  return out;
}

void infer_non_zero(InferContext& c) {
  if (const Tensor* in = c.shape_argument(0)) return c.output(0, positions(*in));
  c.output(0, DType::kInt64, {c.rank(0) < 0 ? Dim() : Dim(c.rank(0)), Dim()});
}

Kernel prepare_non_zero(PrepareContext& c) {
  const Tensor* in = c.constant(0);
  if (!in) c.fail(ErrorCode::kUnsupportedOperator, "the input is only known while the model runs");
  const Tensor out = positions(*in);
  return [out](const RunContext& run) {
    const std::span<const int64_t> values = out.data<int64_t>();
    std::copy(values.begin(), values.end(), run.out<int64_t>(0));
  };
}

constexpr OpDef kNonZero = {.name = "NonZero",
                            .opsets = "9A 13b",
                            .since = 9,
                            .infer = infer_non_zero,
                            .prepare = prepare_non_zero,
                            .quant = {.why_float = "gives positions, not activations"}};
const RegisterOps kRegistered({&kNonZero});

}  // namespace
}  // namespace zp
