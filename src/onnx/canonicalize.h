// Nodes of any version and form become those of opset kOpset (OpDef::canonicalize).
#pragma once

#include "graph/graph.h"
#include "onnx/declared.h"
#include "onnx/functions.h"

namespace zp::onnx {

// All nodes of the model's graph, in order, with shapes inferred; what is declared of their outputs is
// compared with what operators say. `versions`: of nodes whose version is not the model's.
void canonicalize(Model& model, const DeclaredShapes& shapes, const NodeVersions& versions);

}  // namespace zp::onnx
