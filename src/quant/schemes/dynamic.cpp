// Weights ahead of time; activations by DynamicQuantizeLinear in each run, so that nothing is calibrated.
#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "quant/scheme.h"

namespace zp::quant {
namespace {

using Kind = QuantRule::Kind;

void check(const Config& c) {
  if (bits_of(c.weights) != 8)
    throw_error(ErrorCode::kInvalidArgument, "weights of dynamic quantization have 8 bits",
                {.hint = "weights: 'int8' or 'uint8'; for 4 bits use mode 'weight-only'"});
  if (c.activations != DType::kUint8)
    throw_error(ErrorCode::kInvalidArgument, "DynamicQuantizeLinear gives uint8",
                {.hint = "activations: 'uint8', or mode 'static'"});
  if (c.quantized_inputs || c.quantized_outputs)
    throw_error(ErrorCode::kInvalidArgument, "inputs and outputs have no fixed scale in dynamic quantization",
                {.hint = "use mode 'static' for integer inputs and outputs"});
}

// A row that a mask of infinities hides wholly is NaN, and DynamicQuantizeLinear, as it is defined, has no
// range for an activation with a NaN in it.
void warn_of_masks(Planner& p) {
  constexpr int64_t kLargestMask = 65536;  // larger constants are weights
  for (size_t v = 0; v < p.graph.values.size(); ++v) {
    const Tensor* t = p.graph.constant(static_cast<ValueId>(v));
    if (!t || t->dtype() != DType::kFloat32 || t->size() > kLargestMask || p.index.consumers[v].empty())
      continue;
    if (!std::ranges::any_of(t->data<float>(), [](float x) { return std::isinf(x); })) continue;
    const auto is_bound = [&](int32_t i) { return p.def(i) && p.def(i)->as_clamp; };  // limits nothing
    if (std::ranges::all_of(p.index.consumers[v], is_bound)) continue;
    p.plan.warnings.push_back(
        "'" + p.graph.values[v].name +
        "' holds infinity: where it masks a whole row, the model computes NaN, and in such a "
        "run an activation has no range to take (mode 'static' leaves NaN out of ranges)");
    return;
  }
}

// A recurrence with integers for all that it multiplies with: W and R of an LSTM.
bool is_whole_recurrence(Planner& p, int32_t i) {
  const NodePlan& n = p.at(i);
  return n.quantized && n.weights != DType::kFloat16 && !n.more_slots.empty() && !n.data.empty() &&
         p.precision(i).activations != DType::kUndefined;
}

// Its input becomes uint8 in each run, as DynamicQuantizeLSTM takes it (ops/lstm_quantized.cpp), which has
// zero points of channels only where they are all the same.
void recur(Planner& p, int32_t i) {
  const bool middle = is_signed_integer(p.at(i).weights) && p.config.symmetric_weights;
  p.quantize_weights(i, p.at(i).weights, middle ? p.at(i).grouping : Grouping{},
                     "its input becomes uint8 in each run");
  p.at(i).activations = DType::kUint8;
}

void decide(Planner& p) {
  p.quantize_stored();
  bool in_integers = false;
  for (int32_t i = 0; i < p.count(); ++i) {
    NodePlan& n = p.at(i);
    if (is_whole_recurrence(p, i)) {
      recur(p, i);
      in_integers = true;
    }
    if (!p.allowed(i) || n.quantized) continue;
    if (p.kind(i) != Kind::kProduct) {
      n.why = "keeps float values: only layers with weights are quantized dynamically";
    } else if (p.weight(i) == kNoValue) {
      n.why = "both factors are computed: rounding them in each run would gain nothing";
    } else if (p.precision(i).weights == DType::kUndefined || bits_of(p.precision(i).weights) < 8) {
      n.why = "kept in float by its own precision";
    } else {
      const bool integers = p.precision(i).activations != DType::kUndefined;
      const std::string_view words = integers                ? "activations become uint8 in each run"
                                     : p.before_logarithm(i) ? Planner::kBeforeLogarithm
                                                             : "activations stay float32";
      p.quantize_weights(i, p.precision(i).weights, integers ? p.integer_channels(i) : p.channels(i),
                         std::string(words));
      if (integers) n.activations = DType::kUint8;
      in_integers = in_integers || integers;
    }
  }
  if (in_integers) warn_of_masks(p);
}

void place(Placement& placement, int32_t i) {
  const NodePlan& plan = placement.plan.nodes[static_cast<size_t>(i)];
  Node n = placement.node(i);
  if (plan.weights != DType::kUndefined && plan.weight_slot >= 0) {
    if (plan.activations != DType::kUndefined) {
      for (size_t k = 0; k < n.inputs.size(); ++k)
        for (ValueId v : plan.data)
          if (n.inputs[k] == v) {
            n.inputs[k] = placement.dynamically_quantized(v);
            break;
          }
    }
    placement.weights_into(i, n, kNoValue, 0);
  }
  placement.emit(std::move(n));
}

const RegisterScheme kDynamic(
    {.name = "dynamic",
     .title = "ranges at run time",
     .sentence = "Integer weights; activations are quantized in each run, with the range they then have.",
     .dynamic = true,
     .form = [](const Config&) { return kQoperator; },
     .check = check,
     .decide = decide,
     .place = place});

}  // namespace
}  // namespace zp::quant
