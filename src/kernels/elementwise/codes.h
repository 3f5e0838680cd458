// The codes of weights, how far the weights lie from them, and how they are packed.
//
//   steps = clamp(round_half_even(x / scale), codes - zero_point)      code = zero_point + steps
//
// Codes have 16 bits at most. Sums are doubles in four lanes: element i of a call goes into lane i % 4. So
// they are the same bits in every instruction set.

#pragma once

#include <cstddef>
#include <cstdint>

#include "core/dtype.h"

namespace zp::kernels {

// Relaxed SIMD would gain nothing. So the default is Simd128 in all builds, and callers are compiled once.
struct Scalar;
struct Simd128;

// The smallest and the largest of the weights and 0. Denormal numbers count as zeros, and NaNs are passed
// over.
struct Ends {
  float min = 0, max = 0;
};
template <class Isa = Simd128>
Ends ends_of(const float* x, size_t count);

// Of weights with one scale: the squared errors, the products of weights and steps, and the squared steps.
struct Fit {
  double error = 0, dot = 0, square = 0;
};
template <class Isa = Simd128>
Fit fit(const float* x, float scale, int32_t zero_point, IntegerRange codes, size_t count);
// Adds the same of element `i`, with the scale scales[i] and the zero point zero_points[i], to error[i],
// dot[i] and square[i].
template <class Isa = Simd128>
void add_fit_each(const float* x, const float* scales, const int32_t* zero_points, IntegerRange codes,
                  size_t count, double* error, double* dot, double* square);

// The squared weights, and the squared errors of their codes, computed as DequantizeLinear does.
struct Noise {
  double signal = 0, noise = 0;
};
// Writes the codes of elements with one scale.
template <class Isa = Simd128>
Noise encode(const float* x, float scale, int32_t zero_point, IntegerRange codes, size_t count, int32_t* to);
// Of elements with a scale and a zero point each.
template <class Isa = Simd128>
Noise encode_each(const float* x, const float* scales, const int32_t* zero_points, IntegerRange codes,
                  size_t count, int32_t* to);

// Packs integers of 4 bits, two to a byte, the first one in the low half.
template <class Isa = Simd128>
void pack_nibbles(const int32_t* x, size_t count, uint8_t* to);
// The reverse, into a byte each: `flipped` ^ the code.
template <class Isa = Simd128>
void unpack_nibbles(const uint8_t* x, size_t count, uint8_t flipped, uint8_t* to);

// A matrix of codes, a byte each, as packed codes of 2, 4 or 8 bits: each column in `stride` bytes, its first
// code in the lowest bits.
struct CodeMatrix {
  size_t rows, columns;
  bool transposed = false;  // the bytes are [columns, rows]
};
// Writes the bytes that the rows take, the last one with zeros behind its codes.
void pack_columns(const uint8_t* codes, const CodeMatrix& m, int bits, uint8_t* to, size_t stride);
// The reverse.
void unpack_columns(const uint8_t* packed, size_t stride, int bits, const CodeMatrix& m, uint8_t* codes);

}  // namespace zp::kernels
