// Reverse-mode differentiation of a graph: the nodes that compute gradients are added to it, by the
// operators' own rules (ops/gradient.h), and the runtime runs them like any others.
#pragma once

#include <string>
#include <vector>

#include "graph/graph.h"

namespace zp::train {

// Adds what computes the derivatives of `loss` (a scalar) by each of `of`, and gives their values, in the
// same order: kNoValue where the loss does not depend on one. Shapes must be inferred. Throws
// kUnsupportedOperator that names every operator in the way that has no gradient.
std::vector<ValueId> add_gradients(Graph& graph, ValueId loss, const std::vector<ValueId>& of);

// The nodes between `of` and `loss` whose operators have no gradient, by index.
std::vector<size_t> without_gradient(const Graph& graph, ValueId loss, const std::vector<ValueId>& of);

}  // namespace zp::train
