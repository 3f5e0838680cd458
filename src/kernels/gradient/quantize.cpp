#include "kernels/gradient/quantize.h"

#include <algorithm>

#include "kernels/elementwise/lanes.h"

namespace zp::kernels {
namespace {

using L = Lanes<Best>;
using F = L::Float;

// The zero point is whole: q - z is clamped to whole numbers.
struct Codes {
  F scale, low, high;

  explicit Codes(const FakeQuantization& f)
      : scale(L::splat(f.scale)),
        low(L::splat(f.low - f.zero_point)),
        high(L::splat(f.high - f.zero_point)) {}
  F clamped(F q) const { return L::min(L::max(q, low), high); }
};

}  // namespace

void fake_quantize(const FakeQuantization& f, const float* x, float* y, std::size_t count) {
  const Codes codes(f);
  in_vectors<L>(0, count, [&](std::size_t i, std::size_t n) {
    const F q = L::nearest(L::div(L::load(x + i), codes.scale));
    L::store_some(y + i, L::mul(codes.clamped(q), codes.scale), n);
  });
}

FakeQuantizationGradient fake_quantize_gradient(const FakeQuantization& f, const float* x, const float* dy,
                                                float* dx, std::size_t count) {
  constexpr std::size_t kPiece = 256;  // floats are summed in pieces, pieces as doubles
  const Codes codes(f);
  const F zero = L::splat(0.0f);
  FakeQuantizationGradient total;
  for (std::size_t begin = 0; begin < count; begin += kPiece) {
    F ds = zero, dz = zero;
    in_vectors<L>(begin, std::min(count, begin + kPiece), [&](std::size_t i, std::size_t n) {
      const F v = L::div(L::load(x + i), codes.scale), q = L::nearest(v), d = L::load_some(dy + i, n);
      const F clamped = codes.clamped(q);
      const auto inside = L::equal(q, clamped);
      const F through = L::select(inside, d, zero);
      ds = L::add(ds, L::mul(d, L::select(inside, L::sub(q, v), clamped)));
      dz = L::add(dz, L::sub(through, d));
      L::store_some(dx + i, through, n);
    });
    total.scale += L::sum(ds);
    total.zero_point += double{L::sum(dz)} * f.scale;
  }
  return total;
}

void clamp_gradient(float lo, float hi, const float* y, const float* dy, float* dx, std::size_t count) {
  const F low = L::splat(lo), high = L::splat(hi), zero = L::splat(0.0f);
  in_vectors<L>(0, count, [&](std::size_t i, std::size_t n) {
    const F v = L::load(y + i), d = L::load_some(dy + i, n);
    L::store_some(dx + i, L::select(L::less(low, v), L::select(L::less(v, high), d, zero), zero), n);
  });
}

}  // namespace zp::kernels
