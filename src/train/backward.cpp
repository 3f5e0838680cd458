#include "train/backward.h"

#include <algorithm>
#include <set>

#include "core/error.h"
#include "ops/gradient.h"

namespace zp::train {
namespace {

// Nodes that are on a way from `of` to the loss, and values that depend on `of` there.
struct Ways {
  std::vector<bool> value, node;

  Ways(const Graph& graph, ValueId loss, const std::vector<ValueId>& of)
      : value(graph.values.size(), false), node(graph.nodes.size(), false) {
    for (ValueId v : of) value[static_cast<size_t>(v)] = true;
    const auto any = [](const std::vector<ValueId>& list, const std::vector<bool>& marked) {
      return std::any_of(list.begin(), list.end(),
                         [&](ValueId v) { return v != kNoValue && marked[static_cast<size_t>(v)]; });
    };
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
      if (!any(graph.nodes[n].inputs, value)) continue;
      node[n] = true;
      for (ValueId v : graph.nodes[n].outputs)
        if (v != kNoValue && is_float(graph[v].dtype)) value[static_cast<size_t>(v)] = true;
    }
    std::vector<bool> needed(graph.values.size(), false);
    needed[static_cast<size_t>(loss)] = true;
    for (size_t n = graph.nodes.size(); n-- > 0;) {
      node[n] = node[n] && any(graph.nodes[n].outputs, needed);
      if (!node[n]) continue;
      for (ValueId v : graph.nodes[n].inputs)
        if (v != kNoValue && value[static_cast<size_t>(v)]) needed[static_cast<size_t>(v)] = true;
    }
  }

 private:
  static bool is_float(DType t) { return t == DType::kFloat32 || t == DType::kUndefined; }
};

}  // namespace

std::vector<size_t> without_gradient(const Graph& graph, ValueId loss, const std::vector<ValueId>& of) {
  const Ways ways(graph, loss, of);
  std::vector<size_t> found;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!ways.node[n]) continue;
    const OpDef* def = find_op(graph.nodes[n]);
    if (!def || !def->gradient) found.push_back(n);
  }
  return found;
}

std::vector<ValueId> add_gradients(Graph& graph, ValueId loss, const std::vector<ValueId>& of) {
  const std::vector<size_t> missing = without_gradient(graph, loss, of);
  if (!missing.empty()) {
    std::set<std::string> names;
    for (size_t n : missing) names.insert(qualified_name(graph.nodes[n]));
    std::string list;
    for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
    const Node& first = graph.nodes[missing[0]];
    throw_error(ErrorCode::kUnsupportedOperator, "these operators have no gradient: " + list,
                {.node = first.name,
                 .op = qualified_name(first),
                 .hint = "freeze the layers before them, or use post-training quantization"});
  }
  const Ways ways(graph, loss, of);
  const size_t forward = graph.nodes.size();
  std::vector<ValueId> gradient(graph.values.size(), kNoValue);  // of the values there were before
  gradient[static_cast<size_t>(loss)] = graph.add_constant("d/loss", Tensor::scalar(1.0f));

  for (size_t n = forward; n-- > 0;) {
    if (!ways.node[n]) continue;
    const Node node = graph.nodes[n];
    std::vector<ValueId> dy;
    std::vector<bool> wanted;
    bool flows = false;
    for (ValueId v : node.outputs) {
      dy.push_back(v == kNoValue ? kNoValue : gradient[static_cast<size_t>(v)]);
      flows = flows || dy.back() != kNoValue;
    }
    if (!flows) continue;
    for (ValueId v : node.inputs) wanted.push_back(v != kNoValue && ways.value[static_cast<size_t>(v)]);
    Gradient g(graph, node, std::move(dy), std::move(wanted));
    op_of(node).gradient(g);
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      const ValueId d = g.given()[i];
      if (d == kNoValue) continue;
      ValueId& sum = gradient[static_cast<size_t>(node.inputs[i])];
      sum = sum == kNoValue ? d : g.add("Add", {sum, d});
    }
  }
  std::vector<ValueId> result;
  for (ValueId v : of) result.push_back(gradient[static_cast<size_t>(v)]);
  return result;
}

}  // namespace zp::train
