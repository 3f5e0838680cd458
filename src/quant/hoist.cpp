#include "quant/hoist.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "quant/qdq.h"

namespace zp::quant {
namespace {

class Hoist {
 public:
  explicit Hoist(Graph& main) : main_(main) { count(main); }

  // How many weights were hoisted.
  size_t run() {
    for (Node& node : main_.nodes) {
      if (const auto key = key_of(main_, node)) values_.emplace(*key, node.outputs[0]);
    }
    std::vector<Graph*> path{&main_};
    visit_subgraphs(path);
    main_.nodes.insert(main_.nodes.begin(), made_.begin(), made_.end());
    return hoisted_.size();
  }

 private:
  // What is dequantized, and how: constants by their memory.
  using Key = std::tuple<const void*, Shape, const void*, int64_t, int64_t>;

  static std::optional<Key> key_of(const Graph& graph, const Node& node) {
    if (!is_dequantize(node)) return std::nullopt;
    const Tensor *integers = graph.constant(node.input(0)), *scale = graph.constant(node.input(1));
    if (!integers || !scale || (node.input(2) != kNoValue && !graph.constant(node.input(2))))
      return std::nullopt;
    return Key{integers->identity(), integers->dims(), scale->identity(), node.int_attribute("axis", 1),
               node.int_attribute("block_size", 0)};
  }

  void count(const Graph& graph) {
    std::set<Key> here;
    for (const Node& node : graph.nodes) {
      if (const auto key = key_of(graph, node); key && here.insert(*key).second) ++graphs_[*key];
      for (const auto& [name, attribute] : node.attributes)
        if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute)) count(**sub);
    }
  }

  void visit_subgraphs(std::vector<Graph*>& path) {
    for (Node& node : path.back()->nodes) {
      if (!find_op(node)) continue;  // passed through as it is
      for (auto& [name, attribute] : node.attributes) {
        auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute);
        if (!sub) continue;
        path.push_back(sub->get());
        visit(path);
        path.pop_back();
      }
    }
  }

  void visit(std::vector<Graph*>& path) {
    Graph& graph = *path.back();
    const GraphIndex index(graph);
    std::vector<bool> gone(graph.nodes.size(), false);
    for (size_t i = 0; i < gone.size(); ++i) {
      const auto key = key_of(graph, graph.nodes[i]);
      if (!key || graphs_[*key] < 2 || !in_float(graph, index, i)) continue;
      hoisted_.insert(*key);
      const ValueId captured = capture(path, main_value(graph, graph.nodes[i], *key));
      read_instead(graph, graph.nodes[i].outputs[0], captured);
      gone[i] = true;
    }
    size_t at = 0;
    std::erase_if(graph.nodes, [&](const Node&) { return gone[at++]; });
    visit_subgraphs(path);
    remove_unused(graph);
  }

  // Whoever reads it reads nothing else that is quantized: integer products take weights from outside.
  static bool in_float(const Graph& graph, const GraphIndex& index, size_t dq) {
    const ValueId out = graph.nodes[dq].outputs[0];
    const auto& readers = index.consumers[static_cast<size_t>(out)];
    return std::all_of(readers.begin(), readers.end(), [&](int32_t r) {
      const Node& reader = graph.nodes[static_cast<size_t>(r)];
      return std::all_of(reader.inputs.begin(), reader.inputs.end(), [&](ValueId v) {
        if (v == kNoValue || v == out) return true;
        const int32_t maker = index.producer[static_cast<size_t>(v)];
        return maker < 0 || !is_dequantize(graph.nodes[static_cast<size_t>(maker)]) ||
               key_of(graph, graph.nodes[static_cast<size_t>(maker)]).has_value();
      });
    });
  }

  ValueId main_value(const Graph& graph, const Node& node, const Key& key) {
    if (const auto known = values_.find(key); known != values_.end()) return known->second;
    Node own = node;
    for (ValueId& v : own.inputs)
      if (v != kNoValue) v = main_.add_constant(graph[v].name, *graph.constant(v));
    const Value& made = graph[node.outputs[0]];
    own.outputs = {main_.add_value(made.name, made.dtype, made.shape)};
    made_.push_back(own);
    return values_[key] = own.outputs[0];
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
      for (auto& [name, attribute] : node.attributes)
        if (auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute))
          for (Capture& c : (*sub)->captures)
            if (c.outer == from) c.outer = to;
    }
  }

  Graph& main_;
  std::map<Key, size_t> graphs_;   // that have it
  std::map<Key, ValueId> values_;  // of the main graph
  std::vector<Node> made_;         // for it
  std::set<Key> hoisted_;
};

}  // namespace

size_t hoist_shared_weights(Graph& main) { return Hoist(main).run(); }

}  // namespace zp::quant
