// Weights that several graphs read.
#pragma once

#include <vector>

#include "graph/graph.h"

namespace zp::quant {

// ONNX Runtime makes one node of a weight's DequantizeLinear and the product with float activations that
// reads it, and fails where the weight belongs to a graph around theirs. So a weight that branches share with
// each other, or with the main graph, is dequantized in the main graph, and they read what that gives.
void hoist_shared_weights(Graph& main);

// The other way: whoever reads a weight has its DequantizeLinear, so that it can be folded into its reader.
void sink_shared_weights(Graph& main);

// The DequantizeLinear of weights that subgraphs read from the main graph: ONNX Runtime makes floats of each
// in every run.
std::vector<const Node*> hoisted_weights(const Graph& main);

}  // namespace zp::quant
