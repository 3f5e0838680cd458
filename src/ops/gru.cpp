// GRU, in one or both directions, with initial states and sequences of different lengths.
//
//   z = f(Wz x + Rz h + b)   r = f(Wr x + Rr h + b)
//   n = g(Wh x + Rh (r h) + b), or with linear_before_reset g(Wh x + r (Rh h + Rb) + Wb)
//   h' = (1 - z) n + z h
//
// The products with x are one matrix product for all steps; those with h follow step by step.
#include <algorithm>

#include "ops/recurrent.h"

namespace zp {
namespace {

using enum Recurrent::Input;

// Gates are in the order z, r, h.
constexpr RecurrentForm kForm = {
    .gates = 3, .names = {"sigmoid", "tanh"}, .shapes = {"sbf", "dgf", "dgh", "dG", "b", "dbh"}};

struct Gru : Recurrent {
  bool linear_before_reset = false;
  Weights w, gates_r, new_r;  // of x; of h for z and r; of h for n
  size_t gates_at = 0, h_at = 0, product_at = 0;
  bool has_y = false, has_y_h = false;

  void run(const RunContext& run) const {
    check_lengths(run);
    for (int64_t d = 0; d < directions; ++d) run_direction(run, d);
  }
  void run_direction(const RunContext& run, int64_t d) const;
};

void Gru::run_direction(const RunContext& run, int64_t d) const {
  const auto n = static_cast<size_t>(hidden);
  const RecurrentActivation *f = &activations[static_cast<size_t>(d) * 2], *g = f + 1;
  const kernels::FloatWeights of_gates = gates_r.of(run, d), of_new = new_r.of(run, d);
  float *all = run.scratch<float>(gates_at), *h_all = run.scratch<float>(h_at),
        *products = run.scratch<float>(product_at);
  float* y = has_y ? run.out<float>(0) : nullptr;
  // The bias of Rh, where it is inside of the reset.
  const float* inner =
      linear_before_reset && has[kBias] ? run.in<float>(kBias) + (d * 2 + 1) * gates() + 2 * hidden : nullptr;
  input_products(run, d, w.of(run, d), all, linear_before_reset ? 2 : 3);
  start(run, kInitialH, d, h_all);

  // products [count, hidden] += rows of `from` times Rh
  const auto times_new = [&](const float* from, float* to, int64_t count) {
    kernels::FloatGemmOutput into;
    into.data = to;
    into.rows.stride = static_cast<std::ptrdiff_t>(hidden);
    into.accumulate = true;
    kernels::float_gemm<>({.data = from, .row_stride = static_cast<std::ptrdiff_t>(hidden)}, of_new, into,
                          {0, static_cast<int>(count), 0, static_cast<int>(hidden)}, nullptr);
  };
  // `count` elements of the batch from `b` on, whose gates are in the rows from `row` on, go one step
  // further.
  const auto step = [&](int64_t row, int64_t b, int64_t count) {
    float *h = h_all + b * hidden, *product = products + b * hidden;
    add_products(h, hidden, of_gates, all, row, count);
    for (int64_t i = 0; i < count; ++i) {
      float *gate = all + (row + i) * gates(), *to = product + i * hidden;
      const float* reset = gate + hidden;
      bound(gate, 2 * n);
      (*f)(gate, 2 * n);
      for (size_t k = 0; k < n; ++k)
        to[k] = !linear_before_reset ? reset[k] * h[static_cast<size_t>(i * hidden) + k]
                : inner              ? inner[k]
                                     : 0.0f;
    }
    if (linear_before_reset) {
      times_new(h, product, count);
    } else {
      add_products(product, hidden, of_new, all, row, count, 2 * hidden);
    }
    for (int64_t i = 0; i < count; ++i) {
      float *gate = all + (row + i) * gates(), *fresh = gate + 2 * hidden, *state = h + i * hidden;
      if (linear_before_reset)
        for (size_t k = 0; k < n; ++k) fresh[k] += gate[n + k] * product[static_cast<size_t>(i * hidden) + k];
      bound(fresh, n);
      (*g)(fresh, n);
      for (size_t k = 0; k < n; ++k) state[k] = (1.0f - gate[k]) * fresh[k] + gate[k] * state[k];
    }
  };

  for_steps(run, d, h_all, y, step);
  if (has_y_h) std::copy_n(h_all, state(), run.out<float>(1) + d * state());
}

Kernel prepare(PrepareContext& c) {
  Gru gru;
  static_cast<Recurrent&>(gru) = Recurrent::of(c, kForm);
  gru.linear_before_reset = c.node().int_attribute("linear_before_reset", 0) != 0;
  ScratchPieces scratch;
  gru.gates_at = scratch.floats(gru.rows() * gru.gates());
  gru.h_at = scratch.floats(gru.state());
  gru.product_at = scratch.floats(gru.state());
  gru.w = gru.input_weights(c, scratch);
  gru.gates_r = gru.recurrent_weights(c, scratch, "r gates", 0, 2);
  gru.new_r = gru.recurrent_weights(c, scratch, "r new", 2, 3);
  gru.has_y = c.has_output(0);
  gru.has_y_h = c.has_output(1);
  c.scratch(scratch.total());
  return [gru = std::make_shared<const Gru>(std::move(gru))](const RunContext& run) { gru->run(run); };
}

constexpr OpDef kGru = recurrent_op("GRU", prepare);
const RegisterOps kRegistered({&kGru});

}  // namespace
}  // namespace zp
