#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "quant/qdq.h"
#include "train/qat/codes.h"
#include "train/qat/learned.h"

namespace zp::train {
namespace {

struct ParameterInput {
  int at;
  bool is_bias;  // or a scale: weight decay leaves it alone
};

// Where an operator takes what training moves.
std::vector<ParameterInput> parameter_inputs(const OpDef* def) {
  std::vector<ParameterInput> inputs;
  if (!def) return inputs;
  const auto add = [&](int at, bool is_bias) {
    if (at >= 0) inputs.push_back({at, is_bias});
  };
  if (def->quant.kind == QuantRule::Kind::kProduct) {
    add(def->quant.weight, false);
    add(def->quant.bias, true);
  }
  add(def->gamma, true);
  add(def->beta, true);
  for (const int8_t at : def->weights) add(static_cast<int>(at), false);
  for (const int8_t at : def->biases) add(static_cast<int>(at), true);
  return inputs;
}

}  // namespace

Learned::Learned(quant::JobState& state) : state_(state), settings_(state.config.training) {
  find_weights();
  find_plain();
  find_activations();
}

bool Learned::is_narrow(const Weight& w) const {
  return settings_.weight_bits && settings_.weight_bits < bits_of(state_.weights[w.placed].spec.dtype);
}

// What is behind the integers of a weight: the floats of the model. Where a repair has rounded one otherwise
// than to the nearest it moves into the cell of its integer, so far that the first steps do not throw it out
// again.
Tensor Learned::latent(const Weight& w) const {
  constexpr float kReach = 0.25f;  // of a step, from the middle of a cell
  const quant::PlacedWeight& placed = state_.weights[w.placed];
  const Tensor& integers = *graph().constant(placed.integers);
  const Channels channels = channels_of(w.value.dims(), placed.spec.grouping.axis, w.scales.size());
  Tensor moved = Tensor::of<float>(w.value.dims(), w.value.data<float>());
  const std::span<float> x = moved.mutable_data<float>();
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = channels.at(static_cast<int64_t>(i));
    const auto code = static_cast<int32_t>(integers.integer_at(static_cast<int64_t>(i)));
    const auto whole = static_cast<float>(code - w.zero_points[c]);
    const float off = rounded(x[i], w.scales[c], w.zero_points[c], w.codes) - whole;
    if (off != 0) x[i] = (whole + std::copysign(kReach, off)) * w.scales[c];
  }
  return moved;
}

// The lower one of the two integers, less their zero points, that a rounding decides between: those around
// the weight, unless what it is now is neither of them.
std::vector<float> Learned::lower_codes(const Weight& w) const {
  const quant::PlacedWeight& placed = state_.weights[w.placed];
  const Tensor& integers = *graph().constant(placed.integers);
  const Channels channels = channels_of(w.value.dims(), placed.spec.grouping.axis, w.scales.size());
  const std::span<const float> x = state_.prepared->graph.constant(placed.weight)->data<float>();
  std::vector<float> low(x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const size_t c = channels.at(static_cast<int64_t>(i));
    const auto least = static_cast<float>(w.codes.min - w.zero_points[c]),
               most = static_cast<float>(w.codes.max - w.zero_points[c]);
    const auto now = static_cast<float>(integers.integer_at(static_cast<int64_t>(i)) - w.zero_points[c]);
    low[i] = std::clamp(std::floor(x[i] / w.scales[c]), now - 1, now);
    low[i] = std::clamp(low[i], least, most - 1);
  }
  return low;
}

// The argument of the sigmoid that gives the weight's place between its two integers. After a repair that
// chose the integers it lies near the chosen one.
Tensor Learned::rounding(const Weight& w, const std::vector<float>& low) const {
  constexpr float kTowards = 0.8f, kMargin = 0.02f;
  const quant::PlacedWeight& placed = state_.weights[w.placed];
  const Tensor& integers = *graph().constant(placed.integers);
  const Channels channels = channels_of(w.value.dims(), placed.spec.grouping.axis, w.scales.size());
  const std::span<const float> x = state_.prepared->graph.constant(placed.weight)->data<float>();
  std::vector<float> part(low.size()), now(low.size());
  bool chosen = false;
  for (size_t i = 0; i < low.size(); ++i) {
    const size_t c = channels.at(static_cast<int64_t>(i));
    part[i] = std::clamp(x[i] / w.scales[c] - low[i], 0.f, 1.f);
    now[i] = static_cast<float>(integers.integer_at(static_cast<int64_t>(i)) - w.zero_points[c]) - low[i];
    chosen = chosen || std::fabs(now[i] - part[i]) > 0.51f;
  }
  Tensor value(DType::kFloat32, w.value.dims());
  for (size_t i = 0; i < low.size(); ++i) {
    const float at = chosen ? part[i] + kTowards * (now[i] - part[i]) : part[i];
    const float sigmoid = (std::clamp(at, kMargin, 1 - kMargin) - kShift) / kStretch;
    value.mutable_data<float>()[i] = std::log(sigmoid / (1 - sigmoid));
  }
  return value;
}

IntegerRange Learned::activation_codes(DType dtype) const {
  IntegerRange codes = integer_range(dtype);
  const int bits = settings_.activation_bits;
  if (bits == 0 || bits >= bits_of(dtype)) return codes;
  if (state_.config.symmetric_activations) return middle_codes(dtype, bits);
  if (codes.min < 0) return middle_codes(dtype, bits);
  return {codes.min, codes.min + (1 << bits) - 1};
}

