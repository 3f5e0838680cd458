// LSTM, in one or both directions, with initial states, peepholes and sequences of different lengths.
//
//   i = f(Wi x + Ri h + b + Pi c)   o = f(... + Po c')   f = f(... + Pf c)   g = g(Wc x + Rc h + b)
//   c' = f c + i g                  h' = o h(c')
//
// The products with x are one matrix product for all steps; those with h follow step by step.
#include "ops/lstm.h"

#include <algorithm>
#include <cmath>

#include "kernels/movement/copy.h"
#include "ops/unary.h"

namespace zp {
namespace {

using enum Lstm::Input;

// ---- forms

// Batch first (layout 1) is read as batch second, with transposes around it: ONNX Runtime knows only that,
// too.
void canonicalize(Canonicalize& c) {
  Node& n = c.node;
  n.attributes.erase("output_sequence");
  if (n.int_attribute("layout", 0) == 0) {
    n.attributes.erase("layout");
    return c.keep();
  }
  n.attributes.erase("layout");
  const auto swap_ends = [&](size_t input) {
    if (n.input(input) != kNoValue) {
      n.inputs[input] = c.add("Transpose", {n.inputs[input]}, {{"perm", std::vector<int64_t>{1, 0, 2}}});
    }
  };
  swap_ends(kX);
  swap_ends(kInitialH);
  swap_ends(kInitialC);
  std::vector<Node> after;
  for (size_t i = 0; i < n.outputs.size(); ++i) {
    if (n.outputs[i] == kNoValue) continue;
    const ValueId inner = c.graph.add_value(c.graph[n.outputs[i]].name + "_steps_first");
    Node transpose;
    transpose.name = c.graph[inner].name;
    transpose.op_type = "Transpose";
    transpose.inputs = {inner};
    transpose.outputs = {n.outputs[i]};
    transpose.attributes.emplace("perm",
                                 i == 0 ? std::vector<int64_t>{2, 0, 1, 3} : std::vector<int64_t>{1, 0, 2});
    n.outputs[i] = inner;
    after.push_back(std::move(transpose));
  }
  c.keep();
  for (Node& t : after) c.nodes.push_back(std::move(t));
}

void infer(InferContext& c) {
  const Dim directions = Lstm::directions_of(c.node());
  Dim steps, batch, hidden;
  if (const SymShape* x = c.shape(kX)) {
    c.require(x->size() == 3, "the input should have dimensions [steps, batch, features]");
    steps = (*x)[0];
    batch = (*x)[1];
  }
  if (const SymShape* r = c.shape(kR)) {
    c.require(r->size() == 3, "recurrent weights should have dimensions [directions, 4 * hidden, hidden]");
    hidden = (*r)[2];
  } else if (const int64_t size = c.ints("hidden_size", 0); size > 0) {
    hidden = Dim(size);
  }
  const DType type = c.dtype(kX);
  if (c.has_output(0)) c.output(0, type, SymShape{steps, directions, batch, hidden});
  if (c.has_output(1)) c.output(1, type, SymShape{directions, batch, hidden});
  if (c.has_output(2)) c.output(2, type, SymShape{directions, batch, hidden});
}

// ---- the kernel

struct Known {
  std::string_view name;
  kernels::Unary function;
  int parameters = 0;     // that attributes set: alpha, then beta
  float a = 0, b = 0;     // without them
  bool required = false;  // there is no standard for them
};
constexpr Known kKnown[] = {
    {"sigmoid", kernels::Unary::kSigmoid},
    {"tanh", kernels::Unary::kTanh},
    {"relu", kernels::Unary::kClamp, 0, 0, std::numeric_limits<float>::infinity()},
    {"leakyrelu", kernels::Unary::kLeakyRelu, 1, 0.01f},
    {"thresholdedrelu", kernels::Unary::kThresholdedRelu, 1, 1.0f},
    {"elu", kernels::Unary::kElu, 1, 1.0f},
    {"affine", kernels::Unary::kAffine, 2, 1.0f, 0.0f},
    {"scaledtanh", kernels::Unary::kScaledTanh, 2, 0, 0, true},
    {"hardsigmoid", kernels::Unary::kHardSigmoid, 2, 0.2f, 0.5f},
    {"softsign", kernels::Unary::kSoftsign},
    {"softplus", kernels::Unary::kSoftplus},
};

}  // namespace

Lstm::Activations Lstm::activations_of(const Node& n) {
  const std::string op = qualified_name(n);
  const ErrorPlace place{.node = n.name, .op = op};
  const auto wanted = static_cast<size_t>(directions_of(n)) * 3;
  const std::vector<std::string>* names = nullptr;
  if (const Attribute* a = n.attribute("activations")) {
    names = std::get_if<std::vector<std::string>>(a);
    if (!names || (!names->empty() && names->size() != wanted))
      throw_error(ErrorCode::kInvalidModel, {"there should be ", wanted, " activations"}, place);
  }
  // Those that take a parameter take the next one in the list.
  const std::vector<float> alphas = n.floats_attribute("activation_alpha"),
                           betas = n.floats_attribute("activation_beta");
  auto alpha = alphas.begin(), beta = betas.begin();
  Activations found;
  for (size_t i = 0; i < wanted; ++i) {
    std::string name = names && !names->empty() ? (*names)[i] : i % 3 ? "tanh" : "sigmoid";
    for (char& ch : name) ch = static_cast<char>(ch | 0x20);
    const Known* known =
        std::find_if(std::begin(kKnown), std::end(kKnown), [&](const Known& k) { return k.name == name; });
    if (known == std::end(kKnown))
      throw_error(ErrorCode::kUnsupportedOperator, {"activation '", name, "' is not supported"}, place);
    found[i] = {known->function, {.a = known->a, .b = known->b}};
    const bool lacks =
        (known->parameters > 0 && alpha == alphas.end()) || (known->parameters > 1 && beta == betas.end());
    if (known->required && lacks)
      throw_error(ErrorCode::kInvalidModel, {"activation '", name, "' needs its alpha and beta"}, place);
    if (known->parameters > 0 && alpha != alphas.end()) found[i].parameters.a = *alpha++;
    if (known->parameters > 1 && beta != betas.end()) found[i].parameters.b = *beta++;
  }
  return found;
}

Lstm Lstm::of(const PrepareContext& c) {
  Lstm l;
  const Node& n = c.node();
  const std::string direction = n.string_attribute("direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional") {
    c.fail(ErrorCode::kInvalidModel, {"direction is '", direction, "'"});
  }
  l.directions = directions_of(n);
  l.backward = direction == "reverse";
  const Shape &x = c.dims(kX), &r = c.dims(kR);
  if (x.size() != 3 || r.size() != 3)
    c.fail(ErrorCode::kShapeMismatch, "inputs should have three dimensions");
  l.steps = x[0];
  l.batch = x[1];
  l.features = x[2];
  l.hidden = r[2];
  const int64_t limit = std::numeric_limits<int32_t>::max() / 8;
  if (l.rows() > limit || l.features > limit || l.hidden > limit / 4) {
    c.fail(ErrorCode::kUnsupportedOperator, "the sequences are too long for the kernels");
  }
  // What each input is shaped as, in the letters of these sizes.
  const int64_t sizes[] = {l.steps,   l.batch,  l.features,    l.directions,
                           l.gates(), l.hidden, 2 * l.gates(), 3 * l.hidden};
  constexpr std::string_view kLetters = "sbfdghGp",
                             kExpected[kInputs] = {"sbf", "dgf", "dgh", "dG", "b", "dbh", "dbh", "dp"};
  for (size_t i = 0; i < kInputs; ++i) {
    l.has[i] = c.has_input(i);
    if (!l.has[i]) continue;
    if (c.dtype(i) != (i == kLengths ? DType::kInt32 : DType::kFloat32)) fail_type(c, i);
    Shape expected;
    for (const char letter : kExpected[i]) expected.push_back(sizes[kLetters.find(letter)]);
    if (c.dims(i) != expected) {
      c.fail(ErrorCode::kShapeMismatch, {"input ", i, " has dimensions ", c.dims(i), ", not ", expected});
    }
  }
  l.input_forget = n.int_attribute("input_forget", 0) != 0;
  l.clip = n.float_attribute("clip", l.clip);
  l.activations = activations_of(n);
  return l;
}

Lstm::Weights Lstm::weights(const PrepareContext& c, size_t input, std::string_view kind,
                            const kernels::WeightLayout& layout, ScratchPieces& scratch) const {
  Weights w;
  w.input = input;
  w.layout = layout;
  w.bytes = kernels::round_up(kernels::packed_float_weights_bytes(layout), Tensor::kAlignment);
  if (const Tensor* weights = c.constant(input)) {
    struct Packed {
      std::shared_ptr<std::byte> storage;
      size_t bytes;
    };
    const auto packed = c.cached<Packed>(kind, [&] {
      auto made = std::make_shared<Packed>();
      made->storage = allocate_bytes(made->bytes = w.bytes * static_cast<size_t>(directions));
      for (int64_t d = 0; d < directions; ++d) {
        kernels::pack_float_weights(weights->data<float>().data() + d * layout.depth() * layout.columns,
                                    layout, made->storage.get() + static_cast<size_t>(d) * w.bytes);
      }
      kernels::flush_denormals(made->storage.get(), made->bytes);
      return made;
    });
    w.constant = {packed, packed->storage.get()};
  } else {
    w.scratch_at = scratch.reserve(w.bytes);
  }
  return w;
}

kernels::FloatWeights Lstm::Weights::of(const RunContext& run, int64_t direction) const {
  if (constant) {
    return {reinterpret_cast<const float*>(constant.get() + static_cast<size_t>(direction) * bytes),
            layout.columns, layout.depth()};
  }
  return kernels::pack_float_weights(run.in<float>(input) + direction * layout.depth() * layout.columns,
                                     layout, run.scratch<std::byte>(scratch_at));
}

Lstm::Weights Lstm::input_weights(const PrepareContext& c, ScratchPieces& scratch) const {
  return weights(
      c, kW, "w",
      kernels::WeightLayout::transposed_matrix(static_cast<int>(features), static_cast<int>(gates())),
      scratch);
}
Lstm::Weights Lstm::recurrent_weights(const PrepareContext& c, ScratchPieces& scratch) const {
  return weights(
      c, kR, "r",
      kernels::WeightLayout::transposed_matrix(static_cast<int>(hidden), static_cast<int>(gates())), scratch);
}

namespace {

std::string wrong_length(int64_t length, int64_t steps) {
  return Text{"a sequence of ", length, " steps in an input of ", steps}.str();
}

}  // namespace

void Lstm::check_lengths(const RunContext& run) const {
  if (!has[kLengths]) return;
  for (int64_t b = 0; b < batch; ++b) {
    const int64_t length = run.in<int32_t>(kLengths)[b];
    if (length < 0 || length > steps) run.fault->report(kLengths, b, length, steps, wrong_length);
  }
}

Lstm::Place Lstm::place(const RunContext& run, int64_t direction, int64_t s, int64_t b) const {
  const int64_t length = has[kLengths] ? std::clamp<int64_t>(run.in<int32_t>(kLengths)[b], 0, steps) : steps;
  const bool inside = s < length, reverse = backward || direction == 1;
  return {reverse && inside ? length - 1 - s : s, inside};
}

void Lstm::for_blocks(const RunContext& run, FunctionRef<void(int64_t begin, int64_t end)> body) const {
  const int64_t blocks = std::clamp<int64_t>(batch / kernels::kRowTile, 1, run.threads());
  run.parallel(blocks, [&](int64_t task, int) { body(batch * task / blocks, batch * (task + 1) / blocks); });
}

// One element of the batch goes one step further: its four gates are in place of the products.
void Lstm::step(const LstmActivation* act, const float* peephole, float* gate, float* h, float* c,
                float* scratch) const {
  const auto n = static_cast<size_t>(hidden);
  float *in = gate, *out = gate + hidden, *forget = gate + 2 * hidden, *cell = gate + 3 * hidden;
  if (peephole) {
    for (size_t k = 0; k < n; ++k) {
      in[k] += peephole[k] * c[k];
      forget[k] += peephole[2 * n + k] * c[k];
    }
  }
  const auto bound = [&](float* v) {
    if (clip < std::numeric_limits<float>::infinity()) {
      kernels::unary(kernels::Unary::kClamp, {.a = -clip, .b = clip}, v, v, n);
    }
  };
  for (float* v : {in, forget, cell}) bound(v);
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
  bound(out);
  act[0](out, n);
  std::copy_n(c, n, scratch);
  act[2](scratch, n);
  for (size_t k = 0; k < n; ++k) h[k] = out[k] * scratch[k];
}

void Lstm::run(const RunContext& run, int64_t d, const kernels::FloatWeights& w,
               const kernels::FloatWeights& r, const Pass& p) const {
  // The biases of both products first, then the products with x on top.
  const float* bias = has[kBias] ? run.in<float>(kBias) + d * 2 * gates() : nullptr;
  const int64_t block =
      std::max<int64_t>(kernels::kRowTile, (rows() + run.threads() * 2 - 1) / (run.threads() * 2));
  // gates of `count` rows from `row` on += rows of `from` times weights
  const auto add_products = [&](const float* from, int64_t stride, const kernels::FloatWeights& weights,
                                int64_t row, int64_t count) {
    kernels::FloatGemmOutput into;
    into.data = p.gates + row * gates();
    into.rows.stride = static_cast<std::ptrdiff_t>(gates());
    into.accumulate = true;
    kernels::float_gemm<>({.data = from, .row_stride = static_cast<std::ptrdiff_t>(stride)}, weights, into,
                          {0, static_cast<int>(count), 0, static_cast<int>(gates())}, nullptr);
  };
  run.parallel((rows() + block - 1) / block, [&](int64_t task, int) {
    const int64_t begin = task * block, end = std::min(rows(), begin + block);
    for (int64_t row = begin; row < end; ++row) {
      float* to = p.gates + row * gates();
      for (int64_t k = 0; k < gates(); ++k) to[k] = bias ? bias[k] + bias[gates() + k] : 0.0f;
    }
    add_products(run.in<float>(kX) + begin * features, features, w, begin, end - begin);
  });
  const auto start = [&](size_t input, float* to) {
    if (has[input]) {
      std::copy_n(run.in<float>(input) + d * state(), state(), to);
    } else {
      std::fill_n(to, state(), 0.0f);
    }
  };
  start(kInitialH, p.h);
  start(kInitialC, p.c);
  // Without a step there is no state: ONNX Runtime gives zeros, not the initial one.
  if (has[kLengths]) {
    for (int64_t b = 0; b < batch; ++b) {
      if (run.in<int32_t>(kLengths)[b] > 0) continue;
      std::fill_n(p.h + b * hidden, hidden, 0.0f);
      std::fill_n(p.c + b * hidden, hidden, 0.0f);
    }
  }
  const bool together = !has[kLengths];  // all elements of the batch are at the same time
  for_blocks(run, [&](int64_t first, int64_t last) {
    for (int64_t s = 0; s < steps; ++s) {
      if (together)
        add_products(p.h + first * hidden, hidden, r, place(run, d, s, first).time * batch + first,
                     last - first);
      for (int64_t b = first; b < last; ++b) {
        const auto [time, inside] = place(run, d, s, b);
        const int64_t row = time * batch + b;
        float *h = p.h + b * hidden, *c = p.c + b * hidden;
        float* to = p.y ? p.y + ((time * directions + d) * batch + b) * hidden : nullptr;
        if (!inside) {  // zeros, and the state stays
          if (to) std::fill_n(to, hidden, 0.0f);
          continue;
        }
        if (!together) add_products(h, hidden, r, row, 1);
        if (p.h_before) {
          std::copy_n(h, hidden, p.h_before + row * hidden);
          std::copy_n(c, hidden, p.c_before + row * hidden);
        }
        step(activations.data() + d * 3, peepholes(run, d), p.gates + row * gates(), h, c,
             p.scratch + b * hidden);
        if (to) std::copy_n(h, hidden, to);
      }
    }
  });
}

namespace {

Kernel prepare(PrepareContext& c) {
  const Lstm l = Lstm::of(c);
  ScratchPieces scratch;
  const size_t gates_at = scratch.floats(l.rows() * l.gates()), h_at = scratch.floats(l.state()),
               c_at = scratch.floats(l.state()), t_at = scratch.floats(l.state());
  const Lstm::Weights w = l.input_weights(c, scratch), r = l.recurrent_weights(c, scratch);
  c.scratch(scratch.total());
  const bool has_output[] = {c.has_output(0), c.has_output(1), c.has_output(2)};
  const auto run_all = [=](const RunContext& run) {
    l.check_lengths(run);
    const Lstm::Pass pass{run.scratch<float>(gates_at), run.scratch<float>(h_at), run.scratch<float>(c_at),
                          run.scratch<float>(t_at), has_output[0] ? run.out<float>(0) : nullptr};
    for (int64_t d = 0; d < l.directions; ++d) {
      l.run(run, d, w.of(run, d), r.of(run, d), pass);
      if (has_output[1]) std::copy_n(pass.h, l.state(), run.out<float>(1) + d * l.state());
      if (has_output[2]) std::copy_n(pass.c, l.state(), run.out<float>(2) + d * l.state());
    }
  };
  return run_all;
}

double macs(const InferContext& c) {
  const SymShape *x = c.shape(kX), *r = c.shape(kR);
  if (!x || !r || x->size() != 3 || r->size() != 3) return 0;
  for (const SymShape* s : {x, r})
    for (const Dim& d : *s)
      if (!d.known()) return 0;
  const auto value = [](const Dim& d) { return static_cast<double>(d.value()); };
  return value((*x)[0]) * value((*x)[1]) * value((*r)[0]) * value((*r)[1]) *
         (value((*x)[2]) + value((*r)[2]));
}

constexpr OpDef kLstm = {.name = "LSTM",
                         .inputs = "X W R B? sequence_lens? initial_h? initial_c? P?",
                         .opsets = "7F 22b layout:14",
                         .types = "TTTTiT",
                         .infer = infer,
                         .prepare = prepare,
                         .macs = macs,
                         .weights = {1, 2, 7},
                         .biases = {3},
                         // A scale for each row of a gate, in W and R.
                         .quant = {.kind = QuantRule::Kind::kFloat,
                                   .channel_axis = [](const Node&, int rank) { return rank == 3 ? 1 : -1; },
                                   .leading_channels = true,
                                   .why_float = "errors of 8 bits add up from step to step of a recurrence"},
                         .canonicalize = canonicalize,
                         .fold = fold_lstm,
                         .gradient = lstm_gradient};
const RegisterOps kRegistered({&kLstm});

}  // namespace
}  // namespace zp
