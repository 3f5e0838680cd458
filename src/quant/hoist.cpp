#include "quant/hoist.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "graph/subgraphs.h"
#include "ops/op.h"
#include "ops/stored_weight.h"
#include "quant/qdq.h"

namespace zp::quant {
namespace {

using Key = decltype(StoredWeight::key);

class Hoist {
 public:
  explicit Hoist(Graph& main) : main_(main) { count(main); }

  void run() {
    const GraphIndex index(main_);
    for (const Node& node : main_.nodes)
      if (const auto weight = stored_weight(main_, index, node))
        values_.emplace(weight->key, node.outputs[0]);
    std::vector<Graph*> path{&main_};
    visit_subgraphs(path);
    main_.nodes.insert(main_.nodes.begin(), made_.begin(), made_.end());
  }

 private:
  void count(const Graph& graph) {
    const GraphIndex index(graph);
    std::set<Key> here;
    for (const Node& node : graph.nodes) {
      const auto weight = stored_weight(graph, index, node);
      if (weight && here.insert(weight->key).second) ++graphs_[weight->key];
      for (const Graph& sub : subgraphs(node)) count(sub);
    }
  }

  void visit_subgraphs(std::vector<Graph*>& path) {
    for (Node& node : path.back()->nodes) {
      if (!find_op(node)) continue;  // passed through as it is
      for (Graph& sub : subgraphs(node)) {
        path.push_back(&sub);
        visit(path);
        path.pop_back();
      }
    }
  }

  void visit(std::vector<Graph*>& path) {
    Graph& graph = *path.back();
    const GraphIndex index(graph);
    std::vector<std::pair<ValueId, StoredWeight>> found;  // in the order of the graph
    for (const Node& node : graph.nodes) {
      auto weight = stored_weight(graph, index, node);
      if (weight && graphs_[weight->key] >= 2 && in_float(graph, index, node.outputs[0]))
        found.emplace_back(node.outputs[0], std::move(*weight));
    }
    for (const auto& [value, weight] : found)
      read_instead(graph, value, capture(path, main_value(graph, weight)));
    std::set<ValueId> gone;
    for (const auto& [value, weight] : found) gone.insert(value);
    std::erase_if(graph.nodes, [&](const Node& n) { return gone.contains(n.output(0)); });
    visit_subgraphs(path);
    remove_unused(graph);
  }

  // Whoever reads it reads nothing else that is quantized: integer products take weights from outside.
  static bool in_float(const Graph& graph, const GraphIndex& index, ValueId weight) {
    const auto& readers = index.consumers[static_cast<size_t>(weight)];
    return std::all_of(readers.begin(), readers.end(), [&](int32_t r) {
      const Node& reader = graph.nodes[static_cast<size_t>(r)];
      return std::all_of(reader.inputs.begin(), reader.inputs.end(), [&](ValueId v) {
        if (v == kNoValue || v == weight) return true;
        const Node* other = producer_of(graph, index, v);
        return !other || !is_dequantize(*other) || stored_weight(graph, index, *other).has_value();
      });
    });
  }

  ValueId main_value(const Graph& graph, const StoredWeight& weight) {
    if (const auto known = values_.find(weight.key); known != values_.end()) return known->second;
    for (Node& node : weight.moved(graph, main_)) made_.push_back(std::move(node));
    return values_[weight.key] = made_.back().outputs[0];
  }

  // A value of the main graph, seen from the last graph of the path.
  static ValueId capture(const std::vector<Graph*>& path, ValueId value) {
    for (size_t level = 1; level < path.size(); ++level) {
      Graph& graph = *path[level];
      const auto known = std::find_if(graph.captures.begin(), graph.captures.end(),
                                      [&](const Capture& c) { return c.outer == value; });
      if (known != graph.captures.end()) {
        value = known->inner;
        continue;
      }
      const Value outer = (*path[level - 1])[value];
      const ValueId inner = graph.add_value(outer.name, outer.dtype, outer.shape);
      graph.captures.push_back({.outer = value, .inner = inner});
      value = inner;
    }
    return value;
  }

  static void read_instead(Graph& graph, ValueId from, ValueId to) {
    std::replace(graph.outputs.begin(), graph.outputs.end(), from, to);
    for (Node& node : graph.nodes) {
      std::replace(node.inputs.begin(), node.inputs.end(), from, to);
      for (Graph& sub : subgraphs(node))
        for (Capture& c : sub.captures)
          if (c.outer == from) c.outer = to;
    }
  }

  Graph& main_;
  std::map<Key, size_t> graphs_;   // that have it
  std::map<Key, ValueId> values_;  // of the main graph
  std::vector<Node> made_;         // for it
};

// Into the subgraphs of a graph, and those of these.
void sink(Graph& graph) {
  const GraphIndex index(graph);
  for (Node& node : graph.nodes) {
    if (!find_op(node)) continue;  // passed through as it is
    for (Graph& sub : subgraphs(node)) {
      take_stored_weights(graph, index, sub);
      sink(sub);
    }
  }
}

}  // namespace

void hoist_shared_weights(Graph& main) { Hoist(main).run(); }

void sink_shared_weights(Graph& main) {
  sink(main);
  remove_unused(main);
}

std::vector<const Node*> hoisted_weights(const Graph& main) {
  std::set<ValueId> captured;
  for (const Node& node : main.nodes)
    for (const Graph& sub : subgraphs(node))
      for (const Capture& c : sub.captures) captured.insert(c.outer);
  const GraphIndex index(main);
  std::vector<const Node*> found;
  for (const Node& node : main.nodes)
    if (captured.contains(node.output(0)) && stored_weight(main, index, node)) found.push_back(&node);
  return found;
}

}  // namespace zp::quant
