// The values of a graph that go into a file.
#pragma once

#include <vector>

#include "graph/graph.h"

namespace zp::onnx {

// Values that a graph's nodes, outputs and subgraphs use or make, and its inputs: by value.
std::vector<bool> used_values(const Graph& graph);
// The same name, type, dimensions and memory.
bool same_constant(const Value& a, const Value& b);

}  // namespace zp::onnx
