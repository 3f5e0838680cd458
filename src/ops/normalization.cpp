// LayerNormalization, RMSNormalization, InstanceNormalization, GroupNormalization, LpNormalization, and
// MeanVarianceNormalization.
#include "ops/normalization.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/grain.h"
#include "kernels/elementwise/binary.h"
#include "kernels/reduction/norm.h"
#include "ops/expansion.h"
#include "ops/gradient.h"
#include "ops/rewrite.h"
#include "ops/unary.h"

namespace zp {
namespace {

constexpr float kEpsilon = 1e-5f;
constexpr std::string_view kRmsName = "RMSNormalization";
constexpr std::string_view kWhyFloat = "normalization divides by a deviation that 8 bits measure badly";

// ---- LayerNormalization, RMSNormalization: rows of the last dimensions

void infer_rows(InferContext& c) {
  infer_same(c);
  const SymShape* x = c.shape(0);
  if (x) c.axis(c.ints("axis", -1), static_cast<int>(x->size()));
  for (size_t i : {size_t{1}, size_t{2}}) {  // mean and inverse deviation, of LayerNormalization
    if (!c.has_output(i)) continue;
    if (!x) {
      c.output(i, DType::kFloat32);
      continue;
    }
    SymShape out = *x;
    for (size_t d = static_cast<size_t>(c.axis(c.ints("axis", -1), static_cast<int>(x->size())));
         d < out.size(); ++d) {
      out[d] = Dim(1);
    }
    c.output(i, DType::kFloat32, std::move(out));
  }
}

template <bool kRootMeanSquare>
Kernel prepare_rows(PrepareContext& c) {
  const Shape& x = c.dims(0);
  const auto rank = static_cast<int>(x.size());
  const int64_t axis = c.node().int_attribute("axis", -1);
  if (axis < -rank || axis >= rank) c.fail(ErrorCode::kShapeMismatch, "axis is outside the tensor");
  int64_t rows = 1, length = 1;
  for (size_t d = 0; d < x.size(); ++d)
    (static_cast<int64_t>(d) < (axis < 0 ? axis + rank : axis) ? rows : length) *= x[d];
  // Scale and bias are one row each, or broadcast to the input: then they are applied to all rows last.
  std::optional<kernels::Broadcast> spread[3];
  for (size_t i = 0; i < c.inputs(); ++i) {
    if (!c.has_input(i)) continue;
    if (c.dtype(i) != DType::kFloat32) fail_type(c, i);
    if (i == 0 || element_count(c.dims(i)) == length) continue;
    const Shape& own = c.dims(i);
    bool fits = own.size() <= x.size();
    for (size_t d = 0; fits && d < own.size(); ++d) {
      const int64_t size = own[own.size() - 1 - d];
      fits = size == 1 || size == x[x.size() - 1 - d];
    }
    if (!fits) {
      c.fail(ErrorCode::kShapeMismatch, {"input ", i, " of shape ", own, " does not broadcast to ", x});
    }
    const std::span<const int64_t> operands[] = {x, own};
    spread[i] = kernels::Broadcast::of(operands, x);
    if (!spread[i])
      c.fail(ErrorCode::kUnsupportedOperator, {"input ", i, " broadcasts in too many dimensions"});
  }
  if (spread[1] && c.has_input(2) && !spread[2]) {  // the bias comes after the scale
    const std::span<const int64_t> normalized =
        std::span(x).subspan(static_cast<size_t>(axis < 0 ? axis + rank : axis));
    const std::span<const int64_t> operands[] = {x, normalized};
    spread[2] = kernels::Broadcast::of(operands, x);
  }
  const bool bias = c.has_input(2), mean_out = c.has_output(1), deviation_out = c.has_output(2);
  const float epsilon = c.node().float_attribute("epsilon", kEpsilon);
  c.in_place(0);
  return [=](const RunContext& r) {
    r.parallel_range(rows, grain_for({.work = 2 * length}), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const kernels::RowStatistics s =
            kernels::normalize_row(r.in<float>(0) + row * length, r.out<float>(0) + row * length,
                                   static_cast<size_t>(length), spread[1] ? nullptr : r.in<float>(1),
                                   bias && !spread[2] ? r.in<float>(2) : nullptr, epsilon, kRootMeanSquare);
        if (mean_out) r.out<float>(1)[row] = s.mean;
        if (deviation_out) r.out<float>(2)[row] = s.inverse_deviation;
      }
      constexpr float kInfinity = std::numeric_limits<float>::infinity();
      for (size_t i : {size_t{1}, size_t{2}}) {
        if (!spread[i]) continue;
        kernels::binary(i == 1 ? kernels::Binary::kMul : kernels::Binary::kAdd, *spread[i], r.out<float>(0),
                        r.in<float>(i), r.out<float>(0), begin * length, end * length, -kInfinity, kInfinity);
      }
    });
  };
}

