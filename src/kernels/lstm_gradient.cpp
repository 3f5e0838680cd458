#include "kernels/lstm_gradient.h"

#include "kernels/elementwise_lanes.h"

namespace zp::kernels {
namespace {

template <class L>
typename L::Float derivative(const LstmDerivative& d, typename L::Float y) {
  const auto outside = L::splat(d.outside);
  const auto inside = L::add(L::splat(d.a), L::mul(y, L::add(L::splat(d.b), L::mul(y, L::splat(d.c)))));
  return L::select(L::less(L::splat(d.lo), y), L::select(L::less(y, L::splat(d.hi)), inside, outside),
                   outside);
}

template <class L>
void elements(const LstmStep& s, size_t begin, size_t end) {
  using F = typename L::Float;
  const size_t n = s.hidden;
  const auto add_product = [](float* to, F x, F y) { L::store(to, L::add(L::load(to), L::mul(x, y))); };
  for (size_t k = begin; k < end; k += L::kCount) {
    float *in = s.gates + k, *out = in + n, *forget = out + n, *cell = forget + n;
    const F i = L::load(in), o = L::load(out), f = L::load(forget), g = L::load(cell);
    const F before = L::load(s.c_before + k), h = L::load(s.h_of_c + k), dh = L::load(s.dh + k);
    const auto gate = [&](F y, F dy) { return L::mul(dy, derivative<L>(s.derivatives[0], y)); };
    const F d_out = gate(o, L::mul(dh, h));
    F dc = L::add(L::load(s.dc + k), L::mul(L::mul(dh, o), derivative<L>(s.derivatives[2], h)));
    if (s.peepholes) dc = L::add(dc, L::mul(d_out, L::load(s.peepholes + n + k)));
    F di = L::mul(dc, g), df = L::mul(dc, before);
    if (s.input_forget) {
      di = L::sub(di, df);
      df = L::splat(0);
    }
    const F d_in = gate(i, di), d_forget = gate(f, df);
    F dc_before = L::mul(dc, f);
    if (s.peepholes) {
      dc_before = L::add(dc_before, L::add(L::mul(d_in, L::load(s.peepholes + k)),
                                           L::mul(d_forget, L::load(s.peepholes + 2 * n + k))));
    }
    if (s.dpeepholes) {
      add_product(s.dpeepholes + k, d_in, before);
      add_product(s.dpeepholes + n + k, d_out, L::add(L::mul(f, before), L::mul(i, g)));
      add_product(s.dpeepholes + 2 * n + k, d_forget, before);
    }
    L::store(cell, L::mul(L::mul(dc, i), derivative<L>(s.derivatives[1], g)));
    L::store(in, d_in);
    L::store(out, d_out);
    L::store(forget, d_forget);
    L::store(s.dc + k, dc_before);
  }
}

}  // namespace

template <class Isa>
void lstm_step_gradient(const LstmStep& s) {
  const size_t whole = s.hidden / Lanes<Isa>::kCount * Lanes<Isa>::kCount;
  elements<Lanes<Isa>>(s, 0, whole);
  if constexpr (Lanes<Isa>::kCount > 1) elements<Lanes<Scalar>>(s, whole, s.hidden);
}

template void lstm_step_gradient<Scalar>(const LstmStep&);
template void lstm_step_gradient<Simd128>(const LstmStep&);
#if ZEROPOINT_HAS_RELAXED_KERNELS
template void lstm_step_gradient<Relaxed>(const LstmStep&);
#endif

}  // namespace zp::kernels
