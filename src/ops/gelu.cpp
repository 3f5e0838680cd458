// Gelu, exact and with tanh, its forms in com.microsoft, and the ways exporters write it: with Div, Erf, Add
// and Mul, or with Tanh and a polynomial.
#include <cmath>
#include <numbers>

#include "ops/gradient.h"
#include "ops/rewrite.h"
#include "ops/unary.h"

namespace zp {
namespace {

Kernel prepare(PrepareContext& c) {
  const std::string how = c.node().string_attribute("approximate", "none");
  if (how != "none" && how != "tanh") c.fail(ErrorCode::kInvalidModel, {"approximate is '", how, "'"});
  return prepare_unary(c, how == "tanh" ? kernels::Unary::kGeluTanh : kernels::Unary::kGelu);
}

const char* const kTanh = "tanh";

// y = x Phi(x): Phi + x phi.
float derivative(float x, float dy, float, float) {
  constexpr float kDensity = std::numbers::inv_sqrtpi_v<float> / std::numbers::sqrt2_v<float>;
  const float phi = kDensity * std::exp(-x * x / 2);
  return dy * (0.5f * (1 + std::erf(x / std::numbers::sqrt2_v<float>)) + x * phi);
}
// y = x (1 + tanh u) / 2 with u = sqrt(2 / pi) (x + 0.044715 x^3).
float tanh_derivative(float x, float dy, float, float) {
  constexpr float kFactor = std::numbers::sqrt2_v<float> * std::numbers::inv_sqrtpi_v<float>;
  const float t = std::tanh(kFactor * (x + 0.044715f * x * x * x));
  return dy * (0.5f * (1 + t) + 0.5f * x * (1 - t * t) * kFactor * (1 + 3 * 0.044715f * x * x));
}
void gradient(Gradient& g) {
  const bool tanh = g.node.string_attribute("approximate", "none") == kTanh;
  give_derivative(g, tanh ? derivatives<tanh_derivative> : derivatives<derivative>, false);
}

// The formulas, for opsets before 20: x (1 + erf(x / sqrt 2)) / 2, and its approximation.
void spell_out(Canonicalize& c) {
  const ValueId x = c.node.input(0);
  ValueId inner = kNoValue;
  if (c.node.string_attribute("approximate", "none") == kTanh) {
    constexpr float kFactor = std::numbers::sqrt2_v<float> * std::numbers::inv_sqrtpi_v<float>;
    const ValueId cube = c.add("Mul", {x, c.add("Mul", {x, x})});
    const ValueId sum = c.add("Add", {x, c.add("Mul", {cube, c.number(0.044715f)})});
    inner = c.add("Tanh", {c.add("Mul", {sum, c.number(kFactor)})});
  } else {
    inner = c.add("Erf", {c.add("Div", {x, c.number(std::numbers::sqrt2_v<float>)})});
  }
  c.finish("Mul", {c.add("Mul", {x, c.add("Add", {inner, c.number(1)})}), c.number(0.5f)});
}

void expand_gelu(Canonicalize& c) { c.finish("Gelu", {c.node.input(0)}); }
void expand_bias_gelu(Canonicalize& c) {
  c.finish("Gelu", {c.add("Add", {c.node.input(0), c.node.input(1)})});
}
void expand_fast_gelu(Canonicalize& c) {
  const ValueId bias = c.node.input(1);
  const ValueId x = bias == kNoValue ? c.node.input(0) : c.add("Add", {c.node.input(0), bias});
  c.finish("Gelu", {x}, {{"approximate", std::string(kTanh)}});
}
void expand_quick_gelu(Canonicalize& c) {  // x sigmoid(alpha x)
  const ValueId alpha = c.number(c.node.float_attribute("alpha", 1.702f));
  const ValueId x = c.node.input(0);
  c.finish("Mul", {x, c.add("Sigmoid", {c.add("Mul", {x, alpha})})});
}

// Constants were rounded to half precision here and there.
bool near(float value, float wanted) { return std::fabs(value - wanted) <= 1e-3f * wanted; }

// 1 + erf(x / sqrt 2): gives x, or kNoValue.
ValueId one_plus_erf(const RewriteContext& r, ValueId v) {
  const int32_t add = r.producer(v);
  if (add < 0 || !r.node(add).is("Add")) return kNoValue;
  const auto one = r.scalar_operand(r.node(add));
  const int32_t erf = one && one->scalar == 1.0f ? r.producer(one->other) : -1;
  const int32_t scale = erf >= 0 && r.node(erf).is("Erf") ? r.producer(r.node(erf).inputs[0]) : -1;
  if (scale < 0) return kNoValue;
  const Node& n = r.node(scale);
  if (n.is("Div") && n.inputs.size() == 2) {
    const auto divisor = r.scalar(n.inputs[1]);
    return divisor && near(*divisor, std::sqrt(2.0f)) ? n.inputs[0] : kNoValue;
  }
  if (!n.is("Mul")) return kNoValue;
  const auto factor = r.scalar_operand(n);
  return factor && near(factor->scalar, std::sqrt(0.5f)) ? factor->other : kNoValue;
}

// The half of `v`: the value that it is half of, or kNoValue.
ValueId half_of(const RewriteContext& r, const Node& n) {
  if (n.is("Div") && n.inputs.size() == 2) return r.scalar(n.inputs[1]) == 2.0f ? n.inputs[0] : kNoValue;
  if (!n.is("Mul")) return kNoValue;
  const auto half = r.scalar_operand(n);
  return half && half->scalar == 0.5f ? half->other : kNoValue;
}

// A product of numbers, powers of x and at most one sum.
struct Factors {
  float number = 1;
  int power = 0;
  int32_t sum = -1;
  bool known = true;  // it has no others
};

void collect(const RewriteContext& r, ValueId v, ValueId x, Factors& f, int depth = 5) {
  if (v == x) {
    ++f.power;
    return;
  }
  const int32_t made_by = depth > 0 ? r.producer(v) : -1;
  const Node* n = made_by < 0 ? nullptr : &r.node(made_by);
  if (n && n->is("Mul") && n->inputs.size() == 2) {
    if (const auto number = r.scalar_operand(*n)) {
      f.number *= number->scalar;
      return collect(r, number->other, x, f, depth - 1);
    }
    collect(r, n->inputs[0], x, f, depth - 1);
    return collect(r, n->inputs[1], x, f, depth - 1);
  }
  const auto exponent = n && n->is("Pow") && n->inputs[0] == x ? r.scalar(n->inputs[1]) : std::nullopt;
  if (exponent == 2.0f || exponent == 3.0f) {
    f.power += static_cast<int>(*exponent);
  } else if (n && n->is("Add") && n->inputs.size() == 2 && f.sum < 0) {
    f.sum = made_by;
  } else {
    f.known = false;
  }
}

// Whether it is 1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)), or with x (1 + 0.044715 x^2).
bool is_one_plus_tanh(const RewriteContext& r, ValueId v, ValueId x) {
  const int32_t add = r.producer(v);
  if (add < 0 || !r.node(add).is("Add")) return false;
  const auto one = r.scalar_operand(r.node(add));
  const int32_t tanh = one && one->scalar == 1.0f ? r.producer(one->other) : -1;
  if (tanh < 0 || !r.node(tanh).is("Tanh")) return false;
  Factors u;
  collect(r, r.node(tanh).inputs[0], x, u);
  constexpr float kFactor = std::numbers::sqrt2_v<float> * std::numbers::inv_sqrtpi_v<float>;
  if (!u.known || u.sum < 0 || u.power > 1 || !near(u.number, kFactor)) return false;
  const Node& sum = r.node(u.sum);
  for (const size_t side : {size_t{0}, size_t{1}}) {
    const bool first = u.power == 0 ? sum.inputs[side] == x : r.scalar(sum.inputs[side]) == 1.0f;
    if (!first) continue;
    Factors c;
    collect(r, sum.inputs[1 - side], x, c);
    if (c.known && c.sum < 0 && c.power == 3 - u.power && near(c.number, 0.044715f)) return true;
  }
  return false;
}

// Is `a` times `b` the product x (1 + erf(x / sqrt 2)), or that with tanh, with the half in neither? Gives x.
ValueId erf_product(const RewriteContext& r, ValueId a, ValueId b, bool& tanh) {
  tanh = is_one_plus_tanh(r, b, a);
  return tanh || one_plus_erf(r, b) == a ? a : kNoValue;
}

bool find_gelu(RewriteContext& r) {
  const Node& n = r.node();
  ValueId x = kNoValue;
  bool tanh = false;
  // (x (1 + erf)) / 2
  const int32_t inner = r.producer(half_of(r, n));
  if (inner >= 0 && r.node(inner).is("Mul") && r.node(inner).inputs.size() == 2) {
    const std::vector<ValueId>& in = r.node(inner).inputs;
    x = erf_product(r, in[0], in[1], tanh);
    if (x == kNoValue) x = erf_product(r, in[1], in[0], tanh);
  }
  // (x / 2) (1 + erf), x ((1 + erf) / 2)
  if (x == kNoValue && n.is("Mul") && n.inputs.size() == 2) {
    for (const size_t side : {size_t{0}, size_t{1}}) {
      const int32_t half = r.producer(n.inputs[side]);
      const ValueId doubled = half < 0 ? kNoValue : half_of(r, r.node(half));
      if (doubled == kNoValue) continue;
      const ValueId other = n.inputs[1 - side];
      x = erf_product(r, doubled, other, tanh);
      if (x == kNoValue) x = erf_product(r, other, doubled, tanh);
      if (x != kNoValue) break;
    }
  }
  if (x == kNoValue || r.graph[x].dtype != DType::kFloat32) return false;
  const auto &in = r.graph[x].shape, &out = r.graph[n.outputs[0]].shape;
  if (!in || !out || in->size() != out->size()) return false;  // a constant of more dimensions
  Node gelu;
  gelu.name = n.name;
  gelu.op_type = "Gelu";
  gelu.inputs = {x};
  gelu.outputs = n.outputs;
  if (tanh) gelu.attributes.emplace("approximate", std::string(kTanh));
  r.replace({r.at()}, {std::move(gelu)});
  return true;
}

const RegisterRewrite kFindGelu({.name = "write x (1 + Erf) / 2 as Gelu, or with Tanh",
                                 .apply = find_gelu,
                                 .order = -2});

constexpr OpDef kGelu = {
    .name = "Gelu",
    .opsets = "20Fb",
    .since = 20,
    .infer = infer_same,
    .prepare = prepare,
    .layout = any_layout,
    .unary = true,
    .quant = {.kind = QuantRule::Kind::kFloat,
              .why_float = "between float products, a quantized Gelu costs accuracy and saves nothing"},
    .expand = spell_out,
    .gradient = gradient};
constexpr OpDef of_microsoft(std::string_view name, std::string_view inputs,
                             void (*canonicalize)(Canonicalize&)) {
  return {.domain = kMicrosoft,
          .name = name,
          .inputs = inputs,
          .canonicalize = canonicalize,
          .fused = true,
          .pieces_have_ranges = true};
}
constexpr OpDef microsoft_gelu() {
  OpDef def = of_microsoft("Gelu", "X", expand_gelu);
  def.opsets = "9F";  // ONNX Runtime has a kernel for float32 alone, else a function with Erf
  return def;
}
constexpr OpDef kMicrosoftGelu = microsoft_gelu();
constexpr OpDef kBiasGelu = of_microsoft("BiasGelu", "A B", expand_bias_gelu);
constexpr OpDef kFastGelu = of_microsoft("FastGelu", "X bias?", expand_fast_gelu);
constexpr OpDef kQuickGelu = of_microsoft("QuickGelu", "X", expand_quick_gelu);
const RegisterOps kRegistered({&kGelu, &kMicrosoftGelu, &kBiasGelu, &kFastGelu, &kQuickGelu});

}  // namespace
}  // namespace zp
