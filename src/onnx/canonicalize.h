// Nodes of any version and form become those of opset kOpset (OpDef::canonicalize).
#pragma once

#include "graph/graph.h"
#include "onnx/declared.h"
#include "onnx/functions.h"

namespace zp::onnx {

// All nodes of the model's graph, in order, with shapes inferred. Declared shapes of their outputs are
// compared with the inferred ones. `versions`: the versions of nodes that have another version than the
// model.
void canonicalize(Model& model, const DeclaredShapes& shapes, const NodeVersions& versions);

}  // namespace zp::onnx
