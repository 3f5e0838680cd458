#include "kernels/reduction/norm.h"

#include <cmath>

#include "kernels/elementwise/lanes.h"

namespace zp::kernels {
namespace {

// Sum of f(x) over a row.
template <class Isa, class F>
float row_sum(const float* x, size_t length, F f) {
  using L = Lanes<Isa>;
  auto even = L::splat(0.0f), odd = even;
  size_t i = 0;
  for (; i + 2 * L::kCount <= length; i += 2 * L::kCount) {
    even = L::add(even, f(L(), L::load(x + i)));
    odd = L::add(odd, f(L(), L::load(x + i + L::kCount)));
  }
  float sum = L::sum(L::add(even, odd));
  for (; i < length; ++i) sum += f(Lanes<Scalar>(), x[i]);
  return sum;
}

template <class Isa>
float variance_around(const float* x, size_t length, float mean) {
  const float sum = row_sum<Isa>(x, length, [mean](auto l, auto v) {
    using L = decltype(l);
    const auto d = L::sub(v, L::splat(mean));
    return L::mul(d, d);
  });
  return sum / static_cast<float>(length);
}

}  // namespace

template <class Isa>
Moments moments(const float* x, size_t length) {
  const float mean = row_sum<Isa>(x, length, [](auto, auto v) { return v; }) / static_cast<float>(length);
  return {mean, variance_around<Isa>(x, length, mean)};
}

template <class Isa>
RowStatistics normalize_row(const float* x, float* y, size_t length, const float* scale, const float* bias,
                            float epsilon, bool root_mean_square) {
  using L = Lanes<Isa>;
  const Moments m =
      root_mean_square ? Moments{0, variance_around<Isa>(x, length, 0)} : moments<Isa>(x, length);
  const float inverse = 1.0f / std::sqrt(m.variance + epsilon);
  const auto mean = L::splat(m.mean), factor = L::splat(inverse);
  const auto apply = [&](auto load, auto store, size_t i) {
    auto v = L::mul(L::sub(load(x + i), mean), factor);
    if (scale) v = L::mul(v, load(scale + i));
    if (bias) v = L::add(v, load(bias + i));
    store(y + i, v);
  };
  size_t i = 0;
  for (; i + L::kCount <= length; i += L::kCount) apply(L::load, L::store, i);
  if (const size_t rest = length - i) {
    apply([rest](const float* p) { return L::load_some(p, rest); },
          [rest](float* p, auto v) { L::store_some(p, v, rest); }, i);
  }
  return {m.mean, inverse};
}

template <class Isa>
void scale_row(const float* x, float* y, size_t length, float factor, float term) {
  using L = Lanes<Isa>;
  const auto f = L::splat(factor), t = L::splat(term);
  size_t i = 0;
  for (; i + L::kCount <= length; i += L::kCount) L::store(y + i, L::add(L::mul(L::load(x + i), f), t));
  for (; i < length; ++i) y[i] = x[i] * factor + term;
}

#define ZP_INSTANTIATE(Isa)                                                                                  \
  template Moments moments<Isa>(const float*, size_t);                                                       \
  template RowStatistics normalize_row<Isa>(const float*, float*, size_t, const float*, const float*, float, \
                                            bool);                                                           \
  template void scale_row<Isa>(const float*, float*, size_t, float, float);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