// ---- InstanceNormalization, GroupNormalization: [N, C, ...], rows of channels (or groups of them)

template <bool kGroups>
Kernel prepare_channels(PrepareContext& c) {
  const Shape& x = c.dims(0);
  if (x.size() < 2) c.fail(ErrorCode::kShapeMismatch, "there is no dimension of channels");
  const int64_t channels = x[1];
  int64_t length = 1;
  for (size_t d = 2; d < x.size(); ++d) length *= x[d];
  for (size_t i = 0; i < 3; ++i) {
    if (c.dtype(i) != DType::kFloat32) fail_type(c, i);
    if (i > 0 && element_count(c.dims(i)) != channels) {
      c.fail(ErrorCode::kShapeMismatch, {"input ", i, " should have ", channels, " elements"});
    }
  }
  const int64_t groups = kGroups ? c.node().int_attribute("num_groups", 1) : channels;
  if (groups < 1 || channels % groups != 0)
    c.fail(ErrorCode::kInvalidModel, "num_groups does not divide the channels");
  const int64_t in_group = channels / groups;
  const float epsilon = c.node().float_attribute("epsilon", kEpsilon);
  const int64_t rows = x[0] * groups;
  c.in_place(0);
  return [=](const RunContext& r) {
    r.parallel_range(rows, grain_for({.work = 2 * in_group * length}), [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float* from = r.in<float>(0) + row * in_group * length;
        float* to = r.out<float>(0) + row * in_group * length;
        const kernels::Moments m = kernels::moments(from, static_cast<size_t>(in_group * length));
        const float inverse = 1.0f / std::sqrt(m.variance + epsilon);
        for (int64_t k = 0; k < in_group; ++k) {
          const int64_t channel = row % groups * in_group + k;
          const float factor = r.in<float>(1)[channel] * inverse;
          kernels::scale_row(from + k * length, to + k * length, static_cast<size_t>(length), factor,
                             r.in<float>(2)[channel] - m.mean * factor);
        }
      }
    });
  };
}

// Opset 18 had a scale and bias for each group; since 21 there is one for each channel.
void canonicalize_groups(Canonicalize& c) {
  if (c.version < 21) {
    const int64_t count = c.node.int_attribute("num_groups", 1);
    if (count < 1) c.fail(ErrorCode::kInvalidModel, {"num_groups is ", count});
    const ValueId groups = add_ints(c, {count});
    const ValueId channels = c.add("Shape", {c.node.inputs[0]}, {{"start", int64_t{1}}, {"end", int64_t{2}}});
    const ValueId dims = c.add("Concat", {groups, c.add("Div", {channels, groups})}, {{"axis", int64_t{0}}});
    for (const size_t i : {size_t{1}, size_t{2}}) {
      const ValueId wide = c.add("Expand", {c.add("Unsqueeze", {c.node.inputs[i], add_ints(c, {1})}), dims});
      c.node.inputs[i] = c.add("Reshape", {wide, add_ints(c, {-1})});
    }
    c.node.attributes.erase("stash_type");
  }
  c.keep();
}

// ---- LpNormalization, MeanVarianceNormalization: written with reductions

