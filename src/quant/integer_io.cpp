#include "quant/integer_io.h"

#include <algorithm>

#include "ops/cast.h"
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
  for (const ValueId v : graph.inputs)
    if (graph[v].dtype == DType::kFloat16) found.emplace(graph[v].name, QParams{.dtype = DType::kFloat16});
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
    if (it == inputs.end() || f.tensor.dtype() != DType::kFloat32) continue;
    f.tensor = it->second.dtype == DType::kFloat16 ? cast(f.tensor, DType::kFloat16)
                                                   : quantize(f.tensor, it->second);
  }
  return feeds;
}

}  // namespace zp::quant
