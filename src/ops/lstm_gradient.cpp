// The gradient of an LSTM: one kernel goes through time, forward once more and then backward, and gives the
// gradients of the gates' inputs. Ordinary operators make those of weights, biases and the input of them, as
// products for all steps at once.
#include <algorithm>
#include <cmath>

#include "kernels/gradient/lstm.h"
#include "ops/gradient.h"
#include "ops/lstm.h"

namespace zp {
namespace {

using kernels::LstmDerivative;

// Where the activation's input was clipped, its output is that of the clip. False: the output alone does not
// tell.
bool find(LstmDerivative& d, const RecurrentActivation& activation, float clip) {
  using enum kernels::Unary;
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float slope = activation.parameters.a;
  switch (activation.function) {
    case kSigmoid:
      d = {.b = 1, .c = -1, .lo = -kInfinity, .hi = kInfinity};
      break;
    case kTanh:
      d = {.a = 1, .c = -1, .lo = -kInfinity, .hi = kInfinity};
      break;
    case kHardSigmoid:
      d = {.a = slope, .lo = 0, .hi = 1};
      break;
    case kClamp:  // Relu
      d = {.a = 1, .lo = 0, .hi = kInfinity};
      break;
    case kAffine:
      d = {.a = slope, .lo = -kInfinity, .hi = kInfinity};
      break;
    case kScaledTanh:
      if (slope == 0) return false;
      d = {.a = slope * activation.parameters.b,
           .c = -activation.parameters.b / slope,
           .lo = -kInfinity,
           .hi = kInfinity};
      break;
    case kLeakyRelu:
      d = {.a = 1, .lo = 0, .hi = kInfinity, .outside = slope};
      return slope >= 0 && clip == kInfinity;
    default:
      return false;
  }
  float ends[] = {-clip, clip};
  activation(ends, 2);
  d.lo = std::max(d.lo, std::min(ends[0], ends[1]));
  d.hi = std::min(d.hi, std::max(ends[0], ends[1]));
  return true;
}

// Derivatives of f, g and h of each direction, as far as there are any. The argument of h is the cell itself.
struct LstmDerivatives {
  LstmDerivative of[6];
  size_t found = 0;

  explicit LstmDerivatives(const Node& n) {
    constexpr float kInfinity = std::numeric_limits<float>::infinity();
    const float clip = n.float_attribute("clip", kInfinity);
    const Lstm::Activations activations = Lstm::activations_of(n);
    const auto all = static_cast<size_t>(Lstm::directions_of(n)) * 3;
    while (found < all && find(of[found], activations[found], found % 3 == 2 ? kInfinity : clip)) ++found;
  }
};

// Inputs: an LSTM's, then the gradients of Y, Y_h and Y_c, any of which may be absent.
enum : size_t { kDy = Lstm::kInputs, kDyH, kDyC };
// Outputs: the gradients of the gates' inputs [directions, steps * batch, 4 hidden], of the initial states,
// the states before each step [directions, steps * batch, hidden], and the gradients of the peepholes
// [directions, batch, 3 hidden].
enum : size_t { kGates, kDh, kDc, kHBefore, kDPeepholes };

void infer(InferContext& c) {
  const SymShape *x = c.shape(Lstm::kX), *r = c.shape(Lstm::kR);
  const bool known = x && r && concrete(*x) && concrete(*r) && x->size() == 3 && r->size() == 3;
  for (size_t i = 0; i <= kDPeepholes; ++i) {
    if (!c.has_output(i)) continue;
    if (!known) {
      c.output(i, DType::kFloat32);
      continue;
    }
    const int64_t batch = (*x)[1].value(), hidden = (*r)[2].value();
    c.output(i, DType::kFloat32,
             symbolic(Shape{Lstm::directions_of(c.node()),
                            i == kGates || i == kHBefore ? (*x)[0].value() * batch : batch,
                            i == kGates        ? 4 * hidden
                            : i == kDPeepholes ? 3 * hidden
                                               : hidden}));
  }
}

struct Backward {
  Lstm lstm;
  LstmDerivatives derivatives;
  Lstm::Weights w, r, r_back;
  size_t c_before_at, scratch_at;
  bool has_dy[3];
  bool peepholes;

