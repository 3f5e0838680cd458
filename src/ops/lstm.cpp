// LSTM, in one or both directions, with initial states, peepholes and sequences of different lengths.
//
//   i = f(Wi x + Ri h + b + Pi c)   o = f(... + Po c')   f = f(... + Pf c)   g = g(Wc x + Rc h + b)
//   c' = f c + i g                  h' = o h(c')
//
// The products with x are one matrix product for all steps; those with h follow step by step.
#include "ops/lstm.h"

#include <algorithm>
#include <array>

#include "kernels/elementwise/quantize.h"

namespace zp {

using enum Recurrent::Input;
using enum Lstm::More;

const RecurrentForm Lstm::kForm = {.gates = 4,
                                   .names = {"sigmoid", "tanh", "tanh"},
                                   .shapes = {"sbf", "dgf", "dgh", "dG", "b", "dbh", "dbh", "dp"}};

Lstm Lstm::of(const PrepareContext& c) {
  Lstm l;
  static_cast<Recurrent&>(l) = Recurrent::of(c, kForm);
  l.input_forget = c.node().int_attribute("input_forget", 0) != 0;
  l.rounds_state = c.node().int_attribute(kRoundsState, 0) != 0;
  return l;
}

// One element of the batch goes one step further: its four gates are in place of the products.
void Lstm::step(const RecurrentActivation* act, const float* peephole, float* gate, float* h, float* c,
                float* scratch) const {
  const auto n = static_cast<size_t>(hidden);
  float *in = gate, *out = gate + hidden, *forget = gate + 2 * hidden, *cell = gate + 3 * hidden;
  if (peephole) {
    for (size_t k = 0; k < n; ++k) {
      in[k] += peephole[k] * c[k];
      forget[k] += peephole[2 * n + k] * c[k];
    }
  }
  for (float* v : {in, forget, cell}) bound(v, n);
  act[0](in, n);
  act[1](cell, n);
  if (input_forget) {
    for (size_t k = 0; k < n; ++k) forget[k] = 1.0f - in[k];
  } else {
    act[0](forget, n);
  }
  for (size_t k = 0; k < n; ++k) c[k] = forget[k] * c[k] + in[k] * cell[k];
  if (peephole) {
    for (size_t k = 0; k < n; ++k) out[k] += peephole[n + k] * c[k];
  }
  bound(out, n);
  act[0](out, n);
  std::copy_n(c, n, scratch);
  act[2](scratch, n);
  for (size_t k = 0; k < n; ++k) h[k] = out[k] * scratch[k];
}

// The states before step `s`, rounded as by one DynamicQuantizeLinear of all states that the step before
// made, of sequences that end there, too.
void Lstm::round_states(const RunContext& run, int64_t d, int64_t s, const float* h, float* to) const {
  const auto n = static_cast<size_t>(hidden);
  kernels::Extent all;
  for (int64_t b = 0; b < batch; ++b) {
    if (s > 0 && !place(run, d, s - 1, b).inside) continue;
    const kernels::Extent one = kernels::extent_with_zero<>(h + b * hidden, n);
    all = {std::min(all.min, one.min), std::max(all.max, one.max)};
  }
  const auto [scale, zero] = kernels::dynamic_scale(all);
  std::array<uint8_t, 256> piece;
  const auto count = static_cast<size_t>(state());
  for (size_t at = 0; at < count; at += piece.size()) {
    const size_t some = std::min(piece.size(), count - at);
    kernels::quantize<>(h + at, scale, zero, DType::kUint8, piece.data(), 0, some);
    kernels::dequantize<>(piece.data(), DType::kUint8, scale, zero, to + at, 0, some);
  }
}

void Lstm::run(const RunContext& run, int64_t d, const kernels::FloatWeights& w,
               const kernels::FloatWeights& r, const Pass& p) const {
  input_products(run, d, w, p.gates, blocks);
  start(run, kInitialH, d, p.h);
  start(run, kInitialC, d, p.c);
  const bool together = !has[kLengths];  // all elements of the batch are at the same time
  const float* factor = p.rounded ? p.rounded : p.h;
  const auto go = [&](int64_t first, int64_t last) {
    for (int64_t s = 0; s < steps; ++s) {
      if (p.rounded) round_states(run, d, s, p.h, p.rounded);
      if (together)
        add_products(factor + first * hidden, hidden, r, p.gates,
                     place(run, d, s, first).time * batch + first, last - first);
      for (int64_t b = first; b < last; ++b) {
        const auto [time, inside] = place(run, d, s, b);
        const int64_t row = time * batch + b;
        float *h = p.h + b * hidden, *c = p.c + b * hidden;
        float* to = p.y ? p.y + ((time * directions + d) * batch + b) * hidden : nullptr;
        if (!inside) {  // zeros, and the state stays
          if (to) std::fill_n(to, hidden, 0.0f);
          continue;
        }
        if (!together) add_products(factor + b * hidden, hidden, r, p.gates, row, 1);
        if (p.h_before) {
          std::copy_n(h, hidden, p.h_before + row * hidden);
          std::copy_n(c, hidden, p.c_before + row * hidden);
        }
        step(activations.data() + d * 3, peepholes(run, d), p.gates + row * gates(), h, c,
             p.scratch + b * hidden);
        if (to) std::copy_n(h, hidden, to);
      }
    }
  };
  // Rounded states have one scale, for which each step waits.
  if (p.rounded) return go(0, batch);
  for_blocks(run, go);
}

namespace {

Kernel prepare(PrepareContext& c) {
  const Lstm l = Lstm::of(c);
  ScratchPieces scratch;
  const size_t gates_at = scratch.floats(l.rows() * l.gates()), h_at = scratch.floats(l.state()),
               c_at = scratch.floats(l.state()), t_at = scratch.floats(l.state()),
               rounded_at = l.rounds_state ? scratch.floats(l.state()) : 0;
  const Lstm::Weights w = l.input_weights(c, scratch), r = l.recurrent_weights(c, scratch);
  c.scratch(scratch.total());
  const bool has_output[] = {c.has_output(0), c.has_output(1), c.has_output(2)};
  auto run_all = [=](const RunContext& run) {
    l.check_lengths(run);
    const Lstm::Pass pass{.gates = run.scratch<float>(gates_at),
                          .h = run.scratch<float>(h_at),
                          .c = run.scratch<float>(c_at),
                          .scratch = run.scratch<float>(t_at),
                          .y = has_output[0] ? run.out<float>(0) : nullptr,
                          .rounded = l.rounds_state ? run.scratch<float>(rounded_at) : nullptr};
    for (int64_t d = 0; d < l.directions; ++d) {
      l.run(run, d, w.of(run, d), r.of(run, d), pass);
      if (has_output[1]) std::copy_n(pass.h, l.state(), run.out<float>(1) + d * l.state());
      if (has_output[2]) std::copy_n(pass.c, l.state(), run.out<float>(2) + d * l.state());
    }
  };
  return run_all;
}

void canonicalize(Canonicalize& c) {
  c.node.attributes.erase(std::string(Lstm::kRoundsState));
  canonicalize_recurrent(c, {kInitialH, kInitialC});
}

bool unsayable(const Node& node) { return node.int_attribute(Lstm::kRoundsState, 0) != 0; }

// As a node of ONNX it has no such attribute, and its states stay float.
void respell(Respell& r) { r.node.attributes.erase(std::string(Lstm::kRoundsState)); }

constexpr OpDef kLstm = {.name = "LSTM",
                         .inputs = "X W R B? sequence_lens? initial_h? initial_c? P?",
                         .opsets = "7F 22b layout:14",
                         .types = "TTTTiT",
                         .infer = infer_recurrent,
                         .prepare = prepare,
                         .macs = macs_of_recurrent,
                         .weights = {1, 2, 7},
                         .biases = {3},
                         .quant = kRecurrentQuant,
                         .canonicalize = canonicalize,
                         .respell = respell,
                         .fold = fold_lstm,
                         .unsayable = unsayable,
                         .gradient = lstm_gradient};
const RegisterOps kRegistered({&kLstm});

}  // namespace
}  // namespace zp
