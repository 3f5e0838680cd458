// Weights as float16 behind a Cast: half the size at an error of about 2^-11, without samples. The runtime
// casts once, when it loads the model.
#include "quant/scheme.h"

namespace zp::quant {
namespace {

void decide(Planner& p) {
  for (int32_t i = 0; i < p.count(); ++i) {
    if (!p.allowed(i)) continue;
    if (p.at(i).weight == kNoValue) {
      p.at(i).why = "has no constant weight";
    } else {
      p.quantize_weights(i, DType::kFloat16, {}, "it computes in float32");
    }
  }
}

void place(Placement& placement, int32_t i) {
  Node n = placement.node(i);
  const NodePlan& plan = placement.plan.nodes[static_cast<size_t>(i)];
  if (plan.quantized && plan.weight_slot >= 0) {
    // The bias stays: it is small, and its error would not average out.
    placement.weights_into(i, n, kNoValue, 0);
  }
  placement.emit(std::move(n));
}

const RegisterScheme kFloat16({.name = "float16", .decide = decide, .place = place});

}  // namespace
}  // namespace zp::quant
