#include "kernels/gradient/lstm.h"
#include "unit/kernels/elementwise_random.h"

namespace zp::kernels {
namespace {

template <class Isa>
class LstmGradientKernel : public testing::Test {};
TYPED_TEST_SUITE(LstmGradientKernel, AllSets, SetName);

struct Buffers {
  Padded<float> gates, c_before, h_of_c, dh, dc, peepholes, dpeepholes;
  explicit Buffers(size_t hidden)
      : gates(random_floats(4 * hidden, -1, 1, 1)),
        c_before(random_floats(hidden, -1, 1, 2)),
        h_of_c(random_floats(hidden, -1, 1, 3)),
        dh(random_floats(hidden, -1, 1, 4)),
        dc(random_floats(hidden, -1, 1, 5)),
        peepholes(random_floats(3 * hidden, -1, 1, 6)),
        dpeepholes(random_floats(3 * hidden, -1, 1, 7)) {}
};

// By the definition: one element after the other, in double precision.
void by_definition(const LstmStep& s) {
  const size_t n = s.hidden;
  const auto derivative = [](const LstmDerivative& d, double y) {
    return y > d.lo && y < d.hi ? d.a + d.b * y + d.c * y * y : d.outside;
  };
  const auto& d = s.derivatives;
  for (size_t k = 0; k < n; ++k) {
    const double i = s.gates[k], o = s.gates[n + k], f = s.gates[2 * n + k], g = s.gates[3 * n + k];
    const auto peephole = [&](size_t gate) { return s.peepholes ? double{s.peepholes[gate * n + k]} : 0; };
    const double d_out = s.dh[k] * double{s.h_of_c[k]} * derivative(d[0], o);
    const double dc = s.dc[k] + s.dh[k] * o * derivative(d[2], s.h_of_c[k]) + d_out * peephole(1);
    const double df = s.input_forget ? 0 : dc * s.c_before[k] * derivative(d[0], f);
    const double di = (dc * g - (s.input_forget ? dc * s.c_before[k] : 0)) * derivative(d[0], i);
    const double sums[] = {di * s.c_before[k], d_out * (f * s.c_before[k] + i * g), df * s.c_before[k]};
    if (s.dpeepholes)
      for (size_t p = 0; p < 3; ++p) s.dpeepholes[p * n + k] += static_cast<float>(sums[p]);
    s.gates[k] = static_cast<float>(di);
    s.gates[n + k] = static_cast<float>(d_out);
    s.gates[2 * n + k] = static_cast<float>(df);
    s.gates[3 * n + k] = static_cast<float>(dc * i * derivative(d[1], g));
    s.dc[k] = static_cast<float>(dc * f + di * peephole(0) + df * peephole(2));
  }
}

TYPED_TEST(LstmGradientKernel, AllForms) {
  const LstmDerivative derivatives[] = {{.b = 1, .c = -1, .lo = -0.6f, .hi = 0.7f},
                                        {.a = 1, .c = -1, .lo = -9, .hi = 9},
                                        {.a = 1, .lo = 0, .hi = 9, .outside = 0.1f}};
  for (const size_t hidden : {1, 3, 4, 8, 13, 64})
    for (int form = 0; form < 6; ++form) {
      SCOPED_TRACE(std::to_string(hidden) + " form " + std::to_string(form));
      Buffers found(hidden), wanted(hidden);
      const auto step = [&](Buffers& b) {
        return LstmStep{.hidden = hidden,
                        .derivatives = derivatives,
                        .input_forget = form % 2 == 1,
                        .gates = b.gates.data(),
                        .c_before = b.c_before.data(),
                        .h_of_c = b.h_of_c.data(),
                        .dh = b.dh.data(),
                        .dc = b.dc.data(),
                        .peepholes = form > 1 ? b.peepholes.data() : nullptr,
                        .dpeepholes = form > 3 ? b.dpeepholes.data() : nullptr};
      };
      lstm_step_gradient<TypeParam>(step(found));
      by_definition(step(wanted));
      const auto expect_near = [](const Padded<float>& a, const Padded<float>& b) {
        for (size_t i = 0; i < a.storage.size(); ++i)  // and nothing behind the end
          ASSERT_NEAR(a.storage[i], b.storage[i], 1e-5) << i;
      };
      expect_near(found.gates, wanted.gates);
      expect_near(found.dc, wanted.dc);
      expect_near(found.dpeepholes, wanted.dpeepholes);
      expect_near(found.dh, wanted.dh);
    }
}

}  // namespace
}  // namespace zp::kernels
