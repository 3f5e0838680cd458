// Hardmax: along an axis, one where the (first) largest value is, and zero elsewhere.

#include "core/grain.h"
#include "ops/known_range.h"
#include "ops/moving.h"
#include "ops/softmax.h"
#include "ops/unary.h"

namespace zp {
namespace {

template <class T>
Kernel hardmax(int64_t outer, int64_t length, int64_t inner) {
  return [=](const RunContext& r) {
    if (length == 0) return;
    r.parallel_range(outer * inner, grain_for({.work = length}), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i / inner * length * inner + i % inner;
        const T* x = r.in<T>(0) + first;
        T* y = r.out<T>(0) + first;
        int64_t largest = 0;
        for (int64_t k = 0; k < length; ++k) {
          if (x[k * inner] > x[largest * inner]) largest = k;
          y[k * inner] = 0;
        }
        y[largest * inner] = 1;
      }
    });
  };
}

Kernel prepare(PrepareContext& c) {
  const Shape& x = c.dims(0);
  const auto rank = static_cast<int>(x.size());
  const auto axis =
      rank == 0 ? size_t{0} : static_cast<size_t>(c.axis(c.node().int_attribute("axis", -1), rank));
  const int64_t outer = element_count(x, 0, axis), length = rank == 0 ? 1 : x[axis],
                inner = rank == 0 ? 1 : element_count(x, axis + 1, x.size());
  if (c.dtype(0) == DType::kFloat64) return hardmax<double>(outer, length, inner);
  if (c.dtype(0) != DType::kFloat32) fail_type(c);
  return hardmax<float>(outer, length, inner);
}

constexpr OpDef kHardmax = {
    .name = "Hardmax",
    .opsets = "7F 13b",
    .infer = infer_softmax,
    .prepare = prepare,
    .layout = any_layout,
    .quant = {.why_float = "gives zeros and ones, which need no scale", .range = always_within<0, 1>},
    .canonicalize = canonicalize_softmax,
    .respell = respell_softmax};
const RegisterOps kRegistered({&kHardmax});

}  // namespace
}  // namespace zp
