// Dimensions that are fixed, as constants.
#pragma once

#include "graph/graph.h"

namespace zp::runtime {

// Shape and Size become constants where the shapes of the graph's inputs settle them, and so do nodes that
// read nothing but constants then. Shapes that only a file declares prove nothing: they are not used. Shape
// and Size in subgraphs stay.
void fold_dimensions(Graph& graph);

}  // namespace zp::runtime
