// Nodes with the Q/DQ pairs around them, as OpDef::fold takes them.
#pragma once

#include "ops/op.h"

namespace zp {

// A node of `graph` with the pairs around it, before anything is folded.
Fold fold_of(Graph& graph, const GraphIndex& index, const Node& node);

// Folds each node that ONNX has no operators for (OpDef::unsayable) with its pairs, in subgraphs too. A node
// whose pairs do not fit stays.
void fold_unsayable(Graph& graph);

}  // namespace zp
