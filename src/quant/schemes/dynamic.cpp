// Weights ahead of time; activations by DynamicQuantizeLinear in each run, so that nothing is calibrated.
#include <algorithm>
#include <cmath>

#include "core/decimal.h"
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
    throw_error(ErrorCode::kInvalidArgument,
                "activations of dynamic quantization are uint8, as DynamicQuantizeLinear gives them",
                {.hint = "activations: 'uint8', or mode 'static'"});
  if (c.quantized_inputs || c.quantized_outputs)
    throw_error(ErrorCode::kInvalidArgument, "inputs and outputs have no fixed scale in dynamic quantization",
                {.hint = "use mode 'static' for integer inputs and outputs"});
}

// A row that a mask of infinities hides wholly is NaN behind a Softmax, and DynamicQuantizeLinear, as it is
// defined, has no range for a tensor with a NaN in it: layers that infinities reach read 0 there.
void guard_against_nan(Planner& p) {
  constexpr int64_t kLargestMask = 65536;  // larger constants are weights
  const auto is_float = [&](ValueId v) { return p.graph[v].dtype == DType::kFloat32; };
  const auto has_infinity = [&](ValueId v) {
    const Tensor* t = p.graph.constant(v);
    return t && is_float(v) && t->size() <= kLargestMask &&
           std::ranges::any_of(t->data<float>(), [](float x) { return std::isinf(x); });
  };
  std::vector<bool> reached(p.graph.values.size());
  std::string mask;
  size_t guarded = 0;
  for (int32_t i = 0; i < p.count(); ++i) {
    const Node& node = p.graph.nodes[static_cast<size_t>(i)];
    const bool is_bound = p.def(i) && p.def(i)->as_clamp;  // an infinite one limits nothing
    bool reads = false;
    for (ValueId v : node.inputs) {
      if (v == kNoValue || !is_float(v)) continue;
      if (!is_bound && has_infinity(v)) {
        reads = true;
        if (mask.empty()) mask = p.graph[v].name;
      }
      reads = reads || reached[static_cast<size_t>(v)];
    }
    if (!reads) continue;
    for (ValueId v : node.outputs)
      if (v != kNoValue && is_float(v)) reached[static_cast<size_t>(v)] = true;
    NodePlan& n = p.at(i);
    n.may_be_nan = n.quantized && n.activations != DType::kUndefined;
    guarded += n.may_be_nan ? 1 : 0;
  }
  if (guarded > 0)
    p.plan.warnings.push_back("'" + mask +
                              "' holds infinity: where it masks a whole row, the float model computes NaN; " +
                              counted(guarded, "layer") +
                              (guarded == 1 ? " after it reads" : " after it read") + " 0 instead of NaN");
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
  for (int32_t i = 0; i < p.count(); ++i) {
    NodePlan& n = p.at(i);
    if (is_whole_recurrence(p, i)) recur(p, i);
    if (!p.allowed(i) || n.quantized) continue;
    if (p.kind(i) != Kind::kProduct) {
      n.why = "keeps float values: only layers with weights are quantized dynamically";
    } else if (p.weight(i) == kNoValue) {
      n.why = "has no constant weight: rounding two computed factors in each run would gain nothing";
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
    }
  }
  guard_against_nan(p);
}

void place(Placement& placement, int32_t i) {
  const NodePlan& plan = placement.plan.nodes[static_cast<size_t>(i)];
  Node n = placement.node(i);
  if (plan.weights != DType::kUndefined && plan.weight_slot >= 0) {
    if (plan.activations != DType::kUndefined) {
      for (size_t k = 0; k < n.inputs.size(); ++k)
        for (ValueId v : plan.data)
          if (n.inputs[k] == v) {
            n.inputs[k] = placement.dynamically_quantized(v, plan.may_be_nan);
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
     .sentence = "Weights become integers. Each run quantizes activations, with the ranges that it sees.",
     .dynamic = true,
     .form = [](const Config&) { return kQoperator; },
     .check = check,
     .decide = decide,
     .place = place});

}  // namespace
}  // namespace zp::quant
