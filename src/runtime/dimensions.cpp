#include "runtime/dimensions.h"

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>
#include <vector>

#include "graph/subgraphs.h"
#include "ops/infer.h"
#include "ops/op.h"
#include "ops/stored_weight.h"
#include "runtime/folding.h"

namespace zp::runtime {
namespace {

// The values that an operator's rule knows without running it.
class KnownValues : public GraphInferContext {
 public:
  KnownValues(Graph& graph, const Node& node) : GraphInferContext(graph, node), values(node.outputs.size()) {}

  std::vector<std::optional<Tensor>> values;  // by output
  bool all() const {
    for (size_t i = 0; i < values.size(); ++i)
      if (has_output(i) && !values[i]) return false;
    return true;
  }

 protected:
  void set_output(size_t i, DType dtype, std::optional<SymShape> shape,
                  std::optional<Tensor> value) override {
    if (i < values.size()) values[i] = std::move(value);
    GraphInferContext::set_output(i, dtype, std::move(shape), {});
  }
};

// True: there are new constants.
bool fold_known(Graph& graph) {
  bool any = false;
  for (const Node& node : graph.nodes) {
    const OpDef* def = find_op(node);
    if (!def || !def->infer || !def->deterministic || !subgraphs(node).empty()) continue;
    KnownValues known(graph, node);
    def->infer(known);
    if (!known.all()) continue;
    for (size_t i = 0; i < known.values.size(); ++i)
      if (node.outputs[i] != kNoValue) graph[node.outputs[i]].constant = std::move(known.values[i]);
    any = true;
  }
  if (!any) return false;
  std::erase_if(graph.nodes, [&](const Node& node) {
    return std::ranges::all_of(node.outputs, [&](ValueId v) { return v == kNoValue || graph.constant(v); });
  });
  remove_unused(graph);
  return true;
}

}  // namespace

void fold_dimensions(Graph& graph) {
  find_spelled_weights(graph);  // which would be folded to floats
  const ShapesBefore declared = forget_declared(graph);
  ConstantFolder folder(graph);
  while (fold_known(graph) || folder.fold(graph)) infer_shapes(graph);
  give_back(graph, declared);
}

}  // namespace zp::runtime
