// LSTM, in one or both directions, with initial states, peepholes and sequences of different lengths.
//
//   i = f(Wi x + Ri h + b + Pi c)   o = f(... + Po c')   f = f(... + Pf c)   g = g(Wc x + Rc h + b)
//   c' = f c + i g                  h' = o h(c')
//
// The products with x are one matrix product for all steps; those with h follow step by step.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "kernels/gemm_float.h"
#include "ops/unary.h"

namespace zp {
namespace {

enum Input : size_t { kX, kW, kR, kBias, kLengths, kInitialH, kInitialC, kPeepholes };

// ---- forms

std::vector<std::string> activations(const Node& n) {
  const Attribute* a = n.attribute("activations");
  if (!a) return {};
  if (const auto* names = std::get_if<std::vector<std::string>>(a)) return *names;
  throw_error(ErrorCode::kInvalidModel, "attribute 'activations' has the wrong type",
              {.node = n.name, .op = qualified_name(n)});
}

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
  const std::string direction = c.node().string_attribute("direction", "forward");
  const Dim directions = direction == "bidirectional" ? Dim(2) : Dim(1);
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

struct Activation {
  kernels::Unary function = kernels::Unary::kSigmoid;
  kernels::UnaryParameters parameters;
  void operator()(float* v, size_t count) const { kernels::unary(function, parameters, v, v, count); }
};

Activation activation(const PrepareContext& c, std::string name, std::optional<float> alpha,
                      std::optional<float> beta) {
  std::transform(name.begin(), name.end(), name.begin(),
                 [](char ch) { return static_cast<char>(ch | 0x20); });
  using enum kernels::Unary;
  if (name == "sigmoid") return {kSigmoid, {}};
  if (name == "tanh") return {kTanh, {}};
  if (name == "relu") return {kClamp, {.a = 0, .b = std::numeric_limits<float>::infinity()}};
  if (name == "leakyrelu") return {kLeakyRelu, {.a = alpha.value_or(0.01f)}};
  if (name == "thresholdedrelu") return {kThresholdedRelu, {.a = alpha.value_or(1.0f)}};
  if (name == "elu") return {kElu, {.a = alpha.value_or(1.0f)}};
  if (name == "hardsigmoid") return {kHardSigmoid, {.a = alpha.value_or(0.2f), .b = beta.value_or(0.5f)}};
  if (name == "softsign") return {kSoftsign, {}};
  if (name == "softplus") return {kSoftplus, {}};
  c.fail(ErrorCode::kUnsupportedOperator, {"activation '", name, "' is not supported"});
}

struct PackedMatrices {
  std::shared_ptr<std::byte> storage;
  std::vector<kernels::FloatWeights> directions;
};

struct Lstm {
  int64_t steps, batch, features, hidden, directions;
  bool backward = false;  // of the first direction
  bool input_forget = false;
  float clip = std::numeric_limits<float>::infinity();
  std::vector<Activation> activations;  // f, g, h of each direction
  bool has[8] = {}, has_output[3] = {};
  std::shared_ptr<const PackedMatrices> w, r;  // null: packed in each run
  // Scratch, in bytes.
  size_t gates_at = 0, h_at = 0, c_at = 0, t_at = 0, w_at = 0, r_at = 0;

