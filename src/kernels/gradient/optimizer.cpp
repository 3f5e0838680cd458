#include "kernels/gradient/optimizer.h"

#include <algorithm>

#include "kernels/elementwise/lanes.h"

namespace zp::kernels {
namespace {

using L = Lanes<Best>;
using F = L::Float;

}  // namespace

double squared_length(const float* d, std::size_t count) {
  constexpr std::size_t kPiece = 1024;  // floats are summed in pieces, pieces as doubles
  double total = 0;
  for (std::size_t begin = 0; begin < count; begin += kPiece) {
    F sum = L::splat(0);
    in_vectors<L>(begin, std::min(count, begin + kPiece), [&](std::size_t i, std::size_t n) {
      const F v = L::load_some(d + i, n);
      sum = L::add(sum, L::mul(v, v));
    });
    total += L::sum(sum);
  }
  return total;
}

void adam_step(const AdamStep& s, const float* d, float* values, float* first, float* second,
               std::size_t count) {
  const F factor = L::splat(s.factor), rate = L::splat(s.rate), decay = L::splat(s.decay);
  const F keep1 = L::splat(s.first), take1 = L::splat(1 - s.first), scale1 = L::splat(1 / s.first_bias);
  const F keep2 = L::splat(s.second), take2 = L::splat(1 - s.second), scale2 = L::splat(1 / s.second_bias);
  const F epsilon = L::splat(s.epsilon);
  in_vectors<L>(0, count, [&](std::size_t i, std::size_t n) {
    const F g = L::mul(L::load_some(d + i, n), factor), v = L::load_some(values + i, n);
    const F m1 = L::add(L::mul(keep1, L::load_some(first + i, n)), L::mul(take1, g));
    const F m2 = L::add(L::mul(keep2, L::load_some(second + i, n)), L::mul(take2, L::mul(g, g)));
    const F move = L::div(L::mul(m1, scale1), L::add(L::sqrt(L::mul(m2, scale2)), epsilon));
    L::store_some(first + i, m1, n);
    L::store_some(second + i, m2, n);
    L::store_some(values + i, L::sub(v, L::mul(rate, L::add(move, L::mul(decay, v)))), n);
  });
}

void momentum_step(const MomentumStep& s, const float* d, float* values, float* m, std::size_t count) {
  const F factor = L::splat(s.factor), rate = L::splat(s.rate), decay = L::splat(s.decay),
          momentum = L::splat(s.momentum);
  in_vectors<L>(0, count, [&](std::size_t i, std::size_t n) {
    const F v = L::load_some(values + i, n);
    const F moved = L::add(L::mul(momentum, L::load_some(m + i, n)), L::mul(L::load_some(d + i, n), factor));
    L::store_some(m + i, moved, n);
    L::store_some(values + i, L::sub(v, L::mul(rate, L::add(moved, L::mul(decay, v)))), n);
  });
}

}  // namespace zp::kernels
