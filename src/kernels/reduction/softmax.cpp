#include "kernels/reduction/softmax.h"

#include <limits>

#include "kernels/elementwise/math.h"

namespace zp::kernels {

template <class Isa>
void softmax_row(const float* x, float* y, size_t length, bool logarithm) {
  using L = Lanes<Isa>;
  using M = Math<Isa>;
  using One = Lanes<Scalar>;
  const size_t whole = length / L::kCount * L::kCount;
  auto highest = L::splat(-std::numeric_limits<float>::infinity());
  for (size_t i = 0; i < whole; i += L::kCount) highest = L::max(L::load(x + i), highest);
  float max = L::highest(highest);
  for (size_t i = whole; i < length; ++i) max = One::max(x[i], max);

  const auto shift = L::splat(max);
  auto sums = L::splat(0.0f);
  float sum = 0;
  for (size_t i = 0; i < whole; i += L::kCount) {
    const auto e = M::exp(L::sub(L::load(x + i), shift));
    if (!logarithm) L::store(y + i, e);
    sums = L::add(sums, e);
  }
  for (size_t i = whole; i < length; ++i) {
    const float e = Math<Scalar>::exp(x[i] - max);
    if (!logarithm) y[i] = e;
    sum += e;
  }
  sum += L::sum(sums);

  if (logarithm) {
    const float log = Math<Scalar>::log(sum);
    const auto less = L::splat(log);
    for (size_t i = 0; i < whole; i += L::kCount)
      L::store(y + i, L::sub(L::sub(L::load(x + i), shift), less));
    for (size_t i = whole; i < length; ++i) y[i] = x[i] - max - log;
    return;
  }
  const float inverse = 1.0f / sum;
  const auto factor = L::splat(inverse);
  for (size_t i = 0; i < whole; i += L::kCount) L::store(y + i, L::mul(L::load(y + i), factor));
  for (size_t i = whole; i < length; ++i) y[i] *= inverse;
}

template <class Isa>
void softmax_strided(const float* x, float* y, size_t length, size_t stride, bool logarithm, float* scratch) {
  using L = Lanes<Isa>;
  using M = Math<Isa>;
  float *max = scratch, *sum = scratch + stride;
  // f(lanes loaded at a position, number of them) over the positions of one row.
  const auto columns = [&](auto f) {
    size_t i = 0;
    for (; i + L::kCount <= stride; i += L::kCount) f(i, L::kCount);
    if (i < stride) f(i, stride - i);
  };
  const auto get = [](const float* p, size_t n) { return n == L::kCount ? L::load(p) : L::load_some(p, n); };
  const auto put = [](float* p, auto v, size_t n) {
    n == L::kCount ? L::store(p, v) : L::store_some(p, v, n);
  };
  columns([&](size_t i, size_t n) {
    put(max + i, L::splat(-std::numeric_limits<float>::infinity()), n);
    put(sum + i, L::splat(0.0f), n);
  });
  for (size_t k = 0; k < length; ++k) {
    columns(
        [&](size_t i, size_t n) { put(max + i, L::max(get(x + k * stride + i, n), get(max + i, n)), n); });
  }
  for (size_t k = 0; k < length; ++k) {
    columns([&](size_t i, size_t n) {
      const auto e = M::exp(L::sub(get(x + k * stride + i, n), get(max + i, n)));
      put(sum + i, L::add(get(sum + i, n), e), n);
      if (!logarithm) put(y + k * stride + i, e, n);
    });
  }
  columns([&](size_t i, size_t n) {
    const auto s = get(sum + i, n);
    put(sum + i, logarithm ? L::add(M::log(s), get(max + i, n)) : L::div(L::splat(1.0f), s), n);
  });
  for (size_t k = 0; k < length; ++k) {
    columns([&](size_t i, size_t n) {
      float* to = y + k * stride + i;
      const auto s = get(sum + i, n);
      put(to, logarithm ? L::sub(get(x + k * stride + i, n), s) : L::mul(get(to, n), s), n);
    });
  }
}

#define ZP_INSTANTIATE(Isa)                                           \
  template void softmax_row<Isa>(const float*, float*, size_t, bool); \
  template void softmax_strided<Isa>(const float*, float*, size_t, size_t, bool, float*);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
