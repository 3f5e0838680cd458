// Activation functions of one element. Clip is in clip.cpp, PRelu with the operators that broadcast.
#include <algorithm>
#include <cmath>

#include "ops/gradient.h"
#include "ops/known_range.h"
#include "ops/product/qdq.h"
#include "ops/rewrite.h"
#include "ops/unary.h"

namespace zp {
namespace {

using enum kernels::Unary;

template <kernels::Unary kFunction>
Kernel prepare(PrepareContext& c) {
  return prepare_unary(c, kFunction);
}

// Parameter a is attribute alpha, with the default of the specification.
template <kernels::Unary kFunction, float kAlpha>
Kernel prepare_alpha(PrepareContext& c) {
  return prepare_unary(c, kFunction, {.a = c.node().float_attribute("alpha", kAlpha)});
}

Kernel prepare_relu(PrepareContext& c) {
  if (Kernel k = prepare_each(c, Each::kRelu)) return k;
  return prepare_unary(c, kClamp, {.a = 0, .b = std::numeric_limits<float>::infinity()});
}

Kernel prepare_selu(PrepareContext& c) {
  return prepare_unary(c, kSelu,
                       {.a = c.node().float_attribute("alpha", 1.67326319217681884765625f),
                        .b = c.node().float_attribute("gamma", 1.05070102214813232421875f)});
}

Kernel prepare_hard_sigmoid(PrepareContext& c) {
  return prepare_unary(
      c, kHardSigmoid,
      {.a = c.node().float_attribute("alpha", 0.2f), .b = c.node().float_attribute("beta", 0.5f)});
}

Kernel prepare_shrink(PrepareContext& c) {
  return prepare_unary(
      c, kShrink,
      {.a = c.node().float_attribute("lambd", 0.5f), .b = c.node().float_attribute("bias", 0.0f)});
}

// Opset 1 rounded the defaults.
void canonicalize_selu(Canonicalize& c) {
  if (c.version < 6) {
    c.node.attributes.try_emplace("alpha", 1.6732f);
    c.node.attributes.try_emplace("gamma", 1.0507f);
  }
  drop_consumed_inputs(c);
}

std::optional<Clamp> relu_as_clamp(const InferContext& c) {
  if (c.dtype(0) != DType::kFloat32) return std::nullopt;
  return Clamp{.lo = 0, .hi = std::numeric_limits<float>::infinity()};
}

// x + beta / alpha as an 8-bit value with the range 0 to 1 / alpha saturates where HardSigmoid does, and its
// scale multiplies it by alpha.
void hard_sigmoid_in_pieces(Pieces& p) {
  const Node& n = p.to.node;
  const float alpha = n.float_attribute("alpha", 0.2f), beta = n.float_attribute("beta", 0.5f);
  if (!(alpha > 0)) return;
  const ValueId sum = p.to.add("Add", {n.input(0), p.to.number(beta / alpha)});
  p.rounded.push_back({.value = sum, .lo = 0, .hi = 1 / alpha, .factor = alpha, .as = n.output(0)});
}

constexpr QuantRule kRescaled{.kind = QuantRule::Kind::kRescaled};

template <int kLo, int kHi>
constexpr QuantRule kWithin{.kind = QuantRule::Kind::kRescaled, .range = always_within<kLo, kHi>};

constexpr OpDef activation(std::string_view name, std::string_view opsets, Kernel (*prepare)(PrepareContext&),
                           QuantRule quant = kRescaled) {
  return {.name = name,
          .opsets = opsets,
          .infer = infer_same,
          .prepare = prepare,
          .layout = any_layout,
          .unary = true,
          .quant = quant,
          .canonicalize = drop_consumed_inputs};
}

// ---- gradients

float leaky_relu_derivative(float x, float dy, float alpha, float) { return x < 0 ? alpha * dy : dy; }
float elu_derivative(float x, float dy, float alpha, float) { return x < 0 ? dy * alpha * std::exp(x) : dy; }
float hard_sigmoid_derivative(float x, float dy, float alpha, float beta) {
  const float y = alpha * x + beta;
  return y > 0 && y < 1 ? alpha * dy : 0;
}

void relu_gradient(Gradient& g) { give_clamp_derivative(g, 0, std::numeric_limits<float>::infinity()); }
void leaky_relu_gradient(Gradient& g) {
  give_derivative(g, derivatives<leaky_relu_derivative>, false, g.node.float_attribute("alpha", 0.01f));
}
void elu_gradient(Gradient& g) {
  give_derivative(g, derivatives<elu_derivative>, false, g.node.float_attribute("alpha", 1.0f));
}
void hard_sigmoid_gradient(Gradient& g) {
  give_derivative(g, derivatives<hard_sigmoid_derivative>, false, g.node.float_attribute("alpha", 0.2f),
                  g.node.float_attribute("beta", 0.5f));
}
void sigmoid_gradient(Gradient& g) { g.give_formulas({"Mul(dy, Mul(y, Sub(1, y)))"}); }
void tanh_gradient(Gradient& g) { g.give_formulas({"Mul(dy, Sub(1, Mul(y, y)))"}); }
void softplus_gradient(Gradient& g) { g.give_formulas({"Mul(dy, Sigmoid(a))"}); }

constexpr OpDef differentiable(OpDef def, void (*gradient)(Gradient&)) {
  def.gradient = gradient;
  return def;
}

constexpr OpDef relu() {
  OpDef def = activation("Relu", "7F 13b 14csil", prepare_relu);
  def.as_clamp = relu_as_clamp;
  def.gradient = relu_gradient;
  return def;
}

// com.microsoft's QLinear forms of functions of one element: x, x_scale, x_zero_point, y_scale, y_zero_point.
// Zero points may be absent.
template <const char* kFloatName>
void expand_qlinear(Canonicalize& c) {
  const ValueId x = c.add("DequantizeLinear", {c.node.input(0), c.node.input(1), c.node.input(2)});
  std::vector<std::pair<std::string, Attribute>> attributes(c.node.attributes.begin(),
                                                            c.node.attributes.end());
  const ValueId y = c.add(kFloatName, {x}, std::move(attributes));
  c.finish("QuantizeLinear", {y, c.node.input(3), c.node.input(4)});
}

template <const char* kQLinearName>
bool fold_qlinear(Fold& f) {
  if (f.inputs.size() != 1 || !are_plain_8_bit(f)) return false;
  const QuantizedEdge &x = *f.inputs[0], &y = *f.output;
  Node n;
  n.name = f.node.name;
  n.domain = kMicrosoft;
  n.op_type = kQLinearName;
  n.inputs = {x.quantized, x.scale, x.zero_point, y.scale, y.zero_point};
  n.outputs = {y.quantized};
  n.attributes = f.node.attributes;
  f.nodes.push_back(std::move(n));
  return true;
}

constexpr char kSigmoidName[] = "Sigmoid", kQLinearSigmoidName[] = "QLinearSigmoid";
constexpr char kLeakyReluName[] = "LeakyRelu", kQLinearLeakyReluName[] = "QLinearLeakyRelu";

template <const char* kQLinearName>
constexpr OpDef foldable(OpDef def) {
  def.fold = fold_qlinear<kQLinearName>;
  return def;
}

constexpr OpDef homogeneous(OpDef def) {
  def.homogeneous = true;
  return def;
}

constexpr OpDef kReluOp = relu();
constexpr OpDef kLeakyReluOp = homogeneous(foldable<kQLinearLeakyReluName>(differentiable(
    activation(kLeakyReluName, "7F 16b", prepare_alpha<kLeakyRelu, 0.01f>), leaky_relu_gradient)));
constexpr OpDef kEluOp = differentiable(activation("Elu", "7F 22b", prepare_alpha<kElu, 1.0f>), elu_gradient);
constexpr OpDef selu() {
  OpDef def = activation("Selu", "7F 22b", prepare_selu);
  def.canonicalize = canonicalize_selu;
  return def;
}
constexpr OpDef kSeluOp = selu();
constexpr OpDef kCeluOp = activation("Celu", "12f 28dhb", prepare_alpha<kCelu, 1.0f>);
constexpr OpDef kThresholdedReluOp =
    activation("ThresholdedRelu", "10F 22b", prepare_alpha<kThresholdedRelu, 1.0f>);
constexpr OpDef kSigmoidOp = foldable<kQLinearSigmoidName>(
    differentiable(activation(kSigmoidName, "7F 13b", prepare<kSigmoid>, kWithin<0, 1>), sigmoid_gradient));
constexpr OpDef hard_sigmoid() {
  OpDef def = differentiable(activation("HardSigmoid", "7F 22b", prepare_hard_sigmoid, kWithin<0, 1>),
                             hard_sigmoid_gradient);
  def.pieces = hard_sigmoid_in_pieces;
  return def;
}
constexpr OpDef kHardSigmoidOp = hard_sigmoid();
constexpr OpDef kTanhOp =
    differentiable(activation("Tanh", "7F 13b", prepare<kTanh>, kWithin<-1, 1>), tanh_gradient);
constexpr OpDef kSoftplusOp =
    differentiable(activation("Softplus", "7F 22b", prepare<kSoftplus>), softplus_gradient);
constexpr OpDef kSoftsignOp = activation("Softsign", "7F 22b", prepare<kSoftsign>, kWithin<-1, 1>);
constexpr OpDef kMishOp = activation("Mish", "18F 22b", prepare<kMish>);
constexpr OpDef kShrinkOp = activation("Shrink", "9N", prepare_shrink);

constexpr OpDef kQLinearSigmoidOp = {.domain = kMicrosoft,
                                     .name = kQLinearSigmoidName,
                                     .inputs = "X X_scale X_zero_point? Y_scale Y_zero_point?",
                                     .canonicalize = expand_qlinear<kSigmoidName>};
constexpr OpDef kQLinearLeakyReluOp = {.domain = kMicrosoft,
                                       .name = kQLinearLeakyReluName,
                                       .inputs = "X X_scale X_zero_point? Y_scale Y_zero_point?",
                                       .canonicalize = expand_qlinear<kLeakyReluName>};
const RegisterOps kRegistered({&kReluOp, &kLeakyReluOp, &kEluOp, &kSeluOp, &kCeluOp, &kThresholdedReluOp,
                               &kSigmoidOp, &kHardSigmoidOp, &kTanhOp, &kSoftplusOp, &kSoftsignOp, &kMishOp,
                               &kShrinkOp, &kQLinearSigmoidOp, &kQLinearLeakyReluOp});

}  // namespace
}  // namespace zp
