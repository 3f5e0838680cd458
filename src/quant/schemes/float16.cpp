// Values as float16, weights and activations: half the size and half the memory, where runtimes compute with
// float16 (WebGPU). quant/half.h says which layers stay float32, and where the Casts are. Here float16
// weights of layers that compute in float32 are placed; all others follow in stages/half.cpp.
#include "quant/half.h"
#include "quant/scheme.h"

namespace zp::quant {
namespace {

void decide(Planner& p) { decide_halves(p); }

void place(Placement& placement, int32_t i) {
  Node n = placement.node(i);
  const NodePlan& plan = placement.plan.nodes[static_cast<size_t>(i)];
  if (!plan.half && plan.weights == DType::kFloat16) placement.weights_into(i, n, kNoValue, 0);
  placement.emit(std::move(n));
}

const RegisterScheme kFloat16(
    {.name = "float16",
     .title = "half precision",
     .sentence = "Weights and activations become float16: half the size and half the memory.",
     .more = ZP_MORE(
         "WebGPU computes with float16. Layers that would overflow or lose much stay float32: rules find "
         "them, "
         "and with `calibration` the samples too. The report names them, and says why. For float16 weights "
         "that are computed in float32, use `weight-only` with `weights: 'float16'`."),
     .halves = true,
     .decide = decide,
     .place = place});

}  // namespace
}  // namespace zp::quant
