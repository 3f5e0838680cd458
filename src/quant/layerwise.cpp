#include "quant/layerwise.h"

#include <algorithm>
#include <utility>

#include "core/sort.h"
#include "core/stopwatch.h"
#include "ops/op.h"
#include "quant/edges.h"
#include "quant/report_builder.h"

namespace zp::quant {
namespace {

// What the values held at a time may take. A walk holds a handful of them for each sample.
constexpr double kBytes = 512.0 * 1024 * 1024;
constexpr double kValuesHeld = 4;

double largest_value(const Graph& graph, const std::map<ValueId, Shape>& fed) {
  double largest = 1;
  const Graph shaped = with_shapes(graph, fed);
  for (const Value& v : shaped.values) {
    if (v.constant || !v.shape || v.dtype != DType::kFloat32) continue;
    if (const auto dims = concrete(*v.shape))
      largest = std::max(largest, 4.0 * static_cast<double>(element_count(*dims)));
  }
  return largest;
}

}  // namespace

void SampleKeeper::take(std::vector<runtime::Feed> feeds) {
  if (enough()) return;
  if (samples_.empty()) {
    std::map<ValueId, Shape> fed;
    for (const runtime::Feed& f : feeds)
      if (const ValueId v = state_.prepared->graph.find(f.name); v != kNoValue) fed[v] = f.tensor.dims();
    const double fit = kBytes / (kValuesHeld * largest_value(state_.prepared->graph, fed));
    most_ = std::max<size_t>(1, std::min(most_, static_cast<size_t>(fit)));
  }
  samples_.push_back(std::move(feeds));
}

ChannelView::ChannelView(const Shape& dims, int channel_dim) {
  const int rank = static_cast<int>(dims.size());
  const int at = channel_dim < 0 ? channel_dim + rank : channel_dim;
  for (int d = 0; d < rank; ++d)
    (d < at ? outer : d == at ? channels : inner) *= dims[static_cast<size_t>(d)];
}

LayerwiseStage::LayerwiseStage(JobState& state, size_t samples, Stand stand)
    : state_(state), keeper_(state, samples), stand_(stand) {
  const GraphIndex index(state_.result->graph);
  std::set<int32_t> seen;
  for (size_t i = 0; i < state_.weights.size(); ++i) {
    const PlacedWeight& w = state_.weights[i];
    const Node& node = state_.prepared->graph.nodes[static_cast<size_t>(w.node)];
    const OpDef* def = find_op(node.domain, node.op_type);
    if (!def || def->quant.kind != QuantRule::Kind::kProduct || !seen.insert(w.node).second) continue;
    const int32_t placed = index.producer[static_cast<size_t>(node.output(0))];
    if (placed >= 0) layers_.push_back({w.node, placed, i, node.output(0)});
  }
  sort_small(layers_, [](const Layer& a, const Layer& b) { return a.node < b.node; });
}

void LayerwiseStage::end_samples() {
  std::vector<std::vector<runtime::Feed>> samples = keeper_.release();
  std::vector<std::vector<runtime::Feed>> integers;
  const EdgeParams inputs = integer_inputs(quantized());
  for (const auto& feeds : samples) integers.push_back(quantize_feeds(inputs, feeds));
  float_ = std::make_unique<Walk>(state_.prepared, std::move(samples), state_.threads);
  quantized_ = std::make_unique<Walk>(state_.result, std::move(integers), state_.threads);
}

ValueId LayerwiseStage::data_input(const Layer& l) {
  const Node& node = state_.prepared->graph.nodes[static_cast<size_t>(l.node)];
  const int slot = find_op(node.domain, node.op_type)->quant.data.first();
  return placed_node(l).input(static_cast<size_t>(slot));
}

bool LayerwiseStage::advance(double milliseconds) {
  const Stopwatch watch(milliseconds);
  const auto left = [&] { return std::max(0.0, milliseconds - watch.milliseconds()); };
  if (wants_samples()) return true;
  while (at_ < layers_.size()) {
    const Layer& layer = layers_[at_];
    switch (step_) {
      case Step::kStart:
        // A model whose order of nodes changed: what is behind cannot be repaired any more.
        if (layer.placed < quantized_->position()) {
          ++at_;
          break;
        }
        float_->go(layer.node + 1, {layer.output});
        step_ = Step::kFloat;
        break;
      case Step::kFloat:
        if (!float_->advance(left())) return false;
        quantized_->go(layer.placed + (stand_ == Stand::kAfter ? 1 : 0),
                       {stand_ == Stand::kAfter ? layer.output : data_input(layer)});
        step_ = Step::kQuantized;
        break;
      case Step::kQuantized:
        if (!quantized_->advance(left())) return false;
        step_ = Step::kWork;
        if (!begin(layer)) {
          ++at_;
          step_ = Step::kStart;
        }
        break;
      case Step::kWork:
        if (!work(left())) return false;
        ++at_;
        step_ = Step::kStart;
        break;
    }
    if (at_ < layers_.size() && watch.over()) return false;
  }
  if (!concluded_) {
    concluded_ = true;
    if (!layers_.empty()) conclude();
    float_.reset();
    quantized_.reset();
    layers_.clear();
  }
  return true;
}

}  // namespace zp::quant
