// Nodes of any version and form become those of opset kOpset (OpDef::canonicalize).
#pragma once

#include "graph/graph.h"
#include "onnx/declared.h"

namespace zp::onnx {

// All nodes of the model's graph, in order, with shapes inferred; what is declared of their outputs is
// compared with what operators say.
void canonicalize(Model& model, const DeclaredShapes& shapes);

}  // namespace zp::onnx