  int64_t gates() const { return 4 * hidden; }
  kernels::WeightLayout w_layout() const {
    return kernels::WeightLayout::transposed_matrix(static_cast<int>(features), static_cast<int>(gates()));
  }
  kernels::WeightLayout r_layout() const {
    return kernels::WeightLayout::transposed_matrix(static_cast<int>(hidden), static_cast<int>(gates()));
  }
  void run(const RunContext& run) const;
  void run_direction(const RunContext& run, int64_t d, const kernels::FloatWeights& w,
                     const kernels::FloatWeights& r) const;
  void step(const RunContext& run, int64_t d, int64_t b, float* gate, float* h, float* c,
            float* scratch) const;
};

// One element of the batch goes one step further: its four gates are in place of the products.
void Lstm::step(const RunContext& run, int64_t d, int64_t b, float* gate, float* h, float* c,
                float* scratch) const {
  const auto n = static_cast<size_t>(hidden);
  float *in = gate, *out = gate + hidden, *forget = gate + 2 * hidden, *cell = gate + 3 * hidden;
  const Activation* act = activations.data() + d * 3;
  h += b * hidden;
  c += b * hidden;
  const float* peephole = has[kPeepholes] ? run.in<float>(kPeepholes) + d * 3 * hidden : nullptr;  // i, o, f
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

void Lstm::run_direction(const RunContext& run, int64_t d, const kernels::FloatWeights& w,
                         const kernels::FloatWeights& r) const {
  const int64_t rows = steps * batch, state = batch * hidden;
  float* all_gates = run.scratch<float>(gates_at);
  float *h = run.scratch<float>(h_at), *c = run.scratch<float>(c_at), *scratch = run.scratch<float>(t_at);
  // The biases of both products first, then the products with x on top.
  const float* bias = has[kBias] ? run.in<float>(kBias) + d * 2 * gates() : nullptr;
  const int64_t block =
      std::max<int64_t>(kernels::kRowTile, (rows + run.threads() * 2 - 1) / (run.threads() * 2));
  run.parallel((rows + block - 1) / block, [&](int64_t task, int) {
    const int64_t begin = task * block, end = std::min(rows, begin + block);
    for (int64_t row = begin; row < end; ++row) {
      float* to = all_gates + row * gates();
      for (int64_t k = 0; k < gates(); ++k) to[k] = bias ? bias[k] + bias[gates() + k] : 0.0f;
    }
    kernels::FloatGemmOutput y;
    y.data = all_gates;
    y.rows.stride = static_cast<std::ptrdiff_t>(gates());
    y.accumulate = true;
    kernels::float_gemm<>({.data = run.in<float>(kX), .row_stride = static_cast<std::ptrdiff_t>(features)}, w,
                          y, {static_cast<int>(begin), static_cast<int>(end), 0, static_cast<int>(gates())},
                          nullptr);
  });
  const auto start = [&](size_t input, float* to) {
    if (has[input]) {
      std::copy_n(run.in<float>(input) + d * state, state, to);
    } else {
      std::fill_n(to, state, 0.0f);
    }
  };
  start(kInitialH, h);
  start(kInitialC, c);
  const int32_t* lengths = has[kLengths] ? run.in<int32_t>(kLengths) : nullptr;
  const bool reverse = backward || d == 1;
  float* y = has_output[0] ? run.out<float>(0) : nullptr;
  // gates of rows [row, row + count) += h of elements [b, b + count) times R
  const auto recur = [&](int64_t row, int64_t b, int64_t count) {
    kernels::FloatGemmOutput into;
    into.data = all_gates + row * gates();
    into.rows.stride = static_cast<std::ptrdiff_t>(gates());
    into.accumulate = true;
    kernels::float_gemm<>({.data = h + b * hidden, .row_stride = static_cast<std::ptrdiff_t>(hidden)}, r,
                          into, {0, static_cast<int>(count), 0, static_cast<int>(gates())}, nullptr);
  };
  for (int64_t s = 0; s < steps; ++s) {
    if (!lengths) recur((reverse ? steps - 1 - s : s) * batch, 0, batch);
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t length = lengths ? std::clamp<int64_t>(lengths[b], 0, steps) : steps;
      // Backward, each sequence starts at its own end. Behind its end are zeros, and the state stays.
      const int64_t t = reverse && s < length ? length - 1 - s : s;
      float* to = y ? y + ((t * directions + d) * batch + b) * hidden : nullptr;
      if (s >= length) {
        if (to) std::fill_n(to, hidden, 0.0f);
        continue;
      }
      const int64_t row = t * batch + b;
      if (lengths) recur(row, b, 1);
      step(run, d, b, all_gates + row * gates(), h, c, scratch);
      if (to) std::copy_n(h + b * hidden, hidden, to);
    }
  }
  if (has_output[1]) std::copy_n(h, state, run.out<float>(1) + d * state);
  if (has_output[2]) std::copy_n(c, state, run.out<float>(2) + d * state);
}

kernels::FloatWeights packed(const std::shared_ptr<const PackedMatrices>& ready, int64_t d,
                             const float* weights, const kernels::WeightLayout& layout, void* storage) {
  if (ready) return ready->directions[static_cast<size_t>(d)];
  const auto each = static_cast<std::ptrdiff_t>(layout.columns) * layout.channels;
  return kernels::pack_float_weights(weights + d * each, layout, storage);
}

void Lstm::run(const RunContext& run) const {
  for (int64_t d = 0; d < directions; ++d) {
    run_direction(run, d, packed(w, d, run.in<float>(kW), w_layout(), run.scratch<std::byte>(w_at)),
                  packed(r, d, run.in<float>(kR), r_layout(), run.scratch<std::byte>(r_at)));
  }
}

std::shared_ptr<const PackedMatrices> pack_constant(const PrepareContext& c, size_t input,
                                                    std::string_view kind,
                                                    const kernels::WeightLayout& layout, int64_t directions) {
  const Tensor* weights = c.constant(input);
  if (!weights) return nullptr;
  return c.cached<PackedMatrices>(kind, [&] {
    const size_t bytes = kernels::round_up(kernels::packed_float_weights_bytes(layout), Tensor::kAlignment);
    auto made = std::make_shared<PackedMatrices>();
    made->storage = allocate_bytes(bytes * static_cast<size_t>(directions));
    for (int64_t d = 0; d < directions; ++d) {
      made->directions.push_back(kernels::pack_float_weights(
          weights->data<float>().data() + d * static_cast<int64_t>(layout.columns) * layout.channels, layout,
          made->storage.get() + static_cast<size_t>(d) * bytes));
    }
    return made;
  });
}

Kernel prepare(PrepareContext& c) {
  require_inputs(c, 3);
  Lstm l;
  const Node& n = c.node();
  const std::string direction = n.string_attribute("direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional") {
    c.fail(ErrorCode::kInvalidModel, {"direction is '", direction, "'"});
  }
  l.directions = direction == "bidirectional" ? 2 : 1;
  l.backward = direction == "reverse";
  const Shape &x = c.dims(kX), &r = c.dims(kR);
  if (x.size() != 3 || r.size() != 3)
    c.fail(ErrorCode::kShapeMismatch, "inputs should have three dimensions");
  l.steps = x[0];
  l.batch = x[1];
  l.features = x[2];
  l.hidden = r[2];
  const int64_t limit = std::numeric_limits<int32_t>::max() / 8;
  if (l.steps * l.batch > limit || l.features > limit || l.hidden > limit / 4) {
    c.fail(ErrorCode::kUnsupportedOperator, "the sequences are too long for the kernels");
  }
  const Shape expected[] = {x,
                            {l.directions, l.gates(), l.features},
                            {l.directions, l.gates(), l.hidden},
                            {l.directions, 2 * l.gates()},
                            {l.batch},
                            {l.directions, l.batch, l.hidden},
                            {l.directions, l.batch, l.hidden},
                            {l.directions, 3 * l.hidden}};
  for (size_t i = 0; i < std::size(expected); ++i) {
    l.has[i] = c.has_input(i);
    if (!l.has[i]) continue;
    if (c.dtype(i) != (i == kLengths ? DType::kInt32 : DType::kFloat32)) fail_type(c, i);
    if (c.dims(i) != expected[i]) {
      c.fail(ErrorCode::kShapeMismatch, {"input ", i, " has dimensions ", c.dims(i), ", not ", expected[i]});
    }
  }
  for (size_t i = 0; i < 3; ++i) l.has_output[i] = c.has_output(i);
  l.input_forget = n.int_attribute("input_forget", 0) != 0;
  l.clip = n.float_attribute("clip", l.clip);
  const std::vector<std::string> names = activations(n);
  const std::vector<float> alpha = n.floats_attribute("activation_alpha"),
                           beta = n.floats_attribute("activation_beta");
  const auto wanted = static_cast<size_t>(l.directions) * 3;
  if (!names.empty() && names.size() != wanted) {
    c.fail(ErrorCode::kInvalidModel, {"there should be ", wanted, " activations"});
  }
  for (size_t i = 0; i < wanted; ++i) {
    const auto at = [&](const std::vector<float>& v) {
      return i < v.size() ? std::optional(v[i]) : std::nullopt;
    };
    const std::string standard = i % 3 == 0 ? "Sigmoid" : "Tanh";
    l.activations.push_back(activation(c, names.empty() ? standard : names[i], at(alpha), at(beta)));
  }
  l.w = pack_constant(c, kW, "w", l.w_layout(), l.directions);
  l.r = pack_constant(c, kR, "r", l.r_layout(), l.directions);
  size_t total = 0;
  const auto reserve = [&](size_t bytes) {
    const size_t at = total;
    total += kernels::round_up(bytes + Tensor::kReadSlack, Tensor::kAlignment);
    return at;
  };
  const auto floats = [](int64_t count) { return static_cast<size_t>(count) * sizeof(float); };
  l.gates_at = reserve(floats(l.steps * l.batch * l.gates()));
  l.h_at = reserve(floats(l.batch * l.hidden));
  l.c_at = reserve(floats(l.batch * l.hidden));
  l.t_at = reserve(floats(l.hidden));
  if (!l.w) l.w_at = reserve(kernels::packed_float_weights_bytes(l.w_layout()));
  if (!l.r) l.r_at = reserve(kernels::packed_float_weights_bytes(l.r_layout()));
  c.scratch(total);
  return [l = std::make_shared<const Lstm>(std::move(l))](const RunContext& run) { l->run(run); };
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
                         .infer = infer,
                         .prepare = prepare,
                         .macs = macs,
                         .quant = {.kind = QuantRule::Kind::kFloat,
                                   .why_float = "errors of 8 bits add up from step to step of a recurrence"},
                         .canonicalize = canonicalize};
const RegisterOps kRegistered({&kLstm});

}  // namespace
}  // namespace zp
