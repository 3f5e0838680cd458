// Clip. In memory its bounds are constants (or absent): a Clip with computed bounds is read as Max and Min,
// so that every Clip can be fused into the operator before it.
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "ops/cast.h"
#include "ops/gradient.h"
#include "ops/respell.h"
#include "ops/rewrite.h"
#include "ops/unary.h"

namespace zp {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kLargest = std::numeric_limits<float>::max();
constexpr float kLargestHalf = 65504;

// A bound that is absent is the lowest or largest number of the type, so that infinities are limited; one
// that is NaN limits nothing.
Clamp clamp_of(const Tensor* lo, const Tensor* hi, float largest = kLargest) {
  Clamp clamp{.lo = -largest, .hi = largest};
  if (lo && lo->size() == 1) clamp.lo = std::isnan(lo->floats()[0]) ? -kInfinity : lo->floats()[0];
  if (hi && hi->size() == 1) clamp.hi = std::isnan(hi->floats()[0]) ? kInfinity : hi->floats()[0];
  return clamp;
}

std::optional<Clamp> as_clamp(const InferContext& c) {
  if (c.dtype(0) != DType::kFloat32) return std::nullopt;
  for (size_t i : {size_t{1}, size_t{2}})
    if (c.has_input(i) && !c.constant(i)) return std::nullopt;
  return clamp_of(c.constant(1), c.constant(2));
}

// The bounds of a Clip of float64 or integers.
EachParameters bounds_of(const PrepareContext& c) {
  const DType type = c.dtype(0);
  const bool is_float = type == DType::kFloat64;
  EachParameters p;
  p.lo = is_float                 ? std::bit_cast<int64_t>(std::numeric_limits<double>::lowest())
         : type == DType::kUint64 ? 0
                                  : std::numeric_limits<int64_t>::min();
  p.hi = is_float                 ? std::bit_cast<int64_t>(std::numeric_limits<double>::max())
         : type == DType::kUint64 ? -1
                                  : std::numeric_limits<int64_t>::max();
  for (size_t i : {size_t{1}, size_t{2}}) {
    if (!c.has_input(i)) continue;
    const Tensor& bound = *c.constant(i);
    if (bound.dtype() != type || bound.size() != 1) fail_type(c, i);
    (i == 1 ? p.lo : p.hi) = is_float ? std::bit_cast<int64_t>(bound.data<double>()[0]) : bound.integer_at(0);
  }
  return p;
}

Kernel prepare_clip(PrepareContext& c) {
  for (size_t i : {size_t{1}, size_t{2}}) {
    if (c.has_input(i) && !c.constant(i))
      c.fail(ErrorCode::kUnsupportedOperator, "a bound of Clip is computed while the model runs");
  }
  const DType type = c.dtype(0);
  if (type != DType::kFloat32 && type != DType::kFloat16) {
    if (Kernel k = prepare_each(c, Each::kClip, bounds_of(c))) return k;
    fail_type(c);
  }
  const Clamp clamp =
      clamp_of(c.has_input(1) ? c.constant(1) : nullptr, c.has_input(2) ? c.constant(2) : nullptr,
               type == DType::kFloat16 ? kLargestHalf : kLargest);
  return prepare_unary(c, kernels::Unary::kClamp, {.a = clamp.lo, .b = clamp.hi});
}

Tensor half(float value) {
  Tensor t(DType::kFloat16, {});
  *reinterpret_cast<uint16_t*>(t.mutable_raw()) = float_to_half(value);
  return t;
}

// A computed bound as Max and Min take it: a scalar. A NaN becomes the value that limits nothing, as in Clip:
// Max and Min of NaN would be NaN.
ValueId computed_bound(Canonicalize& c, size_t at) {
  ValueId bound = c.node.inputs[at];
  const DType type = c.graph[bound].dtype;
  const SymShape* shape = c.shape(at);
  if (!shape || !shape->empty())
    bound = c.add("Reshape", {bound, c.constant_value(c.node.name + "_scalar", Tensor(DType::kInt64, {0}))});
  if (!is_float(type)) return bound;
  const Tensor nothing = cast(Tensor::scalar(at == 1 ? -kInfinity : kInfinity), type);
  return c.add("Where",
               {c.add("IsNaN", {bound}), c.constant_value(c.node.name + "_no_bound", nothing), bound});
}

Tensor largest(DType type, bool negative) {
  if (type == DType::kFloat32) return Tensor::scalar(negative ? -kLargest : kLargest);
  constexpr double kLargestDouble = std::numeric_limits<double>::max();
  return Tensor::scalar(negative ? -kLargestDouble : kLargestDouble);
}

void require_number(const Canonicalize& c, size_t bound) {
  const SymShape* shape = c.shape(bound);
  const std::optional<Shape> dims = shape ? concrete(*shape) : std::nullopt;
  if (dims && element_count(*dims) != 1)
    c.fail(ErrorCode::kShapeMismatch, {"a bound of shape ", *shape, " is no single number"});
}

void canonicalize(Canonicalize& c) {
  Node& n = c.node;
  n.attributes.erase("consumed_inputs");
  n.inputs.resize(3, kNoValue);
  const DType type = c.graph[n.inputs[0]].dtype;
  if (c.version < 11) {
    for (const auto& [key, at] : {std::pair{"min", size_t{1}}, std::pair{"max", size_t{2}}}) {
      const auto found = n.attributes.find(key);
      if (found == n.attributes.end()) continue;
      const float bound = n.float_attribute(key, 0);
      Tensor tensor = cast(Tensor::scalar(bound), type == DType::kUndefined ? DType::kFloat32 : type);
      n.inputs[at] = c.constant_value(n.name + "_" + key, std::move(tensor));
      n.attributes.erase(found);
    }
  }
  if (type == DType::kFloat16) {  // which may be computed in float32, where the largest number is another
    if (n.inputs[1] == kNoValue) n.inputs[1] = c.constant_value(n.name + "_min", half(-kLargestHalf));
    if (n.inputs[2] == kNoValue) n.inputs[2] = c.constant_value(n.name + "_max", half(kLargestHalf));
  }
  const ValueId x = n.inputs[0];
  bool computed = false;
  for (size_t i : {size_t{1}, size_t{2}}) {
    require_number(c, i);
    computed = computed || (n.inputs[i] != kNoValue && !c.constant(i));
  }
  if (computed)
    for (size_t i : {size_t{1}, size_t{2}})
      if (n.inputs[i] != kNoValue) n.inputs[i] = computed_bound(c, i);
  // Infinities are limited where a bound is absent.
  if (computed && (type == DType::kFloat32 || type == DType::kFloat64))
    for (size_t i : {size_t{1}, size_t{2}})
      if (n.inputs[i] == kNoValue) n.inputs[i] = c.constant_value(n.name + "_limit", largest(type, i == 1));
  const ValueId lo = n.inputs[1], hi = n.inputs[2];
  while (n.inputs.back() == kNoValue) n.inputs.pop_back();
  if (!computed) return c.keep();
  if (lo == kNoValue) return c.finish("Min", {x, hi});
  if (hi == kNoValue) return c.finish("Max", {x, lo});
  c.finish("Min", {c.add("Max", {x, lo}), hi});
}

// Bounds were attributes before opset 11.
void respell(Respell& r) {
  if (!r.before(11) || r.needed >= 11) return;
  for (const auto& [key, at] : {std::pair{"min", size_t{1}}, std::pair{"max", size_t{2}}}) {
    if (r.node.input(at) == kNoValue) continue;
    const Tensor* bound = r.constant(at);
    if (!bound || bound->size() != 1) return r.need(11);
    r.node.attributes.insert_or_assign(key, cast(*bound, DType::kFloat32).floats()[0]);
    r.node.inputs[at] = kNoValue;
  }
}

// ---- gradient

void gradient(Gradient& g) {
  const Clamp clamp = clamp_of(g.graph.constant(g.in(1)), g.graph.constant(g.in(2)));
  give_clamp_derivative(g, clamp.lo, clamp.hi);
}

// ---- rewrites

ValueId bound_constant(RewriteContext& r, const std::string& name, float bound) {
  return r.graph.add_constant(name, Tensor::scalar(bound));
}

Node make_clip(RewriteContext& r, const Node& like, ValueId x, float lo, float hi) {
  Node clip;
  clip.name = like.name;
  clip.op_type = "Clip";
  // Infinite bounds are written: without them, infinities would be limited.
  clip.inputs = {x, lo == -kLargest ? kNoValue : bound_constant(r, like.name + "_min", lo),
                 hi == kLargest ? kNoValue : bound_constant(r, like.name + "_max", hi)};
  while (clip.inputs.back() == kNoValue) clip.inputs.pop_back();
  clip.outputs = {like.outputs[0]};
  return clip;
}

// Max(x, c) and Min(x, c) with a scalar are Clips, which can be fused and have an integer form.
bool extreme_to_clip(RewriteContext& r) {
  const Node& n = r.node();
  const bool max = n.is("Max");
  if (!max && !n.is("Min")) return false;
  const auto operand = r.scalar_operand(n);
  if (!operand || r.graph[operand->other].dtype != DType::kFloat32 || r.graph.constant(operand->other))
    return false;
  const ValueId scalar = n.inputs[0] == operand->other ? n.inputs[1] : n.inputs[0];
  const std::optional<SymShape>& x = r.graph[operand->other].shape;
  const Tensor* bound = r.graph.constant(scalar);
  // [1, 1, 1, 1] would raise the rank of a smaller x.
  if (!bound->dims().empty() && (!x || x->size() < bound->dims().size())) return false;
  const float value = operand->scalar;
  if (std::isnan(value)) return false;  // a NaN bound of Clip is none
  r.replace({r.at()}, {make_clip(r, n, operand->other, max ? value : -kInfinity, max ? kInfinity : value)});
  return true;
}

std::optional<Clamp> float_clamp(const RewriteContext& r, const Node& n) {
  // Of an operator that is not known, any input may be absent.
  const bool relu = n.is("Relu");
  if (!relu && !n.is("Clip")) return std::nullopt;
  if (r.graph[n.inputs[0]].dtype != DType::kFloat32) return std::nullopt;
  if (relu) return Clamp{.lo = 0, .hi = kInfinity};
  for (size_t i : {size_t{1}, size_t{2}})
    if (n.input(i) != kNoValue && !r.scalar(n.input(i))) return std::nullopt;
  return clamp_of(r.graph.constant(n.input(1)), r.graph.constant(n.input(2)));
}

// Two clamps in a row are one.
bool merge_clamps(RewriteContext& r) {
  const Node& first = r.node();
  const auto a = float_clamp(r, first);
  if (!a) return false;
  const int32_t next = r.only_consumer(first.outputs[0]);
  if (next < 0) return false;
  const Node& second = r.node(next);
  if (second.input(0) != first.outputs[0]) return false;
  const auto b = float_clamp(r, second);
  if (!b) return false;
  const float lo = std::min(std::max(a->lo, b->lo), b->hi), hi = std::max(std::min(a->hi, b->hi), b->lo);
  if (!(a->lo <= a->hi) || !(b->lo <= b->hi)) return false;
  r.replace({r.at(), next}, {make_clip(r, second, first.inputs[0], lo, hi)});
  return true;
}

const RegisterRewrite kExtremeToClip({.name = "write Max and Min with a scalar as Clip",
                                      .apply = extreme_to_clip});
const RegisterRewrite kMergeClamps({.name = "merge two clamps", .apply = merge_clamps, .order = 1});

constexpr OpDef kClip = {.name = "Clip",
                         .inputs = "input min? max?",
                         .opsets = "7F 12cCsSiIlL 13b",
                         .infer = infer_same,
                         .prepare = prepare_clip,
                         .layout = any_layout,
                         .unary = true,
                         .as_clamp = as_clamp,
                         .quant = {.kind = QuantRule::Kind::kRescaled},
                         .canonicalize = canonicalize,
                         .respell = respell,
                         .gradient = gradient};
const RegisterOps kRegistered({&kClip});

}  // namespace
}  // namespace zp
