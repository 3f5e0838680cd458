// Nodes with the Q/DQ pairs around them, as OpDef::fold takes them.
#pragma once

#include "ops/op.h"

namespace zp {

// A node of `graph` with the pairs around it, before anything is folded.
Fold fold_of(Graph& graph, const GraphIndex& index, const Node& node);

// Makes one operator again of each node that ONNX has no pieces for (OpDef::only_as), and of its pairs, in
// subgraphs too. A node whose pairs do not fit stays.
void fold_unsayable(Graph& graph);

}  // namespace zp
