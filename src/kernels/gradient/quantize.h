// Fake quantization: what a QuantizeLinear and the DequantizeLinear behind it make of a float, and its
// gradients: straight through (Bengio et al. 2013), LSQ (Esser et al. 2020), LSQ+ (Bhalgat et al. 2020).
//
//   q = clamp(round_half_even(x / s) + z, low, high)    y = (q - z) s
//
//   where q was not clamped:    dx = dy    ds = sum of dy (q - z - x / s)    dz = 0
//   where it was:               dx = 0     ds = sum of dy (q - z)            dz = sum of -s dy

#pragma once

#include <cstddef>

namespace zp::kernels {

struct FakeQuantization {
  float scale = 1, zero_point = 0;
  float low = 0, high = 255;  // the integers that q may be
};
struct FakeQuantizationGradient {
  double scale = 0, zero_point = 0;
};

void fake_quantize(const FakeQuantization& f, const float* x, float* y, std::size_t count);
// Gives ds and dz, and writes dx.
FakeQuantizationGradient fake_quantize_gradient(const FakeQuantization& f, const float* x, const float* dy,
                                                float* dx, std::size_t count);
// Of a clamp that gave y: dx = dy where lo < y < hi, else 0. dx may be dy.
void clamp_gradient(float lo, float hi, const float* y, const float* dy, float* dx, std::size_t count);

}  // namespace zp::kernels
