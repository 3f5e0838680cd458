// HardSwish, and the ways in which exporters write it and HardSigmoid: with Add, Clip, Mul and Div.
#include <cmath>

#include "ops/gradient.h"
#include "ops/rewrite.h"
#include "ops/unary.h"

namespace zp {
namespace {

Kernel prepare(PrepareContext& c) { return prepare_unary(c, kernels::Unary::kHardSwish); }

float derivative(float x, float dy, float, float) { return x <= -3 ? 0 : x >= 3 ? dy : dy * (2 * x + 3) / 6; }
void gradient(Gradient& g) { give_derivative(g, derivatives<derivative>, false); }

bool near(std::optional<float> value, float wanted) {
  return value && std::fabs(*value - wanted) <= 1e-5f * std::fabs(wanted);
}

// Clip(Add(x, 3), 0, 6): gives x, and the nodes.
struct Shifted {
  ValueId x;
  int32_t add, clip;
};
std::optional<Shifted> shifted_relu6(const RewriteContext& r, ValueId v) {
  const int32_t clip = r.producer(v);
  if (clip < 0 || !r.node(clip).is("Clip")) return std::nullopt;
  const Node& c = r.node(clip);
  if (r.scalar(c.input(1)) != 0.0f || !near(r.scalar(c.input(2)), 6)) return std::nullopt;
  const int32_t add = r.producer(c.inputs[0]);
  if (add < 0 || !r.node(add).is("Add")) return std::nullopt;
  const auto operand = r.scalar_operand(r.node(add));
  if (!operand || !near(operand->scalar, 3) || r.graph[operand->other].dtype != DType::kFloat32)
    return std::nullopt;
  return Shifted{operand->other, add, clip};
}

// The value that `n` divides by six (or multiplies by a sixth); kNoValue.
ValueId divided_by_six(const RewriteContext& r, const Node& n) {
  if (n.is("Div") && n.inputs.size() == 2 && near(r.scalar(n.inputs[1]), 6)) return n.inputs[0];
  if (!n.is("Mul")) return kNoValue;
  const auto operand = r.scalar_operand(n);
  return operand && near(operand->scalar, 1.0f / 6) ? operand->other : kNoValue;
}

// A scalar of more dimensions than x would raise the rank of the result.
bool keeps_rank(const RewriteContext& r, const Node& n, ValueId x) {
  const auto &in = r.graph[x].shape, &out = r.graph[n.outputs[0]].shape;
  return in && out && in->size() == out->size();
}

Node make(std::string_view type, const Node& like, ValueId x) {
  Node n;
  n.name = like.name;
  n.op_type = type;
  n.inputs = {x};
  n.outputs = {like.outputs[0]};
  return n;
}

// Values that other nodes read stay: remove_unused drops only nodes whose values no node reads.
bool find_hard_sigmoid(RewriteContext& r) {
  const Node& n = r.node();
  const auto from = shifted_relu6(r, divided_by_six(r, n));
  if (!from || !keeps_rank(r, n, from->x)) return false;
  Node made = make("HardSigmoid", n, from->x);
  made.attributes.emplace("alpha", 1.0f / 6);
  made.attributes.emplace("beta", 0.5f);
  r.replace({r.at()}, {std::move(made)});
  return true;
}

// x * Clip(x + 3, 0, 6) / 6
bool find_divided_product(RewriteContext& r) {
  const Node& n = r.node();
  const int32_t mul = r.producer(divided_by_six(r, n));
  if (mul < 0 || !r.node(mul).is("Mul") || r.node(mul).inputs.size() != 2) return false;
  const std::vector<ValueId>& in = r.node(mul).inputs;
  for (const size_t side : {size_t{0}, size_t{1}}) {
    const auto from = shifted_relu6(r, in[side]);
    if (!from || from->x != in[1 - side] || !keeps_rank(r, n, from->x)) continue;
    r.replace({r.at()}, {make("HardSwish", n, from->x)});
    return true;
  }
  return false;
}

// x * HardSigmoid(x)
bool find_gated(RewriteContext& r) {
  const Node& n = r.node();
  if (!n.is("Mul") || n.inputs.size() != 2) return false;
  for (const size_t side : {size_t{0}, size_t{1}}) {
    const int32_t gate = r.producer(n.inputs[side]);
    if (gate < 0 || !r.node(gate).is("HardSigmoid") || r.node(gate).inputs[0] != n.inputs[1 - side]) continue;
    if (!near(r.node(gate).float_attribute("alpha", 0.2f), 1.0f / 6) ||
        r.node(gate).float_attribute("beta", 0.5f) != 0.5f) {
      continue;
    }
    r.replace({r.at()}, {make("HardSwish", n, n.inputs[1 - side])});
    return true;
  }
  return false;
}

const RegisterRewrite kFindHardSigmoid({.name = "write Add-Clip-Div as HardSigmoid",
                                        .apply = find_hard_sigmoid,
                                        .order = -2});
const RegisterRewrite kFindProduct({.name = "write Add-Clip-Mul-Div as HardSwish",
                                    .apply = find_divided_product,
                                    .order = -2});
const RegisterRewrite kFindGated({.name = "write a product with its HardSigmoid as HardSwish",
                                  .apply = find_gated,
                                  .order = -1});

// For opsets before 14.
void spell_out(Canonicalize& c) {
  const ValueId x = c.node.input(0);
  c.finish("Mul", {x, c.add("HardSigmoid", {x}, {{"alpha", 1.0f / 6}, {"beta", 0.5f}})});
}

// An 8-bit value with the range 0 to 6 saturates as Clip(x + 3, 0, 6) does, and another scale divides it by
// 6.
void spell_in_pieces(Pieces& p) {
  const ValueId x = p.to.node.input(0);
  const ValueId gate = p.to.add("Add", {x, p.to.number(3)});
  p.rounded.push_back({.value = gate, .lo = 0, .hi = 6, .factor = 1.0f / 6});
  p.to.finish("Mul", {x, gate});
}

constexpr OpDef kHardSwish = {.name = "HardSwish",
                              .opsets = "14F 22b",
                              .since = 14,
                              .infer = infer_same,
                              .prepare = prepare,
                              .layout = any_layout,
                              .unary = true,
                              .quant = {.kind = QuantRule::Kind::kRescaled},
                              .expand = spell_out,
                              .pieces = spell_in_pieces,
                              .gradient = gradient};
const RegisterOps kRegistered({&kHardSwish});

}  // namespace
}  // namespace zp