void expand_lp(Canonicalize& c) {
  const int64_t axis = c.node.int_attribute("axis", -1), p = c.node.int_attribute("p", 2);
  if (p != 1 && p != 2) c.fail(ErrorCode::kInvalidModel, "p should be 1 or 2");
  const ValueId x = c.node.input(0);
  const ValueId axes = c.constant_value(c.node.name + "_axes", Tensor::of<int64_t>({1}, {axis}));
  const ValueId norm = c.add(p == 1 ? "ReduceL1" : "ReduceL2", {x, axes});
  // Zeros stay zeros: the norm of zeros alone counts as the smallest number of the type.
  constexpr float kLeastHalf = 0x1p-24f;
  const bool half = c.graph[x].dtype == DType::kFloat16;
  const ValueId least = c.number(half ? kLeastHalf : std::numeric_limits<float>::min());
  c.finish("Div", {x, c.add("Max", {norm, least})});
}

void expand_mean_variance(Canonicalize& c) {
  const std::vector<int64_t> along = c.node.ints_attribute("axes", {0, 2, 3});
  const ValueId x = c.node.input(0);
  const ValueId axes = c.constant_value(c.node.name + "_axes",
                                        Tensor::of<int64_t>({static_cast<int64_t>(along.size())}, along));
  const ValueId centred = c.add("Sub", {x, c.add("ReduceMean", {x, axes})});
  const ValueId variance = c.add("ReduceMean", {c.add("Mul", {centred, centred}), axes});
  const ValueId epsilon = c.number(1e-9f);
  c.finish("Div", {centred, c.add("Add", {c.add("Sqrt", {variance}), epsilon})});
}

// ---- rewrites

// (x - mean) / sqrt(mean((x - mean)^2) + epsilon) [* scale + bias], with and without the mean and the bias.

// The one axis, the last, of a ReduceMean that keeps its dimension.
bool is_mean_of_rows(const RewriteContext& r, const Node& n) {
  if (!n.is("ReduceMean") || n.int_attribute("keepdims", 1) == 0 || n.inputs.size() != 2) return false;
  const Tensor* axes = r.graph.constant(n.inputs[1]);
  const auto& x = r.graph[n.inputs[0]].shape;
  if (!axes || axes->size() != 1 || axes->dtype() != DType::kInt64) return false;
  const int64_t axis = axes->integer_at(0);
  return axis == -1 || (x && axis == static_cast<int64_t>(x->size()) - 1);
}

// Producer of `v` if it is a `type`, else -1.
int32_t made_by(const RewriteContext& r, ValueId v, std::string_view type) {
  const int32_t at = r.producer(v);
  return at >= 0 && r.node(at).is(type) && !r.node(at).inputs.empty() ? at : -1;
}

// x - mean(x): gives x, or kNoValue.
ValueId centred_input(const RewriteContext& r, ValueId v, std::vector<int32_t>& used) {
  const int32_t sub = made_by(r, v, "Sub");
  if (sub < 0 || r.node(sub).inputs.size() != 2) return kNoValue;
  const int32_t mean = made_by(r, r.node(sub).inputs[1], "ReduceMean");
  if (mean < 0 || !is_mean_of_rows(r, r.node(mean)) || r.node(mean).inputs[0] != r.node(sub).inputs[0])
    return kNoValue;
  used.insert(used.end(), {mean, sub});
  return r.node(sub).inputs[0];
}

// A constant of one row: [length], perhaps with ones before it.
std::optional<std::vector<float>> row_constant(const RewriteContext& r, ValueId v, int64_t length) {
  const Tensor* t = r.graph.constant(v);
  if (!t || t->dtype() != DType::kFloat32 || t->size() != length) return std::nullopt;
  if (t->dims().empty() ? length != 1 : t->dims().back() != length) return std::nullopt;
  return t->floats();
}

