#include "quant/bias.h"

#include <algorithm>
#include <cmath>

#include "ops/op.h"

namespace zp::quant {
namespace {

constexpr double kLimit = 1 << 30;  // as Placement keeps room for the sums of products

}  // namespace

bool is_channel_bias(const Node& product, int weight_rank, int64_t channels, const Shape& dims, bool own) {
  const int channel_dim = op_of(product).quant.channel_dim;
  // A convolution's own bias is a vector, whatever the rank of its result; all others broadcast from the end.
  if (own && channel_dim >= 0) return dims.size() == 1 && dims[0] == channels;
  if (element_count(dims) == 1) return channels == 1;
  const auto from_end = static_cast<size_t>(channel_dim < 0 ? -channel_dim : weight_rank - channel_dim);
  if (dims.size() < from_end) return false;
  for (size_t d = 0; d < dims.size(); ++d)
    if (dims[d] != (d == dims.size() - from_end ? channels : 1)) return false;
  return true;
}

std::optional<BiasPlace> find_bias(const JobState& state, int32_t node, int32_t placed, int64_t channels) {
  const Graph& graph = state.result->graph;
  const Node& layer = graph.nodes[static_cast<size_t>(placed)];
  const Tensor* weight = state.prepared->graph.constant(state.plan.nodes[static_cast<size_t>(node)].weight);
  if (!weight) return std::nullopt;
  const auto is_bias = [&](const Tensor* t, DType dtype, bool own) {
    return t && t->dtype() == dtype &&
           is_channel_bias(layer, static_cast<int>(weight->dims().size()), channels, t->dims(), own);
  };
  for (const PlacedBias& b : state.biases) {
    if (b.node != node) continue;
    if (!is_bias(graph.constant(b.integers), DType::kInt32, true)) return std::nullopt;
    return BiasPlace{.integers = &b};
  }
  const auto in_float = [&](int32_t reader, size_t slot) -> std::optional<BiasPlace> {
    const ValueId v = graph.nodes[static_cast<size_t>(reader)].input(slot);
    if (!is_bias(graph.constant(v), DType::kFloat32, reader == placed)) return std::nullopt;
    return BiasPlace{.node = reader, .slot = slot};
  };
  // A bias in float is the layer's own input, or what the sum behind it adds.
  const auto bias = static_cast<int>(op_of(layer).quant.bias);
  if (bias >= 0 && layer.input(static_cast<size_t>(bias)) != kNoValue)
    return in_float(placed, static_cast<size_t>(bias));
  const ValueId output = layer.output(0);
  const GraphIndex index(graph);
  const auto& readers = index.consumers[static_cast<size_t>(output)];
  if (readers.size() != 1 || graph.is_output(output)) return std::nullopt;
  const Node& next = graph.nodes[static_cast<size_t>(readers[0])];
  const OpDef* def = find_op(next);
  if (!def || !def->quant.sums || next.inputs.size() != 2) return std::nullopt;
  return in_float(readers[0], next.input(0) == output ? 1 : 0);
}

std::vector<float> bias_values(const JobState& state, const BiasPlace& place) {
  const Graph& graph = state.result->graph;
  if (!place.integers)
    return graph.constant(graph.nodes[static_cast<size_t>(place.node)].input(place.slot))->floats();
  const std::vector<float> scales = graph.constant(place.integers->scale)->floats();
  const std::vector<int64_t> integers = graph.constant(place.integers->integers)->integers();
  std::vector<float> values(integers.size());
  for (size_t c = 0; c < values.size(); ++c)
    values[c] = static_cast<float>(integers[c]) * scales[scales.size() == 1 ? 0 : c];
  return values;
}

std::vector<float> move_bias(JobState& state, const BiasPlace& place, const std::vector<double>& measured) {
  Graph& graph = state.result->graph;
  // Where a sample had NaN, nothing was measured.
  std::vector<double> shift = measured;
  for (double& s : shift)
    if (!std::isfinite(s)) s = 0;
  std::vector<float> moved(shift.size());
  if (place.integers) {
    const PlacedBias& b = *place.integers;
    const Tensor& old = *graph.constant(b.integers);
    const std::vector<float> scales = graph.constant(b.scale)->floats();
    std::vector<int32_t> integers(shift.size());
    for (size_t c = 0; c < shift.size(); ++c) {
      const double scale = static_cast<double>(scales[scales.size() == 1 ? 0 : c]);
      const auto before = static_cast<double>(old.integer_at(static_cast<int64_t>(c)));
      const double after = std::clamp(before + std::nearbyint(shift[c] / scale), -kLimit, kLimit);
      integers[c] = static_cast<int32_t>(after);
      moved[c] = static_cast<float>((after - before) * scale);
    }
    graph[b.integers].constant = Tensor::of<int32_t>(old.dims(), integers);
    return moved;
  }
  const ValueId v = graph.nodes[static_cast<size_t>(place.node)].input(place.slot);
  const Tensor& old = *graph.constant(v);
  std::vector<float> values = old.floats();
  for (size_t c = 0; c < shift.size(); ++c) {
    moved[c] = static_cast<float>(shift[c]);
    values[c] += moved[c];
  }
  const ValueId changed =
      graph.add_constant(graph[v].name + "_corrected", Tensor::of<float>(old.dims(), values));
  graph.nodes[static_cast<size_t>(place.node)].inputs[place.slot] = changed;
  return moved;
}

void rescale_bias(JobState& state, const PlacedBias& bias, const std::vector<double>& factors) {
  Graph& graph = state.result->graph;
  const Tensor old = *graph.constant(bias.integers), old_scale = *graph.constant(bias.scale);
  std::vector<float> scales = old_scale.floats();
  std::vector<int32_t> integers(factors.size());
  for (size_t c = 0; c < factors.size(); ++c) {
    const double value =
        static_cast<double>(old.integer_at(static_cast<int64_t>(c))) * static_cast<double>(scales[c]);
    scales[c] = static_cast<float>(static_cast<double>(scales[c]) * factors[c]);
    integers[c] = static_cast<int32_t>(
        std::clamp(std::nearbyint(value / static_cast<double>(scales[c])), -kLimit, kLimit));
  }
  graph[bias.integers].constant = Tensor::of<int32_t>(old.dims(), integers);
  graph[bias.scale].constant = Tensor::of<float>(old_scale.dims(), scales);
}

}  // namespace zp::quant