void Learned::find_weights() {
  std::set<ValueId> seen;
  for (size_t i = 0; i < state_.weights.size(); ++i) {
    const quant::PlacedWeight& p = state_.weights[i];
    if (p.spec.grouping.block_size > 0 || !seen.insert(p.integers).second) continue;
    // Only those of products: a table that is picked from has no gradient worth its memory.
    if (op_of(state_.prepared->graph.nodes[static_cast<size_t>(p.node)]).quant.kind !=
        QuantRule::Kind::kProduct)
      continue;
    // Nor one that is transposed first: it serves as a table too.
    if (state_.plan.nodes[static_cast<size_t>(p.node)].transposed_by >= 0) continue;
    Weight w;
    w.placed = i;
    w.value = *state_.prepared->graph.constant(p.weight);
    w.scales = graph().constant(p.scale)->floats();
    w.zero_points.assign(w.scales.size(), 0);
    if (const Tensor* z = graph().constant(p.zero_point))
      for (size_t c = 0; c < w.scales.size(); ++c)
        w.zero_points[c] = static_cast<int32_t>(z->integer_at(z->size() == 1 ? 0 : static_cast<int64_t>(c)));
    w.codes = integer_range(p.spec.dtype);
    if (p.spec.reduce_range && bits_of(p.spec.dtype) == 8) w.codes = middle_codes(p.spec.dtype, 7);
    w.name = state_.prepared->graph[p.weight].name;
    if (is_narrow(w)) w.codes = middle_codes(p.spec.dtype, settings_.weight_bits);
    weights_.push_back(std::move(w));
  }
  for (size_t i = 0; i < state_.biases.size(); ++i) {
    const quant::PlacedBias& p = state_.biases[i];
    const Tensor& integers = *graph().constant(p.integers);
    const std::vector<float> scales = graph().constant(p.scale)->floats();
    Tensor value(DType::kFloat32, integers.dims());
    for (size_t b = 0; b < static_cast<size_t>(value.size()); ++b)
      value.mutable_data<float>()[b] = static_cast<float>(integers.integer_at(static_cast<int64_t>(b))) *
                                       scales[scales.size() == 1 ? 0 : b];
    biases_.push_back({i, std::move(value), state_.prepared->graph[p.bias].name});
  }
}

// What operators read as floats.
void Learned::find_plain() {
  std::set<ValueId> seen;
  const GraphIndex prepared(state_.prepared->graph);
  for (const Node& n : graph().nodes) {
    int32_t node = -1;
    for (const ValueId v : n.outputs)
      if (v != kNoValue && static_cast<size_t>(v) < prepared.producer.size())
        node = prepared.producer[static_cast<size_t>(v)];
    for (const auto [at, is_bias] : parameter_inputs(find_op(n))) {
      const ValueId v = n.input(static_cast<size_t>(at));
      const Tensor* t = graph().constant(v);
      if (t && t->dtype() == DType::kFloat32 && seen.insert(v).second)
        plain_.push_back({v, is_bias, graph()[v].name, node});
    }
  }
}

void Learned::find_activations() {
  std::vector<bool> follows(graph().values.size(), false);
  for (const Node& n : graph().nodes) {
    const bool trained = !parameter_inputs(find_op(n)).empty() ||
                         std::any_of(n.inputs.begin(), n.inputs.end(), [&](ValueId v) {
                           return v != kNoValue && follows[static_cast<size_t>(v)];
                         });
    for (const ValueId v : n.outputs)
      if (v != kNoValue) follows[static_cast<size_t>(v)] = trained;
    if (!quant::is_quantize(n) || graph().constant(n.input(0))) continue;
    ValueId x = n.input(0), low = kNoValue, high = kNoValue;
    if (static_cast<size_t>(x) >= state_.plan.group.size()) {  // of the Clip that narrow() has put there
      for (const Node& clip : graph().nodes) {
        if (clip.output(0) != n.input(0) || clip.inputs.size() != 3) continue;
        x = clip.input(0);
        low = clip.input(1);
        high = clip.input(2);
      }
    }
    const int32_t group =
        static_cast<size_t>(x) < state_.plan.group.size() ? state_.plan.group[static_cast<size_t>(x)] : -1;
    if (group < 0) continue;
    activations_.push_back(
        {.x = x, .integers = n.output(0), .group = group, .follows = trained, .low = low, .high = high});
  }
  const GraphIndex index(graph());
  for (Activation& a : activations_) a.moved = only_moved(a, index);
}

// True if an operator that only moves values makes it, from activations of the same group.
bool Learned::only_moved(const Activation& a, const GraphIndex& index) const {
  const auto made_by = [&](ValueId v) { return producer_of(graph(), index, v); };
  const Node* maker = made_by(a.x);
  if (!maker) return false;
  const OpDef* def = find_op(*maker);
  if (!def || def->quant.kind != QuantRule::Kind::kSameScale || def->quant.blends) return false;
  const auto same = [&](ValueId v) {
    const Node* from = made_by(v);
    return from && quant::is_dequantize(*from) &&
           std::any_of(activations_.begin(), activations_.end(), [&](const Activation& other) {
             return other.integers == from->input(0) && other.group == a.group;
           });
  };
  const QuantRule::Inputs& data = def->quant.data;
  for (size_t i = 0; i < maker->inputs.size(); ++i)
    if ((data.all() || data.has(static_cast<int>(i))) && !same(maker->inputs[i])) return false;
  return true;
}

}  // namespace zp::train
