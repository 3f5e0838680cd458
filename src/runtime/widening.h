// Half precision, and doubles where a network computes with them: computed in float32.
#pragma once

#include "graph/graph.h"

namespace zp::runtime {

// Computes in float32 what a model declares in other floats. Values at the model's edges, and values that an
// unknown operator (or one that reads their bits) takes or gives, keep their type, behind casts. True:
// something changed.
bool widen(Graph& main);

// Rounds each value that an operator computes in half precision, where it will be computed in float32.
void round_halves(Graph& graph);
// Whether there is anything to round.
bool makes_half(const Graph& graph);

}  // namespace zp::runtime
