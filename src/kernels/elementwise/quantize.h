// QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear over contiguous arrays.
//
//   quantize:    q = saturate(round_half_even(x / scale) + zero_point)      (a division, as ONNX says)
//   dequantize:  x = float(q - zero_point) * scale
//
// Exact: the same bits in every instruction set. A NaN quantizes to the lowest value.

#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"
#include "kernels/isa.h"

namespace zp::kernels {

// One scale for `count` elements. `type`: uint8, int8, uint16, int16, uint4, int4. Elements of 4 bits are
// packed two to a byte; they start at element `first` of `y`, which must be even, and an odd last element
// leaves the high nibble 0.
template <class Isa = Best>
void quantize(const float* x, float scale, int32_t zero_point, DType type, void* y, size_t first,
              size_t count);

// `type`: those, and int32 (where q - zero_point wraps). `first` is the first element of `x`; it may be odd.
template <class Isa = Best>
void dequantize(const void* x, DType type, float scale, int32_t zero_point, float* y, size_t first,
                size_t count);

// Element `i` along the run has scale scales[i] (and zero_points[i], if not null): per axis, with the axis
// last.
template <class Isa = Best>
void quantize_each(const float* x, const float* scales, const int32_t* zero_points, DType type, void* y,
                   size_t first, size_t count);
template <class Isa = Best>
void dequantize_each(const void* x, DType type, const float* scales, const int32_t* zero_points, float* y,
                     size_t first, size_t count);

// Element `i` of an array of any of these types.
int32_t quantized_at(const void* x, DType type, size_t i);

// The smallest and the largest of the elements and 0; NaNs are passed over.
struct Extent {
  float min = 0, max = 0;
};
template <class Isa = Best>
Extent extent_with_zero(const float* x, size_t count);

// The uint8 scale and zero point of DynamicQuantizeLinear for a tensor with this extent. An all-zero tensor
// has scale 1 (the specification divides by zero there; so does ONNX Runtime's kernel choose 1).
struct DynamicScale {
  float scale;
  uint8_t zero_point;
};
DynamicScale dynamic_scale(Extent extent);

}  // namespace zp::kernels
