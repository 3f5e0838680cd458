// Shape and type inference over a whole graph, by the rules of the operators.
#pragma once

#include <optional>
#include <vector>

#include "graph/graph.h"
#include "ops/op.h"

namespace zp {

// Infers one node of a graph whose earlier values are already inferred, and stores what it finds in the
// graph's values. A shape that is there already, declared or inferred, is kept where inference knows less;
// where the two contradict, it was wrong. A wrong type adds a warning to the graph.
void infer_node(Graph& graph, const Node& node);
// All nodes, subgraphs included. Operators that no file handles leave their outputs as declared.
void infer_shapes(Graph& graph);

// By value: the shapes that nodes' outputs had.
using ShapesBefore = std::vector<std::optional<SymShape>>;
// Takes away the shapes of values that nodes make, and infers them anew. A shape that the operators' rules do
// not confirm is only a file's declaration, on which nothing may rely that changes the graph.
ShapesBefore forget_declared(Graph& graph);
// Gives declared shapes back where inference knows less.
void give_back(Graph& graph, const ShapesBefore& declared);

// What a rule sees of a graph that is only being looked at. For layout rules, macs and as_clamp outside a
// plan.
class GraphInferContext : public InferContext {
 public:
  GraphInferContext(Graph& graph, const Node& node) : InferContext(node), graph_(&graph) {}
  DType dtype(size_t input) const override;
  const SymShape* shape(size_t input) const override;
  const Tensor* constant(size_t input) const override;
  const Tensor* shape_argument(size_t input) const override { return constant(input); }
  std::vector<Inferred> infer_subgraph(std::string_view attribute,
                                       std::span<const Inferred> inputs) const override;
  ValueKind kind(size_t input) const override;

 protected:
  void set_output(size_t i, DType dtype, std::optional<SymShape> shape, std::optional<Tensor> value) override;
  void set_kind(size_t i, ValueKind kind) override;
  Graph* graph_;
};

// "ai.onnx.GRU (node 'gru'), ...": the operators that no file in ops/ handles, or not in the form that they
// have in the graph, subgraphs included; empty: there are none.
std::string unsupported_operators(const Graph& graph);
// The same, and those whose form a run alone finds (Refusal::waits): what the quantizer passes through as it
// is.
std::string foreign_operators(const Graph& graph);

// Throws kUnsupportedOperator before anything runs: it lists each operator that no file handles, with a node
// that uses it. Branches that a run may not take are left out: planning refuses them when they are taken.
void require_supported(const Graph& graph);

}  // namespace zp
