#include "quant/edges.h"

#include <algorithm>

#include "quant/qdq.h"

namespace zp::quant {

EdgeParams integer_inputs(const Graph& graph) {
  EdgeParams found;
  for (const Node& n : graph.nodes) {
    if (!is_dequantize(n) ||
        std::find(graph.inputs.begin(), graph.inputs.end(), n.input(0)) == graph.inputs.end())
      continue;
    if (const auto p = constant_params(graph, n)) found.emplace(graph[n.input(0)].name, *p);
  }
  return found;
}

EdgeParams integer_outputs(const Graph& graph) {
  EdgeParams found;
  for (const Node& n : graph.nodes) {
    if (!is_quantize(n) || !graph.is_output(n.output(0))) continue;
    if (const auto p = constant_params(graph, n)) found.emplace(graph[n.output(0)].name, *p);
  }
  return found;
}

std::vector<runtime::Feed> quantize_feeds(const EdgeParams& inputs, std::vector<runtime::Feed> feeds) {
  for (runtime::Feed& f : feeds) {
    const auto it = inputs.find(f.name);
    if (it != inputs.end() && f.tensor.dtype() == DType::kFloat32) f.tensor = quantize(f.tensor, it->second);
  }
  return feeds;
}

}  // namespace zp::quant
