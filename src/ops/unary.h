// What the operators that work on each element alone have in common.
#pragma once

#include "kernels/unary.h"
#include "ops/op.h"

namespace zp {

// y = f(x) for float32 and float16. Throws kUnsupportedType for other types.
Kernel prepare_unary(PrepareContext& c, kernels::Unary f, kernels::UnaryParameters parameters = {});

// y = f(x) for elements of type T, in plain C++, for the types that models rarely have.
template <class T, class F>
Kernel prepare_each(PrepareContext& c, F f) {
  c.in_place(0);
  const int64_t count = element_count(c.out_dims(0));
  return [count, f](const RunContext& r) {
    r.parallel_range(count, 16384, [&](int64_t begin, int64_t end) {
      const T* x = r.in<T>(0);
      T* y = r.out<T>(0);
      for (int64_t i = begin; i < end; ++i) y[i] = f(x[i]);
    });
  };
}

// prepare_each for whichever of these types input 0 has; {} for any other.
template <class F>
Kernel prepare_each_integer(PrepareContext& c, F f) {
  switch (c.dtype(0)) {
    case DType::kInt8:
      return prepare_each<int8_t>(c, f);
    case DType::kUint8:
      return prepare_each<uint8_t>(c, f);
    case DType::kInt16:
      return prepare_each<int16_t>(c, f);
    case DType::kUint16:
      return prepare_each<uint16_t>(c, f);
    case DType::kInt32:
      return prepare_each<int32_t>(c, f);
    case DType::kUint32:
      return prepare_each<uint32_t>(c, f);
    case DType::kInt64:
      return prepare_each<int64_t>(c, f);
    case DType::kUint64:
      return prepare_each<uint64_t>(c, f);
    default:
      return {};
  }
}
// The first `count` inputs are there, or kInvalidModel.
void require_inputs(const PrepareContext& c, size_t count);
[[noreturn]] void fail_type(const PrepareContext& c, size_t input = 0);

// Opset 1 let nodes say which inputs they overwrite; nobody may.
void drop_consumed_inputs(Canonicalize& c);

}  // namespace zp
