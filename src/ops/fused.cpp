#include "ops/fused.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "graph/subgraphs.h"
#include "ops/infer.h"
#include "ops/op.h"

namespace zp {
namespace {

template <class F>
bool any_subgraph(Graph& graph, F&& f) {
  bool any = false;
  for (Node& node : graph.nodes)
    for (Graph& sub : subgraphs(node)) any = f(sub) || any;
  return any;
}

// How many nodes from `first` on are pieces of the same node; 0: `first` is no piece, or a piece is missing.
size_t pieces_from(const Graph& graph, size_t first) {
  const std::shared_ptr<const Fused>& fused = graph.nodes[first].fused;
  if (!fused || fused->pieces > graph.nodes.size() - first) return 0;
  for (size_t i = first; i < first + fused->pieces; ++i)
    if (graph.nodes[i].fused != fused) return 0;
  return fused->pieces;
}

}  // namespace

bool has_pieces(const Graph& graph) {
  return std::ranges::any_of(graph.nodes, [](const Node& node) {
    return node.fused || std::ranges::any_of(subgraphs(node), has_pieces);
  });
}

bool join_fused(Graph& graph, std::string_view why, FunctionRef<bool(const Node&)> takes) {
  bool any = any_subgraph(graph, [&](Graph& inner) { return join_fused(inner, why, takes); });
  std::vector<Node> nodes;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const size_t pieces = pieces_from(graph, i);
    if (pieces == 0 || !takes(graph.nodes[i].fused->node)) {
      nodes.push_back(std::move(graph.nodes[i]));
      continue;
    }
    const Fused& fused = *graph.nodes[i].fused;
    Node whole = fused.node;
    whole.refusal = std::make_shared<Refusal>(
        Refusal{.why = std::string(why), .hint = {}, .version = fused.version, .waits = true, .fused = true});
    nodes.push_back(std::move(whole));
    i += pieces - 1;
    any = true;
  }
  graph.nodes = std::move(nodes);
  return any;
}

std::vector<Node> pieces_of_fused(Graph& graph, Node node) {
  const std::shared_ptr<const Refusal> refusal = std::exchange(node.refusal, nullptr);
  try {
    const OpDef& def = op_of(node);
    std::vector<Node> pieces = form_in_memory(def, graph, std::move(node), refusal->version);
    for (const Node& piece : pieces) infer_node(graph, piece);
    return pieces;
  } catch (const NotKnownYet&) {
    return {};
  }
}

bool split_fused(Graph& graph) {
  bool any = any_subgraph(graph, split_fused);
  std::vector<Node> nodes;
  for (Node& node : std::exchange(graph.nodes, {})) {
    std::vector<Node> pieces;
    if (is_fused(node)) pieces = pieces_of_fused(graph, node);
    any = any || !pieces.empty();
    if (pieces.empty()) pieces.push_back(std::move(node));
    std::ranges::move(pieces, std::back_inserter(nodes));
  }
  graph.nodes = std::move(nodes);
  return any;
}

}  // namespace zp
