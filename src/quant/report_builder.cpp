#include "quant/report_builder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "core/decimal.h"
#include "ops/infer.h"
#include "quant/findings.h"
#include "quant/layerwise.h"
#include "quant/qdq.h"

namespace zp::quant {
namespace {

ActivationReport describe(const JobState& state, const Plan& plan, ValueId v, bool input) {
  ActivationReport a{.value = state.prepared->graph[v].name, .input = input};
  const int32_t g = plan.group[static_cast<size_t>(v)];
  if (g < 0) return a;
  a.dtype = plan.groups[static_cast<size_t>(g)].dtype;
  if (static_cast<size_t>(g) < state.params.size()) {
    const QParams& p = state.params[static_cast<size_t>(g)];
    const Range r = covered(p);
    a.min = r.min, a.max = r.max, a.scale = p.scale, a.zero_point = p.zero_point;
  }
  return a;
}

std::string granularity(const Grouping& g) {
  return g.axis < 0 ? "tensor" : g.block_size > 0 ? "block" : "channel";
}

// The largest magnitude of each index along an axis.
std::vector<float> largest_along(const Tensor& t, int axis) {
  const Glance glance(t);
  const ChannelView view(t.dims(), axis);
  std::vector<float> largest(static_cast<size_t>(view.channels), 0.f);
  const float* x = t.data<float>().data();
  for (int64_t o = 0; o < view.outer; ++o)
    for (float& most : largest)
      for (int64_t i = 0; i < view.inner; ++i) most = std::max(most, std::fabs(*x++));
  return largest;
}

// An estimate for a plan that has not been placed: what its weights become smaller by. `seen`: those that
// were counted, and the type that they get.
using Seen = std::set<std::pair<TensorKey, DType>>;
size_t spared_by(const Graph& graph, const Plan& plan, Seen& seen) {
  size_t bytes = 0;
  for (size_t i = 0; i < plan.nodes.size(); ++i) {
    const NodePlan& n = plan.nodes[i];
    if (n.weights == DType::kUndefined || n.weight == kNoValue) continue;
    std::vector<ValueId> weights{n.weight};
    for (int slot : n.more_slots) weights.push_back(graph.nodes[i].input(static_cast<size_t>(slot)));
    for (const ValueId w : weights) {
      const Tensor& t = *graph.constant(w);
      if (!seen.emplace(key_of(t), n.weights).second) continue;
      const size_t after =
          bytes_of(n.weights, t.size()) +
          (n.weights == DType::kFloat16 ? 0 : 4 * static_cast<size_t>(scale_count(t, n.grouping)));
      bytes += t.bytes() - std::min(t.bytes(), after);
    }
  }
  return bytes;
}

// What weights of 2 bits, which memory has in 4, need not take in a file.
size_t spared_bytes(const JobState& state) {
  size_t bytes = 0;
  std::set<ValueId> seen;
  for (const PlacedWeight& w : state.weights) {
    if (bits_of(w.spec.dtype) >= 4 || !seen.insert(w.integers).second) continue;
    for (const ValueId v : {w.integers, w.zero_point})
      if (const Tensor* t = state.result->graph.constant(v))
        bytes += t->bytes() - bytes_of(w.spec.dtype, t->size());
  }
  return bytes;
}

}  // namespace

int64_t scale_count(const Tensor& t, const Grouping& g) {
  if (g.axis < 0) return 1;
  const auto axis = static_cast<size_t>(g.axis);
  int64_t extent = t.dims()[axis];
  for (size_t d = 0; g.joined && d < axis; ++d) extent *= t.dims()[d];
  if (g.block_size == 0 || extent == 0) return extent;
  return t.size() / extent * ((extent + g.block_size - 1) / g.block_size);
}

Graph with_shapes(const Graph& prepared, const std::map<ValueId, Shape>& fed) {
  Graph graph = clone(prepared);
  if (fed.empty()) return graph;
  for (Value& v : graph.values)
    if (!v.constant) v.shape.reset();
  for (const auto& [v, dims] : fed) graph[v].shape = symbolic(dims);
  for (ValueId v : graph.inputs)
    if (!graph[v].shape) graph[v].shape = prepared[v].shape;
  infer_shapes(graph);
  return graph;
}

namespace {

class Builder {
 public:
  explicit Builder(const JobState& state) : state_(state) {}

  Report build() {
    report_.mode = state_.config.mode;
    report_.format = state_.config.format;
    report_.samples = state_.samples;
    report_.warnings = state_.config.adapted;
    report_.warnings.insert(report_.warnings.end(), state_.plan.warnings.begin(), state_.plan.warnings.end());
    for (const auto& [graph, plan] : state_.branches)
      report_.warnings.insert(report_.warnings.end(), plan.warnings.begin(), plan.warnings.end());
    report_.repairs = state_.repaired;
    report_.repairs_run = state_.config.repairs;
    Graph graph = with_shapes(state_.prepared->graph, state_.fed);
    add(graph, state_.prepared->graph, state_.plan, state_.weights, true);
    if (report_.layers_quantized == 0)
      report_.warnings.push_back(
          (state_.result ? "nothing was quantized, 0 of " : "nothing would be quantized, 0 of ") +
          counted(report_.layers.size(), "layer") + "; the report gives the reason for each");
    for (LayerReport& l : report_.layers) l.macs_share = report_.macs > 0 ? l.macs / report_.macs : 0;
    report_.weight_bytes_before = constant_bytes(state_.source->graph);
    if (state_.result) {
      report_.weight_bytes_after = constant_bytes(state_.result->graph) - spared_bytes(state_);
    } else {
      const size_t all = constant_bytes(state_.prepared->graph);
      report_.weight_bytes_after = all - std::min(all, spared_);
    }
    return std::move(report_);
  }

