#include "quant/report_builder.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

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
  const ChannelView view(t.dims(), axis);
  std::vector<float> largest(static_cast<size_t>(view.channels), 0.f);
  const float* x = t.data<float>().data();
  for (int64_t o = 0; o < view.outer; ++o)
    for (float& most : largest)
      for (int64_t i = 0; i < view.inner; ++i) most = std::max(most, std::fabs(*x++));
  return largest;
}

// An estimate for a plan that has not been placed.
size_t planned_bytes(const Graph& graph, const Plan& plan, size_t before) {
  size_t bytes = before;
  for (size_t i = 0; i < plan.nodes.size(); ++i) {
    const NodePlan& n = plan.nodes[i];
    if (n.weights == DType::kUndefined || n.weight_slot < 0) continue;
    const Tensor* t = graph.constant(graph.nodes[i].input(static_cast<size_t>(n.weight_slot)));
    if (!t) continue;
    const auto size = static_cast<size_t>(t->size());
    size_t scales = 1;
    if (n.grouping.axis >= 0) {
      const auto extent = static_cast<size_t>(t->dims()[static_cast<size_t>(n.grouping.axis)]);
      const auto block = static_cast<size_t>(n.grouping.block_size);
      scales = block == 0 ? extent : size / extent * ((extent + block - 1) / block);
    }
    const size_t after = bytes_of(n.weights, t->size()) + 4 * scales;
    bytes -= std::min(bytes, t->bytes());
    bytes += after;
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

Report build_report(const JobState& state) {
  Report report;
  report.mode = state.config.mode;
  report.samples = state.samples;
  report.warnings = state.plan.warnings;
  report.repairs = state.repaired;
  Graph graph = with_shapes(state.prepared->graph, state.fed);
  const Plan& plan = state.plan;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& node = graph.nodes[i];
    const NodePlan& p = plan.nodes[i];
    LayerReport layer;
    layer.node = node.name;
    layer.op = node.domain.empty() ? node.op_type : qualified_name(node);
    if (node.output(0) != kNoValue) layer.output = graph[node.output(0)].name;
    layer.quantized = p.quantized;
    layer.why = p.why;
    const OpDef* def = find_op(node.domain, node.op_type);
    if (def && def->macs) layer.macs = def->macs(GraphInferContext(graph, node));
    if (p.weights != DType::kUndefined && p.weight_slot >= 0) {
      const ValueId w = node.input(static_cast<size_t>(p.weight_slot));
      const Tensor& t = *graph.constant(w);
      WeightReport weight{.name = graph[w].name,
                          .dtype = p.weights,
                          .granularity = granularity(p.grouping),
                          .elements = t.size(),
                          .block_size = p.grouping.block_size,
                          .sqnr_db = std::numeric_limits<double>::quiet_NaN()};
      const auto placed =
          std::find_if(state.weights.begin(), state.weights.end(),
                       [&](const PlacedWeight& q) { return q.node == static_cast<int32_t>(i); });
      if (placed != state.weights.end()) {
        if (state.result) weight.scales = state.result->graph[placed->scale].constant->size();
        weight.min = placed->range.min, weight.max = placed->range.max;
        weight.sqnr_db = placed->sqnr_db;
        const int rank = static_cast<int>(t.dims().size());
        const int axis = def->quant.channel_axis ? def->quant.channel_axis(node, rank) : -1;
        if (axis >= 0 && axis < rank) weight.spread = spread_of(largest_along(t, axis));
        const int64_t group = node.int_attribute("group", 1);
        layer.findings = findings_of(weight, node.op_type, p.activations == DType::kUndefined,
                                     group > 1 && group == t.dims()[0]);
      }
      layer.weight = std::move(weight);
    }
    if (p.quantized && p.activations != DType::kUndefined) {
      for (ValueId v : p.data) {
        if (graph.constant(v)) continue;
        ActivationReport a = describe(state, plan, v, true);
        if (plan.group[static_cast<size_t>(v)] < 0) a.dtype = p.activations, a.dynamic = true;
        layer.activations.push_back(std::move(a));
      }
    }
    for (ValueId v : node.outputs)
      if (v != kNoValue && static_cast<size_t>(v) < plan.group.size() &&
          plan.group[static_cast<size_t>(v)] >= 0)
        layer.activations.push_back(describe(state, plan, v, false));
    report.macs += layer.macs;
    if (p.quantized) ++report.layers_quantized;
    if (p.quantized && p.activations != DType::kUndefined) report.macs_quantized += layer.macs;
    report.layers.push_back(std::move(layer));
  }
  for (LayerReport& l : report.layers) l.macs_share = report.macs > 0 ? l.macs / report.macs : 0;
  report.weight_bytes_before = constant_bytes(state.source->graph);
  report.weight_bytes_after = state.result
                                  ? constant_bytes(state.result->graph) - spared_bytes(state)
                                  : planned_bytes(graph, plan, constant_bytes(state.prepared->graph));
  return report;
}

}  // namespace zp::quant