// Of a divisor sqrt(mean(d^2) + epsilon), means of rows.
struct Divisor {
  ValueId squared;  // d
  float epsilon;
};
std::optional<Divisor> divisor_of(const RewriteContext& r, ValueId v) {
  const int32_t root = made_by(r, v, "Sqrt");
  const int32_t plus = root < 0 ? -1 : made_by(r, r.node(root).inputs[0], "Add");
  if (plus < 0) return std::nullopt;
  const auto epsilon = r.scalar_operand(r.node(plus));
  if (!epsilon || !(epsilon->scalar >= 0)) return std::nullopt;
  const int32_t mean = made_by(r, epsilon->other, "ReduceMean");
  if (mean < 0 || !is_mean_of_rows(r, r.node(mean))) return std::nullopt;
  // The square, as Pow(d, 2) or d * d.
  const ValueId square = r.node(mean).inputs[0];
  const int32_t power = made_by(r, square, "Pow"), product = made_by(r, square, "Mul");
  if (power >= 0 && r.scalar(r.node(power).input(1)) == 2.0f)
    return Divisor{r.node(power).inputs[0], epsilon->scalar};
  if (product >= 0 && r.node(product).input(0) == r.node(product).input(1))
    return Divisor{r.node(product).inputs[0], epsilon->scalar};
  return std::nullopt;
}

// Longer rows are not rewritten: a file may claim any length, and the scale would take memory for it.
constexpr int64_t kLongestRow = int64_t{1} << 20;

// Replaces the node, which divides rows of x, and the nodes that scale and shift its result by constants.
bool write_norm(RewriteContext& r, ValueId x, float epsilon, bool centred) {
  const std::optional<SymShape> shape = r.graph[x].shape;
  if (r.graph[x].dtype != DType::kFloat32 || !shape || shape->empty() || !shape->back().known()) return false;
  const int64_t length = shape->back().value();
  if (length < 1 || length > kLongestRow) return false;
  std::vector<int32_t> removed{r.at()};
  std::vector<float> scale(static_cast<size_t>(length), 1.0f);
  std::optional<std::vector<float>> bias;
  ValueId y = r.node().outputs[0];
  const auto following = [&](std::string_view type) -> std::optional<std::vector<float>> {
    const int32_t next = r.only_consumer(y);
    if (next < 0 || !r.node(next).is(type) || r.node(next).inputs.size() != 2) return std::nullopt;
    const Node& n = r.node(next);
    auto values = row_constant(r, n.inputs[n.inputs[0] == y ? 1 : 0], length);
    if (!values) return std::nullopt;
    removed.push_back(next);
    y = n.outputs[0];
    return values;
  };
  if (auto found = following("Mul")) {
    scale = *found;
    if (centred) bias = following("Add");
  }
  const std::string name = r.node().name;
  Node norm;
  norm.name = name;
  norm.op_type = centred ? "LayerNormalization" : kRmsName;
  norm.outputs = {y};
  norm.attributes.emplace("axis", int64_t{-1});
  norm.attributes.emplace("epsilon", epsilon);
  norm.inputs = {x, r.graph.add_constant(name + "_scale", Tensor::of<float>({length}, scale))};
  if (bias) norm.inputs.push_back(r.graph.add_constant(name + "_bias", Tensor::of<float>({length}, *bias)));
  // The nodes of the divisor are dropped when no other node reads them.
  r.replace(std::move(removed), {std::move(norm)});
  return true;
}

bool find_layer_norm(RewriteContext& r) {
  const Node& div = r.node();
  if (!div.is("Div") || div.inputs.size() != 2) return false;
  std::vector<int32_t> used;
  const ValueId x = centred_input(r, div.inputs[0], used);
  if (x == kNoValue) return false;
  const std::optional<Divisor> by = divisor_of(r, div.inputs[1]);
  if (!by) return false;
  // The square is of the same difference or of its twin.
  if (by->squared != div.inputs[0]) {
    std::vector<int32_t> twin;
    if (centred_input(r, by->squared, twin) != x) return false;
  }
  return write_norm(r, x, by->epsilon, true);
}

