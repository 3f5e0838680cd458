// Dimensions that are fixed, as constants.
#pragma once

#include "graph/graph.h"

namespace zp::runtime {

// Nodes whose outputs follow from the shapes of the graph's inputs (Shape, and products of its numbers) become
// constants, as do nodes behind them. Shapes that only a file declares prove nothing: they are not used. The
// nodes of subgraphs stay.
void fold_dimensions(Graph& graph);

}  // namespace zp::runtime
