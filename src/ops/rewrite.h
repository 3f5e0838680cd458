// Rewrites that make a graph smaller without changing what it computes: a batch norm folded into the
// convolution before it, Add-Clip-Mul-Div written as the HardSwish it is. A rewrite belongs to the operator
// that it makes or removes, lives in that operator's file and registers itself here.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

#include "graph/graph.h"

namespace zp {

// A graph and one node of it that a rewrite may start from. Node indices stay valid while one rewrite is
// applied.
class RewriteContext {
 public:
  RewriteContext(Graph& graph, const GraphIndex& index, int32_t at) : graph(graph), index_(index), at_(at) {}

  Graph& graph;
  const Node& node() const { return graph.nodes[static_cast<size_t>(at_)]; }
  int32_t at() const { return at_; }
  const Node& node(int32_t i) const { return graph.nodes[static_cast<size_t>(i)]; }
  // Index of the node that makes a value; -1: a constant or an input.
  int32_t producer(ValueId value) const {
    return value == kNoValue ? -1 : index_.producer[static_cast<size_t>(value)];
  }
  // Index of the only node that reads `value`, once; -1 if there are more readers, none, or it is a graph
  // output.
  int32_t only_consumer(ValueId value) const;
  // The single element of a constant, as float.
  std::optional<float> scalar(ValueId value) const;
  // `node`'s constant scalar operand and the other one, for commutative operators. nullopt: neither is a
  // scalar.
  struct ScalarAndOther {
    float scalar;
    ValueId other;
  };
  std::optional<ScalarAndOther> scalar_operand(const Node& node) const;

  // Replaces the nodes `remove` (the last of which makes the result) by `with`, placed where the last of
  // `remove` was.
  void replace(std::vector<int32_t> remove, std::vector<Node> with) {
    removed = std::move(remove);
    added = std::move(with);
  }
  std::vector<int32_t> removed;
  std::vector<Node> added;

 private:
  const GraphIndex& index_;
  int32_t at_;
};

struct Rewrite {
  std::string_view name;  // for reports: "fold batch norm into convolution"
  // Looks at context.node(); returns true after context.replace().
  bool (*apply)(RewriteContext&) = nullptr;
  int order = 0;  // lower first, when one rewrite feeds another
};

class RegisterRewrite {
 public:
  explicit RegisterRewrite(const Rewrite& rewrite);
};

// Applies all rewrites until none applies, in subgraphs too, then removes unused nodes and infers shapes of
// new values. True: something changed.
bool simplify(Graph& graph);

}  // namespace zp
