// Weights as float16 behind a Cast: half the size at an error of about 2^-11, without samples. The runtime
// casts once, when it loads the model.
#include <algorithm>
#include <cmath>

#include "quant/scheme.h"

namespace zp::quant {
namespace {

constexpr float kLargest = 65504;  // of float16 (IEEE 754-2008, binary16)

ValueId constant_of(const Planner& p, int32_t i) {
  return p.weight(i) != kNoValue ? p.weight(i) : p.table(i);
}

void decide(Planner& p) {
  for (int32_t i = 0; i < p.count(); ++i) {
    NodePlan& n = p.at(i);
    if (!p.allowed(i)) continue;
    const ValueId w = constant_of(p, i);
    if (w == kNoValue) {
      n.why = "has no constant weight";
    } else if (std::ranges::any_of(p.graph.constant(w)->data<float>(),
                                   [](float v) { return !(std::abs(v) <= kLargest); })) {
      n.why = "has weights beyond what float16 holds";
    } else {
      n.quantized = true;
      n.weights = DType::kFloat16;
      n.why = "float16 weights; it computes in float32";
    }
  }
}

// The weight after its Cast, made once for all nodes that read it.
ValueId cast_weight(Placement& placement, ValueId w) {
  const std::string name = placement.graph[w].name + "_float32";
  for (const Node& made : placement.graph.nodes)
    if (made.op_type == "Cast" && made.name == name) return made.outputs[0];
  const Tensor& weight = *placement.prepared().constant(w);
  Tensor half(DType::kFloat16, weight.dims());
  auto* to = reinterpret_cast<uint16_t*>(half.mutable_raw());
  for (float v : weight.data<float>()) *to++ = float_to_half(v);
  Node cast;
  cast.name = name;
  cast.op_type = "Cast";
  cast.inputs = {placement.graph.add_constant(placement.graph[w].name + "_float16", std::move(half))};
  cast.outputs = {placement.graph.add_value(name, DType::kFloat32, placement.graph[w].shape)};
  cast.attributes.emplace("to", int64_t{1});  // TensorProto.FLOAT
  const ValueId out = cast.outputs[0];
  placement.emit(std::move(cast));
  return out;
}

void place(Placement& placement, int32_t i) {
  Node n = placement.node(i);
  const NodePlan& plan = placement.plan.nodes[static_cast<size_t>(i)];
  if (plan.quantized && plan.weight_slot >= 0) {
    // The bias stays: it is small, and its error would not average out.
    ValueId& w = n.inputs[static_cast<size_t>(plan.weight_slot)];
    w = cast_weight(placement, w);
  }
  placement.emit(std::move(n));
}

const RegisterScheme kFloat16({.name = "float16", .decide = decide, .place = place});

}  // namespace
}  // namespace zp::quant