// x / root, or x times 1 / root.
bool find_rms_norm(RewriteContext& r) {
  const Node& n = r.node();
  const bool divides = n.is("Div");
  if ((!divides && !n.is("Mul")) || n.inputs.size() != 2) return false;
  const auto divided = [&](ValueId x, ValueId root) {
    std::vector<int32_t> used;
    if (centred_input(r, x, used) != kNoValue) return false;  // a layer norm
    const std::optional<Divisor> by = divisor_of(r, root);
    return by && by->squared == x && write_norm(r, x, by->epsilon, false);
  };
  if (divides) return divided(n.inputs[0], n.inputs[1]);
  for (const size_t i : {size_t{0}, size_t{1}}) {
    const ValueId inverse = n.inputs[i], x = n.inputs[1 - i];
    const int32_t reciprocal = made_by(r, inverse, "Reciprocal"), one = made_by(r, inverse, "Div");
    if (reciprocal >= 0 && divided(x, r.node(reciprocal).inputs[0])) return true;
    if (one >= 0 && r.scalar(r.node(one).inputs[0]) == 1.0f && divided(x, r.node(one).inputs[1])) return true;
  }
  return false;
}

const RegisterRewrite kFindLayerNorm({.name = "write a layer norm as LayerNormalization",
                                      .apply = find_layer_norm});
const RegisterRewrite kFindRmsNorm({.name = "write a norm of root mean squares as RMSNormalization",
                                    .apply = find_rms_norm});

constexpr OpDef normalization(std::string_view name, std::string_view inputs, std::string_view opsets,
                              void (*infer)(InferContext&), Kernel (*prepare)(PrepareContext&)) {
  return {.name = name,
          .inputs = inputs,
          .opsets = opsets,
          .types = "TU",
          .infer = infer,
          .prepare = prepare,
          .quant = {.kind = QuantRule::Kind::kFloat, .why_float = kWhyFloat}};
}

constexpr OpDef with_canonicalize(OpDef def, void (*canonicalize)(Canonicalize&)) {
  def.canonicalize = canonicalize;
  return def;
}

// With n the normalized row and g = dy scale: dx = (g - mean(g) - n mean(g n)) / deviation; without mean(g)
// where no mean was subtracted.
void rows_gradient(Gradient& g, bool centred) {
  std::vector<int64_t> axes;
  for (int64_t a = g.axis("axis", -1); a < g.rank(0); ++a) axes.push_back(a);
  const ValueId over = g.integers(axes), epsilon = g.scalar(g.node.float_attribute("epsilon", kEpsilon));
  const ValueId x = centred ? g.formula("Sub(a, ReduceMean(a, p))", {over}) : g.in(0);
  const ValueId inverse = g.formula("Reciprocal(Sqrt(Add(ReduceMean(Mul(p, p), q), r)))", {x, over, epsilon});
  const ValueId normalized = g.formula("Mul(p, q)", {x, inverse});
  if (g.wanted(0)) {
    const ValueId scaled = g.formula("Mul(dy, b)");
    ValueId rest = g.formula("Sub(p, Mul(q, ReduceMean(Mul(p, q), r)))", {scaled, normalized, over});
    if (centred) rest = g.formula("Sub(p, ReduceMean(q, r))", {rest, scaled, over});
    g.give(0, g.formula("Mul(p, q)", {rest, inverse}));
  }
  g.give_formulas({"", "Mul(dy, p)", "dy"}, {normalized});
}
template <bool kCentred>
void rows_gradient(Gradient& g) {
  rows_gradient(g, kCentred);
}

constexpr OpDef differentiable(OpDef def, void (*gradient)(Gradient&)) {
  def.gradient = gradient;
  return def;
}

constexpr OpDef with_gamma(OpDef def, int gamma, int beta) {
  def.gamma = gamma, def.beta = beta;
  return def;
}

// The dimensions from `axis` on, as a constant. kNoValue: the rank is not known.
ValueId add_normalized_axes(Canonicalize& c) {
  const SymShape* shape = c.shape(0);
  if (!shape) return kNoValue;
  const auto rank = static_cast<int64_t>(shape->size());
  const int64_t axis = c.node.int_attribute("axis", -1);
  std::vector<int64_t> along;
  for (int64_t d = std::max<int64_t>(axis < 0 ? axis + rank : axis, 0); d < rank; ++d) along.push_back(d);
  return add_ints(c, along);
}

