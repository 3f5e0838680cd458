#include "kernels/quantize_gradient.h"

#include <algorithm>

#include "kernels/elementwise_lanes.h"

namespace zp::kernels {
namespace {

using L = Lanes<Best>;
using F = L::Float;

// step(first element, how many) for whole vectors, and a last part of one.
template <class Step>
[[gnu::always_inline]] inline void in_vectors(std::size_t begin, std::size_t end, const Step& step) {
  for (; begin + L::kCount <= end; begin += L::kCount) step(begin, L::kCount);
  if (begin < end) step(begin, end - begin);
}

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
  in_vectors(0, count, [&](std::size_t i, std::size_t n) {
    const F q = L::nearest(L::div(L::load(x + i), codes.scale));
    L::store_some(y + i, L::mul(codes.clamped(q), codes.scale), n);
  });
}

double fake_quantize_gradient(const FakeQuantization& f, const float* x, const float* dy, float* dx,
                              std::size_t count) {
  constexpr std::size_t kPiece = 256;  // floats are summed in pieces, pieces as doubles
  const Codes codes(f);
  const F zero = L::splat(0.0f);
  double total = 0;
  for (std::size_t begin = 0; begin < count; begin += kPiece) {
    F ds = zero;
    in_vectors(begin, std::min(count, begin + kPiece), [&](std::size_t i, std::size_t n) {
      const F v = L::div(L::load(x + i), codes.scale), q = L::nearest(v), d = L::load_some(dy + i, n);
      const F clamped = codes.clamped(q);
      const auto inside = L::equal(q, clamped);
      ds = L::add(ds, L::mul(d, L::select(inside, L::sub(q, v), clamped)));
      L::store_some(dx + i, L::select(inside, d, zero), n);
    });
    total += L::sum(ds);
  }
  return total;
}

void clamp_gradient(float lo, float hi, const float* y, const float* dy, float* dx, std::size_t count) {
  const F low = L::splat(lo), high = L::splat(hi), zero = L::splat(0.0f);
  in_vectors(0, count, [&](std::size_t i, std::size_t n) {
    const F v = L::load(y + i), d = L::load_some(dy + i, n);
    L::store_some(dx + i, L::select(L::less(low, v), L::select(L::less(v, high), d, zero), zero), n);
  });
}

}  // namespace zp::kernels
