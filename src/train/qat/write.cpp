#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "quant/qdq.h"
#include "train/qat/codes.h"
#include "train/qat/learned.h"

namespace zp::train {

void Learned::store(const std::vector<Parameter>& parameters) {
  const auto value_of = [&](const std::string& name) -> const Tensor* {
    for (const Parameter& p : parameters)
      if (std::string_view(p.name).substr(kPrefix.size()) == name) return &p.value;
    return nullptr;
  };
  for (Weight& w : weights_) {
    if (const Tensor* t = value_of(w.name + std::string(kRounding))) take_rounding(w, *t);
    if (const Tensor* t = value_of(w.name + "/scale")) w.scales = t->floats();
    const Tensor* value = value_of(w.name);
    w.value = value ? *value : latent(w);  // without training, the integers stay
  }
  for (Bias& b : biases_)
    if (const Tensor* t = value_of(b.name)) b.value = *t;
  for (const Plain& p : plain_)
    if (const Tensor* t = value_of(p.name)) state_.result->graph[p.value].constant = *t;
  for (size_t g = 0; g < state_.params.size(); ++g) {
    if (const Tensor* t = value_of(group_name(g) + "/scale")) state_.params[g].scale = t->floats()[0];
    if (const Tensor* t = value_of(group_name(g) + "/zero"))
      state_.params[g].zero_point = static_cast<int32_t>(std::nearbyint(t->floats()[0]));
  }
  write();
}

void Learned::take_rounding(const Weight& w, const Tensor& rounding) {
  const quant::PlacedWeight& placed = state_.weights[w.placed];
  const Channels channels = channels_of(w.value.dims(), placed.spec.grouping.axis, w.scales.size());
  const std::vector<float> low = lower_codes(w);
  const std::span<const float> v = rounding.data<float>();
  std::vector<int32_t> q(low.size());
  for (size_t i = 0; i < q.size(); ++i)
    q[i] = static_cast<int32_t>(low[i]) + (v[i] > 0 ? 1 : 0) +
           w.zero_points[channels.at(static_cast<int64_t>(i))];
  state_.result->graph[placed.integers].constant = quant::pack_integers(placed.spec.dtype, w.value.dims(), q);
}

void Learned::write() {
  write_weights();
  write_activations();
  write_biases();
}

void Learned::write_weights() {
  Graph& g = state_.result->graph;
  for (const Weight& w : weights_) {
    quant::PlacedWeight& p = state_.weights[w.placed];
    const Channels channels = channels_of(w.value.dims(), p.spec.grouping.axis, w.scales.size());
    const std::span<const float> x = w.value.data<float>();
    std::vector<int32_t> q(x.size());
    double signal = 0, noise = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const size_t c = channels.at(static_cast<int64_t>(i));
      const float r = rounded(x[i], w.scales[c], w.zero_points[c], w.codes);
      q[i] = static_cast<int32_t>(r) + w.zero_points[c];
      signal += double{x[i]} * x[i];
      noise += std::pow(double{x[i]} - double{r} * w.scales[c], 2);
    }
    g[p.integers].constant = quant::pack_integers(p.spec.dtype, w.value.dims(), q);
    g[p.scale].constant = tensor_like(*g.constant(p.scale), w.scales);
    p.range = quant::range_of(x);
    p.sqnr_db = noise > 0 ? 10 * std::log10(signal / noise) : std::numeric_limits<double>::infinity();
    for (quant::PlacedWeight& other : state_.weights) {
      if (other.integers != p.integers) continue;
      other.range = p.range;
      other.sqnr_db = p.sqnr_db;
    }
  }
}

void Learned::write_activations() {
  Graph& g = state_.result->graph;
  for (const Activation& a : activations_) {
    const quant::QParams& q = state_.params[static_cast<size_t>(a.group)];
    const IntegerRange codes = activation_codes(q.dtype);
    const int32_t zero[] = {q.zero_point};
    for (const Node& n : g.nodes) {
      const bool mine = (quant::is_quantize(n) && n.output(0) == a.integers) ||
                        (quant::is_dequantize(n) && n.input(0) == a.integers);
      if (!mine) continue;
      g[n.input(1)].constant = Tensor::scalar(q.scale);
      if (n.input(2) != kNoValue) g[n.input(2)].constant = quant::pack_integers(q.dtype, {}, zero);
    }
    if (a.low == kNoValue) continue;
    g[a.low].constant = Tensor::scalar(static_cast<float>(codes.min - q.zero_point) * q.scale);
    g[a.high].constant = Tensor::scalar(static_cast<float>(codes.max - q.zero_point) * q.scale);
  }
}

void Learned::write_biases() {
  Graph& g = state_.result->graph;
  for (const Bias& b : biases_) {
    const quant::PlacedBias& p = state_.biases[b.placed];
    const quant::NodePlan& node = state_.plan.nodes[static_cast<size_t>(p.node)];
    float input_scale = 1;
    for (ValueId v : node.data) {
      const int32_t group = state_.plan.group[static_cast<size_t>(v)];
      if (group >= 0) input_scale = state_.params[static_cast<size_t>(group)].scale;
    }
    ValueId integers = kNoValue;
    for (const quant::PlacedWeight& w : state_.weights)
      if (w.node == p.node) integers = w.integers;
    const auto weight = std::find_if(weights_.begin(), weights_.end(), [&](const Weight& w) {
      return state_.weights[w.placed].integers == integers;
    });
    if (weight == weights_.end()) continue;
    const Tensor old = *g.constant(p.scale);
    std::vector<float> scales(static_cast<size_t>(old.size()));
    for (size_t c = 0; c < scales.size(); ++c)
      scales[c] = input_scale * weight->scales[c % weight->scales.size()];
    const std::span<const float> x = b.value.data<float>();
    std::vector<int32_t> q(x.size());
    for (size_t i = 0; i < q.size(); ++i) {
      const double v = std::nearbyint(double{x[i]} / scales[scales.size() == 1 ? 0 : i]);
      q[i] = static_cast<int32_t>(std::clamp(v, -2147483647.0, 2147483647.0));
    }
    g[p.integers].constant = Tensor::of<int32_t>(b.value.dims(), q);
    g[p.scale].constant = tensor_like(old, scales);
  }
}

}  // namespace zp::train
