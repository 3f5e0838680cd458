#include "kernels/gradient/lstm.h"

#include "kernels/elementwise/lanes.h"

namespace zp::kernels {
namespace {

template <class L>
[[gnu::noinline]] typename L::Float derivative(const LstmDerivative& d, typename L::Float y) {
  const auto outside = L::splat(d.outside);
  const auto inside = L::add(L::splat(d.a), L::mul(y, L::add(L::splat(d.b), L::mul(y, L::splat(d.c)))));
  return L::select(L::less(L::splat(d.lo), y), L::select(L::less(y, L::splat(d.hi)), inside, outside),
                   outside);
}

}  // namespace

template <class Isa>
void lstm_step_gradient(const LstmStep& s) {
  using L = Lanes<Isa>;
  using F = typename L::Float;
  const size_t n = s.hidden;
  for (size_t k = 0; k < n; k += L::kCount) {
    const auto store = [count = n - k](float* to, F v) { L::store_some(to, v, count); };
    // Behind the last values are those of the next row, which another thread may write.
    const auto load = [count = n - k](const float* from) {
      return count < L::kCount ? L::load_some(from, count) : L::load(from);
    };
    const auto add_product = [&](float* to, F x, F y) { store(to, L::add(load(to), L::mul(x, y))); };
    float *in = s.gates + k, *out = in + n, *forget = out + n, *cell = forget + n;
    const F i = load(in), o = load(out), f = load(forget), g = load(cell);
    const F before = load(s.c_before + k), h = load(s.h_of_c + k), dh = load(s.dh + k);
    const auto gate = [&](F y, F dy) { return L::mul(dy, derivative<L>(s.derivatives[0], y)); };
    const F d_out = gate(o, L::mul(dh, h));
    F dc = L::add(load(s.dc + k), L::mul(L::mul(dh, o), derivative<L>(s.derivatives[2], h)));
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
    store(cell, L::mul(L::mul(dc, i), derivative<L>(s.derivatives[1], g)));
    store(in, d_in);
    store(out, d_out);
    store(forget, d_forget);
    store(s.dc + k, dc_before);
  }
}

#define ZP_INSTANTIATE(Isa) template void lstm_step_gradient<Isa>(const LstmStep&);
ZP_FOR_EACH_ISA(ZP_INSTANTIATE)
#undef ZP_INSTANTIATE

}  // namespace zp::kernels
