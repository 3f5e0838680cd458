// Fake quantization: what a QuantizeLinear and the DequantizeLinear behind it make of a float, and its
// gradients.
//
//   q = clamp(round_half_even(x / s) + z, low, high)        y = (q - z) s
//   dx = dy where q was not clamped, else 0                               (straight through: Bengio et al.
//   2013) ds = sum of dy (q - z - x / s) where it was not, dy (q - z) where it was           (LSQ: Esser et
//   al. 2020)

#pragma once

#include <cstddef>

namespace zp::kernels {

struct FakeQuantization {
  float scale = 1, zero_point = 0;
  float low = 0, high = 255;  // the integers that q may be
};

void fake_quantize(const FakeQuantization& f, const float* x, float* y, std::size_t count);
// Gives ds.
double fake_quantize_gradient(const FakeQuantization& f, const float* x, const float* dy, float* dx,
                              std::size_t count);
// Of a clamp that gave y: dx = dy where lo < y < hi, else 0. dx may be dy.
void clamp_gradient(float lo, float hi, const float* y, const float* dy, float* dx, std::size_t count);

}  // namespace zp::kernels
