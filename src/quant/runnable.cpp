#include "quant/runnable.h"

#include <algorithm>

#include "ops/infer.h"

namespace zp::quant {
namespace {

bool known(const Node& node) {
  if (!may_run(node)) return false;
  return std::all_of(node.attributes.begin(), node.attributes.end(), [](const auto& entry) {
    const auto* sub = std::get_if<std::shared_ptr<Graph>>(&entry.second);
    return !sub || unsupported_operators(**sub).empty();
  });
}

template <class F>
void for_each_read(const Node& node, F&& f) {
  for (ValueId v : node.inputs)
    if (v != kNoValue) f(v);
  for (const auto& [key, attribute] : node.attributes)
    if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute))
      for (const Capture& c : (*sub)->captures) f(c.outer);
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
