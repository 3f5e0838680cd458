// Values as float16, weights and activations: half the size and half the memory, where runtimes compute with
// float16 (WebGPU). Which layers stay float32, and where the Casts are: quant/half.h. What is placed here are
// float16 weights of layers that are to compute in float32; all others follow in stages/half.cpp.
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
     .sentence = "Values as float16, weights and activations: half the size and the memory.",
     .more = ZP_MORE(
         "As WebGPU computes. Layers that would overflow or lose much stay float32: by rules, and with "
         "`calibration` by what the samples show; the report says which, and why. Weights alone as float16, "
         "computed in float32: `weight-only` with `weights: 'float16'`."),
     .halves = true,
     .decide = decide,
     .place = place});

}  // namespace
}  // namespace zp::quant
