#include "quant/runnable.h"

#include <algorithm>

#include "graph/subgraphs.h"
#include "ops/infer.h"

namespace zp::quant {
namespace {

bool known(const Node& node) {
  return may_run(node) && std::ranges::all_of(subgraphs(node), [](const Graph& sub) {
           return unsupported_operators(sub).empty();
         });
}

bool runs(const Node& node, const std::vector<bool>& computed) {
  bool all = known(node);
  for_each_read(node, [&](ValueId v) { all = all && computed[static_cast<size_t>(v)]; });
  return all;
}

}  // namespace

std::vector<bool> computable(const Graph& graph) {
  std::vector<bool> computed(graph.values.size(), false);
  for (size_t v = 0; v < computed.size(); ++v) computed[v] = graph.values[v].constant.has_value();
  for (ValueId v : graph.inputs) computed[static_cast<size_t>(v)] = true;
  bool all = true;
  for (const Node& node : graph.nodes) {
    if (!runs(node, computed)) {
      all = false;
      continue;
    }
    for (ValueId v : node.outputs)
      if (v != kNoValue) computed[static_cast<size_t>(v)] = true;
  }
  return all ? std::vector<bool>{} : computed;
}

std::shared_ptr<const Model> runnable(const std::shared_ptr<const Model>& model) {
  const std::vector<bool> computed = computable(model->graph);
  if (computed.empty()) return model;
  auto part = std::make_shared<Model>(*model);
  Graph& graph = part->graph;
  const auto seen = [&](ValueId v) { return computed[static_cast<size_t>(v)]; };
  std::vector<ValueId> read;  // by what is left out
  std::erase_if(graph.nodes, [&](const Node& node) {
    if (runs(node, computed)) return false;
    for_each_read(node, [&](ValueId v) {
      if (seen(v) && !graph.constant(v) && std::find(read.begin(), read.end(), v) == read.end())
        read.push_back(v);
    });
    return true;
  });
  std::erase_if(graph.outputs, [&](ValueId v) { return !seen(v); });
  if (graph.outputs.empty()) graph.outputs = std::move(read);
  return part;
}

}  // namespace zp::quant