 private:
  // `graph`: the prepared one with the shapes of the samples.
  void add(Graph& graph, const Graph& prepared, const Plan& plan, const std::vector<PlacedWeight>& weights,
           bool main) {
    spared_ += spared_by(prepared, plan, seen_);
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      const Node& node = graph.nodes[i];
      add_layer(graph, node, plan, i, weights, main);
      for (const auto& [key, attribute] : node.attributes) {
        const auto* shaped = std::get_if<std::shared_ptr<Graph>>(&attribute);
        if (!shaped) continue;
        const auto& branch = *std::get<std::shared_ptr<Graph>>(*prepared.nodes[i].attribute(key));
        const auto its_plan = state_.branches.find(&branch);
        if (its_plan == state_.branches.end()) continue;
        const auto placed = state_.branch_weights.find(&branch);
        add(**shaped, branch, its_plan->second,
            placed == state_.branch_weights.end() ? std::vector<PlacedWeight>{} : placed->second, false);
      }
    }
  }

  void add_layer(Graph& graph, const Node& node, const Plan& plan, size_t i,
                 const std::vector<PlacedWeight>& weights, bool main) {
    const NodePlan& p = plan.nodes[i];
    LayerReport layer;
    layer.node = node.name;
    layer.op = node.domain.empty() ? node.op_type : qualified_name(node);
    if (node.output(0) != kNoValue) layer.output = graph[node.output(0)].name;
    layer.quantized = p.quantized || p.kept;
    layer.why = p.why;
    const auto& excluded = state_.config.exclude_nodes;
    layer.by_name = state_.config.left_float.contains(node.name) ||
                    std::find(excluded.begin(), excluded.end(), node.name) != excluded.end();
    const OpDef* def = find_op(node);
    if (def && def->macs) layer.macs = def->macs(GraphInferContext(graph, node));
    if (p.weights != DType::kUndefined && p.weight != kNoValue) {
      const Tensor& t = *graph.constant(p.weight);
      WeightReport weight{.name = graph[p.weight].name,
                          .dtype = p.weights,
                          .granularity = granularity(p.grouping),
                          .elements = t.size(),
                          .block_size = p.grouping.block_size,
                          .sqnr_db = std::numeric_limits<double>::quiet_NaN()};
      for (int slot : p.more_slots)
        weight.elements += graph.constant(node.input(static_cast<size_t>(slot)))->size();
      const auto placed = std::find_if(weights.begin(), weights.end(), [&](const PlacedWeight& q) {
        return q.node == static_cast<int32_t>(i);
      });
      if (placed != weights.end()) {
        if (state_.result) weight.scales = scale_count(t, p.grouping);
        weight.min = placed->range.min, weight.max = placed->range.max;
        weight.sqnr_db = placed->sqnr_db;
        const int rank = static_cast<int>(t.dims().size());
        int axis = def->quant.channel_axis ? def->quant.channel_axis(node, rank) : -1;
        if (p.transposed_by >= 0) axis = p.grouping.axis;
        if (axis >= 0 && axis < rank) weight.spread = spread_of(largest_along(t, axis));
        const int64_t group = node.int_attribute("group", 1);
        layer.findings =
            findings_of(weight, p.activations == DType::kUndefined, group > 1 && group == t.dims()[0]);
      }
      layer.weight = std::move(weight);
    }
    if (p.half) {
      for (const ValueId v : p.data)
        if (!graph.constant(v))
          layer.activations.push_back({.value = graph[v].name, .input = true, .dtype = DType::kFloat16});
    } else if (main && p.quantized && p.activations != DType::kUndefined) {
      for (ValueId v : p.data) {
        if (graph.constant(v)) continue;
        ActivationReport a = describe(state_, plan, v, true);
        if (plan.group[static_cast<size_t>(v)] < 0) a.dtype = p.activations, a.dynamic = true;
        layer.activations.push_back(std::move(a));
      }
    }
    if (main)
      for (ValueId v : node.outputs)
        if (v != kNoValue && static_cast<size_t>(v) < plan.group.size() &&
            plan.group[static_cast<size_t>(v)] >= 0)
          layer.activations.push_back(describe(state_, plan, v, false));
    report_.macs += layer.macs;
    if (layer.quantized) ++report_.layers_quantized;
    if (p.kept || p.half || (p.quantized && p.activations != DType::kUndefined))
      report_.macs_quantized += layer.macs;
    report_.layers.push_back(std::move(layer));
  }

  const JobState& state_;
  Report report_;
  Seen seen_;
  size_t spared_ = 0;
};

}  // namespace

Report build_report(const JobState& state) { return Builder(state).build(); }

}  // namespace zp::quant