  void run(const RunContext& run) const {
    for (int64_t d = 0; d < lstm.directions; ++d) run_direction(run, d);
  }
  void run_direction(const RunContext& run, int64_t d) const;
};

void Backward::run_direction(const RunContext& run, int64_t d) const {
  const int64_t hidden = lstm.hidden, state = lstm.state();
  const Lstm::Pass pass{.gates = run.out<float>(kGates) + d * lstm.rows() * lstm.gates(),
                        .h = run.out<float>(kDh) + d * state,
                        .c = run.out<float>(kDc) + d * state,
                        .scratch = run.scratch<float>(scratch_at),
                        .h_before = run.out<float>(kHBefore) + d * lstm.rows() * hidden,
                        .c_before = run.scratch<float>(c_before_at)};
  lstm.run(run, d, w.of(run, d), r.of(run, d), pass);
  // From here on the states' places hold their gradients.
  for (const size_t of : {size_t{1}, size_t{2}}) {
    float* to = of == 1 ? pass.h : pass.c;
    if (has_dy[of]) {
      std::copy_n(run.in<float>(kDy + of) + d * state, state, to);
    } else {
      std::fill_n(to, state, 0.0f);
    }
  }
  if (lstm.has[Lstm::kLengths]) {  // without a step, no output depends on the state
    for (int64_t b = 0; b < lstm.batch; ++b) {
      if (run.in<int32_t>(Lstm::kLengths)[b] > 0) continue;
      std::fill_n(pass.h + b * hidden, hidden, 0.0f);
      std::fill_n(pass.c + b * hidden, hidden, 0.0f);
    }
  }
  float* dpeepholes = peepholes ? run.out<float>(kDPeepholes) + d * 3 * state : nullptr;
  if (dpeepholes) std::fill_n(dpeepholes, 3 * state, 0.0f);
  const kernels::FloatWeights back = r_back.of(run, d);
  // dh of `count` elements of the batch from `b` on, before the step that rows from `row` on are of
  const auto recur = [&](int64_t row, int64_t b, int64_t count) {
    kernels::FloatGemmOutput into;
    into.data = pass.h + b * hidden;
    into.rows.stride = static_cast<std::ptrdiff_t>(hidden);
    kernels::float_gemm<>(
        {.data = pass.gates + row * lstm.gates(), .row_stride = static_cast<std::ptrdiff_t>(lstm.gates())},
        back, into, {0, static_cast<int>(count), 0, static_cast<int>(hidden)}, nullptr);
  };
  const bool together = !lstm.has[Lstm::kLengths];
  lstm.for_blocks(run, [&](int64_t first, int64_t last) {
    for (int64_t s = lstm.steps; s-- > 0;) {
      for (int64_t b = first; b < last; ++b) {
        const auto [time, inside] = lstm.place(run, d, s, b);
        const int64_t row = time * lstm.batch + b;
        kernels::LstmStep step;
        step.gates = pass.gates + row * lstm.gates();
        if (!inside) {  // so that the products take nothing from here
          std::fill_n(step.gates, lstm.gates(), 0.0f);
          std::fill_n(pass.h_before + row * hidden, hidden, 0.0f);
          continue;
        }
        step.hidden = static_cast<size_t>(hidden);
        step.derivatives = derivatives.of + d * 3;
        step.input_forget = lstm.input_forget;
        step.c_before = pass.c_before + row * hidden;
        float *h_of_c = pass.scratch + b * hidden, *dh = pass.h + b * hidden;
        step.h_of_c = h_of_c;
        step.dh = dh;
        step.dc = pass.c + b * hidden;
        step.peepholes = lstm.peepholes(run, d);
        step.dpeepholes = dpeepholes ? dpeepholes + b * 3 * hidden : nullptr;
        const float *in = step.gates, *forget = in + 2 * hidden, *cell = in + 3 * hidden;
        for (int64_t k = 0; k < hidden; ++k) h_of_c[k] = forget[k] * step.c_before[k] + in[k] * cell[k];
        lstm.activations[static_cast<size_t>(d) * 3 + 2](h_of_c, step.hidden);
        if (has_dy[0]) {
          const float* dy = run.in<float>(kDy) + ((time * lstm.directions + d) * lstm.batch + b) * hidden;
          for (int64_t k = 0; k < hidden; ++k) dh[k] += dy[k];
        }
        kernels::lstm_step_gradient(step);
        if (!together) recur(row, b, 1);
      }
      if (together) recur(lstm.place(run, d, s, first).time * lstm.batch + first, first, last - first);
    }
  });
}

Kernel prepare(PrepareContext& c) {
  Backward b{.lstm = Lstm::of(c), .derivatives = LstmDerivatives(c.node())};
  ScratchPieces scratch;
  b.c_before_at = scratch.floats(b.lstm.rows() * b.lstm.hidden);
  b.scratch_at = scratch.floats(b.lstm.state());
  b.w = b.lstm.input_weights(c, scratch);
  b.r = b.lstm.recurrent_weights(c, scratch);
  b.r_back = b.lstm.weights(
      c, Lstm::kR, "r back",
      kernels::WeightLayout::matrix(static_cast<int>(b.lstm.gates()), static_cast<int>(b.lstm.hidden)),
      scratch);
  for (size_t i = 0; i < 3; ++i) b.has_dy[i] = c.has_input(kDy + i);
  b.peepholes = c.has_output(kDPeepholes);
  c.scratch(scratch.total());
  return [b = std::make_shared<const Backward>(std::move(b))](const RunContext& run) { b->run(run); };
}

constexpr OpDef kGradient = {.domain = kOwn,
                             .name = "LSTMGradient",
                             .inputs = "X W R B? sequence_lens? initial_h? initial_c? P? dY? dY_h? dY_c?",
                             .types = "ffffif",
                             .infer = infer,
                             .prepare = prepare};
const RegisterOps kRegistered({&kGradient});

}  // namespace

void lstm_gradient(Gradient& g) {
  const auto found = LstmDerivatives(g.node).found;
  if (found < static_cast<size_t>(Lstm::directions_of(g.node)) * 3) {
    g.fail({"activation '", std::get<std::vector<std::string>>(*g.node.attribute("activations"))[found],
            "' is not differentiated", g.node.attribute("clip") ? " with a clip" : ""});
  }
  std::vector<ValueId> inputs = g.node.inputs;
  inputs.resize(Lstm::kInputs, kNoValue);
  for (size_t i = 0; i < 3; ++i) inputs.push_back(g.dy(i));
  std::vector<ValueId> given =
      g.add_node("LSTMGradient", inputs, g.wanted(Lstm::kPeepholes) ? kDPeepholes + 1 : kDPeepholes,
                 g.attributes(), kOwn);
  given.resize(kDPeepholes + 1, kNoValue);
  given.push_back(g.add("Transpose", {given[kGates]}, {{"perm", std::vector<int64_t>{0, 2, 1}}}));
  given.push_back(g.add("Flatten", {g.in(Lstm::kX)}, {{"axis", int64_t{2}}}));
  // p to t: the outputs above; u: gates transposed; v: rows of x; w, x, z: axes and times. y is the LSTM's
  // own.
  for (std::vector<int64_t> v : {std::vector<int64_t>{0}, {1}, {}, {1, 2, 1}}) given.push_back(g.integers(v));
  g.give_formulas(
      {"Reshape(ReduceSum(MatMul(p, b), w), Shape(a))", "MatMul(u, v)", "MatMul(u, s)",
       "Reshape(Expand(ReduceSum(p, x), z), Shape(d))", "", "q", "r", "Reshape(ReduceSum(t, x), Shape(h))"},
      given);
}

}  // namespace zp
