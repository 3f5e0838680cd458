// Weights that several graphs read.
#pragma once

#include "graph/graph.h"

namespace zp::quant {

// ONNX Runtime makes one node of a weight's DequantizeLinear and the product with float activations that
// reads it, and fails where the weight belongs to a graph around theirs. So a weight that branches share with
// each other, or with the main graph, is dequantized in the main graph, and they read what that gives.
// Returns how many there are: ONNX Runtime makes floats of each in every run.
size_t hoist_shared_weights(Graph& main);

}  // namespace zp::quant