// sqrt(mean(`square`) + epsilon)
ValueId add_root(Canonicalize& c, ValueId square, ValueId axes) {
  const ValueId mean = c.add("ReduceMean", {square, axes});
  return c.add("Sqrt", {c.add("Add", {mean, c.number(c.node.float_attribute("epsilon", kEpsilon))})});
}

// For opsets before 17. Of this and of the next, ONNX Runtime makes one node where the square is a Pow
// (core/optimizer/layer_norm_fusion.cc).
void spell_out_rows(Canonicalize& c) {
  const Node& n = c.node;
  if (n.output(1) != kNoValue || n.output(2) != kNoValue || !c.shape(0)) return;
  const ValueId axes = add_normalized_axes(c), x = n.input(0);
  const ValueId centred = c.add("Sub", {x, c.add("ReduceMean", {x, axes})});
  const ValueId normalized = c.add("Div", {centred, add_root(c, c.add("Pow", {centred, c.number(2)}), axes)});
  if (n.input(2) == kNoValue) return c.finish("Mul", {normalized, n.input(1)});
  c.finish("Add", {c.add("Mul", {normalized, n.input(1)}), n.input(2)});
}

// For opsets before 23.
void spell_out_rms(Canonicalize& c) {
  const Node& n = c.node;
  if (!c.shape(0)) return;
  const ValueId axes = add_normalized_axes(c), x = n.input(0);
  const ValueId root = add_root(c, c.add("Pow", {x, c.number(2)}), axes);
  c.finish("Mul", {c.add("Div", {x, root}), n.input(1)});
}

constexpr OpDef with_expand(OpDef def, void (*expand)(Canonicalize&)) {
  def.expand = expand;
  return def;
}

constexpr OpDef layer_norm() {
  OpDef def = with_expand(with_gamma(differentiable(normalization("LayerNormalization", "X Scale B?", "17Fb",
                                                                  infer_rows, prepare_rows<false>),
                                                    rows_gradient<true>),
                                     1, 2),
                          spell_out_rows);
  def.fails_in_half = moments_fail_in_half;
  return def;
}
constexpr OpDef kLayerNorm = layer_norm();
constexpr OpDef rms_norm(std::string_view name, std::string_view inputs, std::string_view opsets) {
  return with_gamma(differentiable(normalization(name, inputs, opsets, infer_rows, prepare_rows<true>),
                                   rows_gradient<false>),
                    1, -1);
}
constexpr OpDef kRmsNorm = with_expand(rms_norm(kRmsName, "X scale", "23Fb"), spell_out_rms);
constexpr OpDef kSimplified = rms_norm("SimplifiedLayerNormalization", "X scale", "7F");
constexpr OpDef kInstanceNorm = with_canonicalize(
    normalization("InstanceNormalization", "input scale B", "7F 22b", infer_same, prepare_channels<false>),
    drop_consumed_inputs);
constexpr OpDef kGroupNorm = with_canonicalize(
    normalization("GroupNormalization", "X scale bias", "21Fb", infer_same, prepare_channels<true>),
    canonicalize_groups);
constexpr OpDef kLp = {.name = "LpNormalization", .canonicalize = expand_lp};
constexpr OpDef kMeanVariance = {.name = "MeanVarianceNormalization", .canonicalize = expand_mean_variance};
const RegisterOps kRegistered({&kLayerNorm, &kRmsNorm, &kSimplified, &kInstanceNorm, &kGroupNorm, &kLp,
                               &kMeanVariance});

}  // namespace

std::string_view moments_fail_in_half(const Graph&, const Node& node, const std::vector<const Node*>&) {
  const bool moments = node.output(1) != kNoValue || node.output(2) != kNoValue;
  return moments ? "it gives the mean or the deviation, which are float32" : "";
}

}  // namespace zp
