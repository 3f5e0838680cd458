#include "onnx/used_values.h"

#include <map>
#include <string_view>

#include "graph/subgraphs.h"

namespace zp::onnx {

bool same_constant(const Value& a, const Value& b) {
  return a.constant && b.constant && a.name == b.name && a.constant->identity() == b.constant->identity() &&
         a.constant->dtype() == b.constant->dtype() && a.constant->dims() == b.constant->dims() &&
         (a.constant->dtype() != DType::kString || a.constant->strings() == b.constant->strings());
}

std::vector<bool> used_values(const Graph& graph) {
  std::vector<bool> used(graph.values.size(), false);
  const auto mark = [&](ValueId v) {
    if (v != kNoValue) used[static_cast<size_t>(v)] = true;
  };
  std::map<std::string_view, ValueId> constants;  // filled when there is a subgraph
  const auto mark_subgraph = [&](const Graph& sub) {
    for (const Capture& c : sub.captures) mark(c.outer);
    if (constants.empty()) {
      for (size_t v = 0; v < graph.values.size(); ++v)
        if (graph.values[v].constant) constants.emplace(graph.values[v].name, static_cast<ValueId>(v));
    }
    const std::vector<bool> used_there = used_values(sub);
    for (size_t v = 0; v < used_there.size(); ++v) {
      if (!used_there[v] || !sub.values[v].constant) continue;
      const auto found = constants.find(sub.values[v].name);
      if (found != constants.end() && same_constant(sub.values[v], graph[found->second])) mark(found->second);
    }
  };
  for (ValueId v : graph.inputs) mark(v);
  for (ValueId v : graph.outputs) mark(v);
  for (const Node& node : graph.nodes) {
    for (ValueId v : node.inputs) mark(v);
    for (ValueId v : node.outputs) mark(v);
    for (const Graph& sub : subgraphs(node)) mark_subgraph(sub);
  }
  return used;
}

}  // namespace zp::onnx
