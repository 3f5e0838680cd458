#include "quant/layerwise.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "core/sort.h"
#include "core/stopwatch.h"
#include "ops/op.h"
#include "quant/integer_io.h"
#include "quant/report_builder.h"

namespace zp::quant {
namespace {

// What the values held at a time may take. A walk holds a handful of values.
constexpr double kBytes = 512.0 * 1024 * 1024;
constexpr double kValuesHeld = 4;

// By node: the largest of the values that it and those behind it read or make, in bytes.
std::vector<double> largest_values(const Graph& graph, const std::map<ValueId, Shape>& fed) {
  const Graph shaped = with_shapes(graph, fed);
  std::vector<double> largest(graph.nodes.size() + 1, 1);
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    largest[i] = largest[i + 1];
    const auto meet = [&](ValueId id) {
      if (id == kNoValue) return;
      const Value& v = shaped[id];
      if (v.constant || !v.shape || v.dtype != DType::kFloat32) return;
      if (const auto dims = concrete(*v.shape))
        largest[i] = std::max(largest[i], 4.0 * static_cast<double>(element_count(*dims)));
    };
    for (const ValueId v : graph.nodes[i].inputs) meet(v);
    for (const ValueId v : graph.nodes[i].outputs) meet(v);
  }
  return largest;
}

FeedsOfSamples take_first(FeedsOfSamples& from, size_t count) {
  const auto end = from.begin() + static_cast<std::ptrdiff_t>(std::min(count, from.size()));
  FeedsOfSamples taken(std::make_move_iterator(from.begin()), std::make_move_iterator(end));
  from.erase(from.begin(), end);
  return taken;
}

}  // namespace

OptionSpec samples_option(std::string_view name, std::string_view repair, double fallback) {
  return {.name = name,
          .owner = repair,
          .fallback = fallback,
          .min = 1,
          .max = 1024,
          .sentence = "The most samples that it looks at."};
}

OptionSpec patches_option(std::string_view name, std::string_view repair, double fallback) {
  return {.name = name,
          .owner = repair,
          .fallback = fallback,
          .min = 16,
          .max = 65536,
          .sentence = "The most rows of a layer's inputs that it keeps."};
}

ChannelView::ChannelView(std::span<const int64_t> dims, int channel_dim) {
  const int rank = static_cast<int>(dims.size());
  const int at = channel_dim < 0 ? channel_dim + rank : channel_dim;
  for (int d = 0; d < rank; ++d)
    (d < at ? outer : d == at ? channels : inner) *= dims[static_cast<size_t>(d)];
}

LayerwiseStage::LayerwiseStage(JobState& state, size_t samples, Stand stand)
    : state_(state), keeper_(samples, state.series), stand_(stand) {
  const GraphIndex index(state_.result->graph);
  std::set<int32_t> seen;
  for (size_t i = 0; i < state_.weights.size(); ++i) {
    const PlacedWeight& w = state_.weights[i];
    const Node& node = state_.prepared->graph.nodes[static_cast<size_t>(w.node)];
    const OpDef* def = find_op(node);
    if (!def || def->quant.kind != QuantRule::Kind::kProduct || !seen.insert(w.node).second) continue;
    // A weight that is transposed first is also another node's: it is left to that one.
    if (state_.plan.nodes[static_cast<size_t>(w.node)].transposed_by >= 0) continue;
    const int32_t placed = index.producer[static_cast<size_t>(node.output(0))];
    if (placed >= 0) layers_.push_back({w.node, placed, i, node.output(0)});
  }
  sort_small(layers_, [](const Layer& a, const Layer& b) { return a.node < b.node; });
}

void LayerwiseStage::end_samples() {
  FeedsOfSamples samples;
  for (SampleKeeper::Kept& s : keeper_.release()) samples.push_back(std::move(s.feeds));
  const Graph& graph = state_.prepared->graph;
  std::map<ValueId, Shape> fed;
  if (!samples.empty())
    for (const runtime::Feed& f : samples[0])
      if (const ValueId v = graph.find(f.name); v != kNoValue) fed[v] = f.tensor.dims();
  largest_ = largest_values(graph, fed);
  const EdgeParams inputs = integer_inputs(quantized());
  for (const auto& feeds : samples) waiting_integers_.push_back(quantize_feeds(inputs, feeds));
  waiting_ = std::move(samples);
  const size_t first = room(0);
  float_ = std::make_unique<PiecewiseRun>(state_.prepared, take_first(waiting_, first), state_.threads);
  quantized_ =
      std::make_unique<PiecewiseRun>(state_.result, take_first(waiting_integers_, first), state_.threads);
}

size_t LayerwiseStage::room(int32_t node) const {
  return std::max<size_t>(1,
                          static_cast<size_t>(kBytes / (kValuesHeld * largest_[static_cast<size_t>(node)])));
}

bool LayerwiseStage::let_in(const Layer& layer) {
  const size_t now = samples(), all = now + waiting_.size(), most = std::min(all, room(layer.node));
  // Each time costs a session: not for one or two of them.
  if (waiting_.empty() || (most < 2 * now && most < all)) return false;
  float_->join(take_first(waiting_, most - now));
  quantized_->join(take_first(waiting_integers_, most - now));
  return true;
}

ValueId LayerwiseStage::data_input(const Layer& l) {
  const Node& node = state_.prepared->graph.nodes[static_cast<size_t>(l.node)];
  const int slot = find_op(node)->quant.data.first();
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
        if (!let_in(layer)) {
          float_->go(layer.node + 1, {layer.output});
          step_ = Step::kFloat;
          break;
        }
        step_ = Step::kJoin;
        [[fallthrough]];
      case Step::kJoin:
        if (!float_->advance(left()) || !quantized_->advance(left())) return false;
        step_ = Step::kStart;
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
