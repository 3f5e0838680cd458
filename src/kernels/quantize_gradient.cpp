#include "kernels/quantize_gradient.h"

#include <algorithm>
#include <cmath>

namespace zp::kernels {

void fake_quantize(const FakeQuantization& f, const float* x, float* y, std::size_t count) {
  const float low = f.low - f.zero_point,
              high = f.high - f.zero_point;  // the zero point is whole: the same integers
  for (std::size_t i = 0; i < count; ++i) {
    const float q = std::nearbyint(x[i] / f.scale);
    y[i] = std::min(std::max(q, low), high) * f.scale;
  }
}

double fake_quantize_gradient(const FakeQuantization& f, const float* x, const float* dy, float* dx,
                              std::size_t count) {
  constexpr std::size_t kPiece = 256;  // floats are summed in pieces, pieces as doubles
  const float low = f.low - f.zero_point, high = f.high - f.zero_point;
  double total = 0;
  for (std::size_t begin = 0; begin < count; begin += kPiece) {
    const std::size_t end = std::min(count, begin + kPiece);
    float ds = 0;
    for (std::size_t i = begin; i < end; ++i) {
      const float v = x[i] / f.scale, q = std::nearbyint(v);
      const float clamped = std::min(std::max(q, low), high);
      const bool inside = q == clamped;
      ds += dy[i] * (inside ? q - v : clamped);
      dx[i] = inside ? dy[i] : 0.0F;
    }
    total += ds;
  }
  return total;
}

}  // namespace zp::kernels
