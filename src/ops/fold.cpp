#include "ops/fold.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "graph/subgraphs.h"

namespace zp {
namespace {

bool has_role(const Node* node, QdqRole role) { return node && role_of(*node) == role; }

QuantizedEdge quantized_edge(const Graph& graph, const GraphIndex& index, const Node& qdq, ValueId integers) {
  QuantizedEdge e{.quantized = integers,
                  .scale = qdq.input(1),
                  .zero_point = qdq.input(2),
                  .axis = static_cast<int>(qdq.int_attribute("axis", 1)),
                  .block_size = qdq.int_attribute("block_size", 0),
                  .dynamic = has_role(producer_of(graph, index, integers), QdqRole::kDynamicQuantize)};
  const SymShape* shape = graph[qdq.output(0)].shape ? &*graph[qdq.output(0)].shape : nullptr;
  if (e.axis < 0 && shape) e.axis += static_cast<int>(shape->size());
  return e;
}

bool is_unsayable(const Node& node) {
  const OpDef* def = find_op(node);
  return def && def->unsayable && def->unsayable(node);
}

}  // namespace

Fold fold_of(Graph& graph, const GraphIndex& index, const Node& node) {
  Fold fold{.graph = graph, .node = node, .inputs = {}, .output = {}, .nodes = {}};
  for (ValueId v : node.inputs) {
    const Node* dq = producer_of(graph, index, v);
    if (has_role(dq, QdqRole::kDequantize)) {
      fold.inputs.push_back(quantized_edge(graph, index, *dq, dq->input(0)));
    } else {
      fold.inputs.push_back(std::nullopt);
    }
  }
  const Node* q = only_reader(graph, index, node.output(0));
  if (has_role(q, QdqRole::kQuantize)) fold.output = quantized_edge(graph, index, *q, q->output(0));
  return fold;
}

void fold_unsayable(Graph& graph) {
  for (Node& node : graph.nodes)
    if (find_op(node))
      for (Graph& inner : subgraphs(node)) fold_unsayable(inner);
  if (std::ranges::none_of(graph.nodes, is_unsayable)) return;
  const GraphIndex index(graph);
  std::vector<Node> nodes;
  for (const Node& node : graph.nodes) {
    if (is_unsayable(node)) {
      Fold fold = fold_of(graph, index, node);
      if (find_op(node)->fold(fold)) {
        for (Node& n : fold.nodes) nodes.push_back(std::move(n));
        continue;
      }
    }
    nodes.push_back(node);
  }
  graph.nodes = std::move(nodes);
  remove_unused(graph);
}

}  // namespace zp
