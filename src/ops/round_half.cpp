// float32 values that stand for float16 ones, rounded to the numbers that float16 has: for models that are
// measured (runtime/prepare.h), and never in a file.
#include "core/grain.h"
#include "core/tensor.h"
#include "ops/gradient.h"
#include "ops/unary.h"

namespace zp {
namespace {

Kernel prepare(PrepareContext& c) {
  if (c.dtype(0) != DType::kFloat32) fail_type(c);
  const int64_t count = element_count(c.out_dims(0));
  c.in_place(0);
  return [count](const RunContext& r) {
    r.parallel_range(count, grain_for({.work = 1}), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        r.out<float>(0)[i] = half_to_float(float_to_half(r.in<float>(0)[i]));
    });
  };
}

constexpr OpDef kRoundToHalf = {.domain = kOwn,
                                .name = "RoundToHalf",
                                .infer = infer_same,
                                .prepare = prepare,
                                .layout = any_layout,
                                .role = QdqRole::kRound};
const RegisterOps kRegistered({&kRoundToHalf});

}  // namespace
}  // namespace zp
