// The opset that a model needs, and its nodes in the form of another one.
#pragma once

#include <cstdint>

#include "graph/graph.h"

namespace zp::onnx {

// Brings the nodes of a graph to the form of an opset. Operators that the opset does not have are spelled in
// its operators where that is possible.
void respell_graph(Graph& graph, int64_t opset);

}  // namespace zp::onnx
