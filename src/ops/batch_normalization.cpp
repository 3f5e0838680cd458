// BatchNormalization: y = x * factor + term, for each channel. In inference, with the statistics of the
// model, a rewrite folds it into the product before it where possible, as another does with multiplications
// by constants of each channel. In training mode the statistics are those of the batch.
#include <algorithm>
#include <cmath>

#include "core/grain.h"
#include "kernels/reduction/norm.h"
#include "ops/conv.h"
#include "ops/gradient.h"
#include "ops/respell.h"
#include "ops/rewrite.h"
#include "ops/unary.h"

namespace zp {
namespace {

constexpr float kEpsilon = 1e-5f;

bool is_live(const Node& n) { return n.int_attribute("training_mode", 0) != 0; }

void canonicalize(Canonicalize& c) {
  Node& n = c.node;
  if (c.version < 14) n.attributes.erase("training_mode");
  const bool training = c.version < 7 && n.int_attribute("is_test", 0) == 0 && n.output(1) != kNoValue;
  const bool more = n.outputs.size() > 1 && std::any_of(n.outputs.begin() + 1, n.outputs.end(),
                                                        [](ValueId v) { return v != kNoValue; });
  if (training || (more && !is_live(n))) {
    c.fail(ErrorCode::kUnsupportedOperator,
           "BatchNormalization in the training mode of before opset 14 is not supported",
           "export the model for inference");
  }
  if (c.version < 9 && n.int_attribute("spatial", 1) == 0) {
    // Statistics of each place, of the dimensions [C, H, W].
    if (n.inputs.size() < 5) c.fail(ErrorCode::kInvalidModel, "inputs are missing");
    const ValueId epsilon = c.number(n.float_attribute("epsilon", kEpsilon));
    const ValueId deviation = c.add("Sqrt", {c.add("Add", {n.inputs[4], epsilon})});
    const ValueId factor = c.add("Div", {n.inputs[1], deviation});
    const ValueId scaled = c.add("Mul", {c.add("Sub", {n.inputs[0], n.inputs[3]}), factor});
    return c.finish("Add", {scaled, n.inputs[2]});
  }
  for (const char* key : {"is_test", "spatial", "consumed_inputs"}) n.attributes.erase(key);
  if (!is_live(n)) {
    n.attributes.erase("momentum");
    n.outputs.resize(1);
  }
  c.keep();
}

void infer(InferContext& c) {
  infer_same(c);
  for (size_t i = 1; i < 3; ++i)
    if (c.has_output(i)) output_like(c, i, i + 2);
}

// Mean and variance of a channel: `count` rows of `length`, `stride` apart. Those of rows are brought
// together as in Chan, Golub, LeVeque 1979.
kernels::Moments moments_of_rows(const float* x, int64_t count, int64_t stride, int64_t length) {
  double mean = 0, within = 0, between = 0;
  for (int64_t i = 0; i < count; ++i) {
    const kernels::Moments row = kernels::moments(x + i * stride, static_cast<size_t>(length));
    const double delta = row.mean - mean;
    mean += delta / static_cast<double>(i + 1);
    between += delta * (row.mean - mean);
    within += row.variance;
  }
  return {static_cast<float>(mean), static_cast<float>((within + between) / static_cast<double>(count))};
}

Kernel prepare(PrepareContext& c) {
  const Shape& x = c.dims(0);
  const int64_t channels = x.size() > 1 ? x[1] : 1;
  for (size_t i = 0; i < 5; ++i) {
    if (c.dtype(i) != DType::kFloat32) fail_type(c, i);
    if (i > 0 && element_count(c.dims(i)) != channels) {
      c.fail(ErrorCode::kShapeMismatch, {"input ", i, " should have ", channels, " elements"});
    }
  }
  int64_t length = 1;
  for (size_t d = 2; d < x.size(); ++d) length *= x[d];
  const int64_t rows = length > 0 ? element_count(x) / length : 0;
  const float epsilon = c.node().float_attribute("epsilon", kEpsilon);
  c.in_place(0);
  const bool live = is_live(c.node());
  const float momentum = c.node().float_attribute("momentum", 0.9f);
  const bool has_output[] = {c.has_output(1), c.has_output(2)};
  const int64_t images = channels > 0 ? rows / channels : 0;
  return [=](const RunContext& r) {
    r.parallel_range(channels, grain_for({.work = images * length}), [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) {
        const float *x = r.in<float>(0) + k * length, given[] = {r.in<float>(3)[k], r.in<float>(4)[k]};
        float mean = given[0], variance = given[1];
        if (live) {
          const kernels::Moments m = moments_of_rows(x, images, channels * length, length);
          mean = m.mean;
          variance = m.variance;
          for (size_t i = 0; i < 2; ++i)
            if (has_output[i])
              r.out<float>(i + 1)[k] = given[i] * momentum + (i ? variance : mean) * (1 - momentum);
        }
        const float factor = r.in<float>(1)[k] / std::sqrt(variance + epsilon);
        const float term = r.in<float>(2)[k] - mean * factor;
        for (int64_t i = 0; i < images; ++i) {
          const int64_t at = i * channels * length;
          kernels::scale_row(x + at, r.out<float>(0) + k * length + at, static_cast<size_t>(length), factor,
                             term);
        }
      }
    });
  };
}

// ---- rewrites

// For each channel: y = x * factor + term. One element serves all channels; an empty `term` adds nothing.
struct Affine {
  std::vector<float> factor, term;
  bool scalar() const { return factor.size() == 1; }
};

std::optional<Affine> affine_of_batch_norm(const RewriteContext& r, const Node& n) {
  if (!n.is("BatchNormalization") || is_live(n) || n.inputs.size() != 5) return std::nullopt;
  std::vector<float> p[4];
  for (size_t i = 0; i < 4; ++i) {
    const Tensor* t = r.graph.constant(n.inputs[i + 1]);
    if (!t || t->dtype() != DType::kFloat32) return std::nullopt;
    p[i] = t->floats();
    if (p[i].empty() || p[i].size() != p[0].size()) return std::nullopt;
  }
  Affine a{p[0], p[1]};
  const float epsilon = n.float_attribute("epsilon", kEpsilon);
  for (size_t i = 0; i < a.factor.size(); ++i) {
    a.factor[i] = p[0][i] / std::sqrt(p[3][i] + epsilon);
    a.term[i] = p[1][i] - p[2][i] * a.factor[i];
  }
  return a;
}

// The product that makes `x` for `reader` alone, with these factors in its weights. nullopt: there is none,
// or its weights are no constants.
std::optional<Node> scaled_product(RewriteContext& r, ValueId x, int32_t reader, const Affine& a,
                                   size_t channel_dim, size_t rank) {
  const int32_t at = r.producer(x);
  if (at < 0 || r.only_consumer(x) != reader) return std::nullopt;
  const Node& n = r.node(at);
  const OpDef* def = find_op(n);
  if (!def || def->quant.kind != QuantRule::Kind::kProduct || !def->quant.channel_axis ||
      def->quant.weight < 0) {
    return std::nullopt;
  }
  const auto at_weight = static_cast<size_t>(def->quant.weight);
  const Tensor* w = r.graph.constant(n.input(at_weight));
  if (!w || w->dtype() != DType::kFloat32) return std::nullopt;
  const Shape dims = w->dims();
  const int axis = def->quant.channel_axis(n, static_cast<int>(dims.size()));
  if (axis < 0 || static_cast<size_t>(axis) >= dims.size() || axis > 1) return std::nullopt;
  // Where the output has its channels: second for convolutions, last for matrices.
  const bool convolution = dims.size() > 2;
  if (convolution ? rank != dims.size() : dims.size() != 2) return std::nullopt;
  if (!a.scalar() && channel_dim != (convolution ? 1 : rank - 1)) return std::nullopt;
  const auto channels = static_cast<size_t>(dims[static_cast<size_t>(axis)]);
  if (!a.scalar() && a.factor.size() != channels) return std::nullopt;
  const auto factor = [&](size_t c) { return a.factor[a.scalar() ? 0 : c]; };

  Node made = n;
  const int bias_at = def->quant.bias;
  const bool has_bias = bias_at >= 0 && n.input(static_cast<size_t>(bias_at)) != kNoValue;
  if (!a.term.empty() || has_bias) {
    if (bias_at < 0 || n.float_attribute("beta", 1.0f) != 1.0f) return std::nullopt;
    std::vector<float> bias(channels, 0.0f);
    if (has_bias) {
      const Tensor* old = r.graph.constant(n.inputs[static_cast<size_t>(bias_at)]);
      if (!old || old->dtype() != DType::kFloat32 || old->dims() != Shape{static_cast<int64_t>(channels)})
        return std::nullopt;
      bias = old->floats();
    }
    for (size_t c = 0; c < channels; ++c) {
      bias[c] = bias[c] * factor(c) + (a.term.empty() ? 0.0f : a.term[a.scalar() ? 0 : c]);
    }
    if (made.inputs.size() <= static_cast<size_t>(bias_at))
      made.inputs.resize(static_cast<size_t>(bias_at) + 1, kNoValue);
    made.inputs[static_cast<size_t>(bias_at)] = r.graph.add_constant(
        r.graph[x].name + "_bias", Tensor::of<float>({static_cast<int64_t>(channels)}, bias));
  }
  // Copies the weights last, when every other condition holds.
  const Tensor* weights = r.graph.constant(n.inputs[at_weight]);
  Tensor scaled(DType::kFloat32, dims);
  size_t inner = 1;
  for (size_t d = static_cast<size_t>(axis) + 1; d < dims.size(); ++d) inner *= static_cast<size_t>(dims[d]);
  const auto from = weights->data<float>();
  const auto to = scaled.mutable_data<float>();
  for (size_t i = 0; i < to.size(); ++i) to[i] = from[i] * factor(i / inner % channels);
  made.inputs[at_weight] =
      r.graph.add_constant(r.graph[n.inputs[at_weight]].name + "_scaled", std::move(scaled));
  return made;
}

bool fold_batch_norm(RewriteContext& r) {
  const Node& n = r.node();
  const auto a = affine_of_batch_norm(r, n);
  if (!a) return false;
  const std::optional<SymShape> shape = r.graph[n.inputs[0]].shape;  // a copy: values are added below
  if (!shape || shape->size() < 2) return false;
  if (auto product = scaled_product(r, n.inputs[0], r.at(), *a, 1, shape->size())) {
    product->outputs = n.outputs;
    r.replace({r.producer(n.inputs[0]), r.at()}, {std::move(*product)});
    return true;
  }
  // Multiply and add, which have integer forms.
  Shape dims(shape->size() - 1, 1);
  dims[0] = static_cast<int64_t>(a->factor.size());
  Node mul, add;
  mul.name = n.name + "_mul";
  mul.op_type = "Mul";
  mul.inputs = {n.inputs[0], r.graph.add_constant(n.name + "_factor", Tensor::of<float>(dims, a->factor))};
  mul.outputs = {r.graph.add_value(n.name + "_scaled", DType::kFloat32, *shape)};
  add.name = n.name;
  add.op_type = "Add";
  add.inputs = {mul.outputs[0], r.graph.add_constant(n.name + "_term", Tensor::of<float>(dims, a->term))};
  add.outputs = n.outputs;
  r.replace({r.at()}, {std::move(mul), std::move(add)});
  return true;
}

// Multiplication of a product's output by a constant of each channel (or of all).
bool fold_factor(RewriteContext& r) {
  const Node& n = r.node();
  const bool divides = n.is("Div");
  if ((!n.is("Mul") && !divides) || n.inputs.size() != 2) return false;
  const bool second = r.graph.constant(n.inputs[1]) != nullptr;
  if (!second && (divides || !r.graph.constant(n.inputs[0]))) return false;
  const ValueId x = n.inputs[second ? 0 : 1];
  const Tensor& t = *r.graph.constant(n.inputs[second ? 1 : 0]);
  const std::optional<SymShape> shape = r.graph[x].shape;
  if (t.dtype() != DType::kFloat32 || !shape || t.dims().size() > shape->size() || t.size() == 0)
    return false;
  size_t channel = 0;
  for (size_t d = 0; d < t.dims().size(); ++d) {
    if (t.dims()[d] == 1) continue;
    if (t.dims()[d] != t.size()) return false;
    channel = d + shape->size() - t.dims().size();
  }
  Affine a{t.floats(), {}};
  for (float& f : a.factor) {
    if (divides) f = 1.0f / f;
    if (!std::isfinite(f)) return false;
  }
  auto product = scaled_product(r, x, r.at(), a, channel, shape->size());
  if (!product) return false;
  product->outputs = n.outputs;
  r.replace({r.producer(x), r.at()}, {std::move(*product)});
  return true;
}

const RegisterRewrite kFold({.name = "fold batch norm", .apply = fold_batch_norm});
const RegisterRewrite kFoldFactor({.name = "fold multiplication into the product before it",
                                   .apply = fold_factor,
                                   .order = 2});

// ---- gradient

// With n the normalized x: dscale = sum of dy n, dbias = sum of dy, and dx = dy scale / deviation; where the
// statistics are those of the batch, dx = (dy - mean(dy) - n mean(dy n)) scale / deviation (Ioffe, Szegedy
// 2015).
void gradient(Gradient& g) {
  const bool live = is_live(g.node);
  if (live ? g.dy(1) != kNoValue || g.dy(2) != kNoValue : g.wanted(3) || g.wanted(4))
    g.fail("its statistics are not trained");
  if (g.dy() == kNoValue) return;
  const int rank = g.rank(0);
  std::vector<int64_t> dims(static_cast<size_t>(std::max(1, rank - 1)), 1), over{0};
  dims[0] = -1;
  for (int i = 2; i < rank; ++i) over.push_back(i);
  // p: the shape in which values of channels broadcast; q: the other axes; r: epsilon.
  std::vector<ValueId> given{g.integers(dims), g.integers(over),
                             g.scalar(g.node.float_attribute("epsilon", kEpsilon))};
  for (const char* formula : {live ? "Sub(a, ReduceMean(a, q))" : "Sub(a, Reshape(d, p))",
                              live ? "Reciprocal(Sqrt(Add(ReduceMean(Mul(s, s), q), r)))"
                                   : "Reciprocal(Sqrt(Add(Reshape(e, p), r)))",
                              "Mul(s, t)"})
    given.push_back(g.formula(formula, given));
  if (g.wanted(0)) {
    g.give(0, g.formula(live ? "Mul(Mul(Reshape(b, p), t), "
                               "Sub(Sub(dy, ReduceMean(dy, q)), Mul(u, ReduceMean(Mul(dy, u), q))))"
                             : "Mul(Mul(Reshape(b, p), t), dy)",
                        given));
  }
  if (g.wanted(1)) g.give(1, channel_sums(g, g.formula("Mul(dy, u)", given)));
  if (g.wanted(2)) g.give(2, channel_sums(g, g.dy()));
}

// The statistics may have types of their own since opset 14, scale and bias since opset 15.
void respell(Respell& r) {
  if (r.dtype(3) != r.dtype(0)) r.need(14);
  if (r.dtype(1) != r.dtype(0)) r.need(15);
}

constexpr OpDef kBatchNormalization = {
    .name = "BatchNormalization",
    .inputs = "X scale B input_mean input_var",
    .opsets = "7F 14b training_mode:14",
    .types = "TUUVV",
    .infer = infer,
    .prepare = prepare,
    .biases = {1, 2},
    .quant = {.kind = QuantRule::Kind::kFloat,
              .why_float = "its parameters are computed while the model runs"},
    .canonicalize = canonicalize,
    .respell = respell,
    .gradient = gradient};
const RegisterOps kRegistered({&kBatchNormalization});

}  // namespace
}  // namespace zp
