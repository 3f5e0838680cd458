// The common part of operators that work on each element alone.
#pragma once

#include "kernels/elementwise/function.h"
#include "ops/op.h"

namespace zp {

// y = f(x) for float32 and float16. Throws kUnsupportedType for other types.
Kernel prepare_unary(PrepareContext& c, kernels::Unary f, kernels::UnaryParameters parameters = {});

// y = f(x) for the types that models rarely have, float64 and integers.
enum class Each : uint8_t { kAbs, kNeg, kSign, kBitwiseNot, kRelu, kClip, kFunction };
// Bounds of kClip: those of the wide type that elements are brought to (kernels/elementwise/wide.h), by bits.
struct EachParameters {
  int64_t lo = 0, hi = 0;
  double (*function)(double) = nullptr;  // kFunction, of float64 only
};
// {} when input 0 has another type.
Kernel prepare_each(PrepareContext& c, Each f, EachParameters parameters = {});
[[noreturn]] void fail_type(const PrepareContext& c, size_t input = 0);

// Opset 1 let nodes name inputs that they overwrite. No node here may do that.
void drop_consumed_inputs(Canonicalize& c);

}  // namespace zp
