// Operators of files that become several nodes in memory, and that other runtimes compute faster as one
// (attention). Files for these runtimes keep them whole, so that nothing in them is quantized.
#pragma once

#include "core/function.h"
#include "graph/graph.h"

namespace zp {

// Whether the node stands for its pieces.
inline bool is_fused(const Node& node) { return node.refusal && node.refusal->fused; }
// Whether a node of the graph, subgraphs included, is a piece.
bool has_pieces(const Graph& graph);
// Puts nodes of the file in the place of their pieces, subgraphs included, where all pieces are there and
// `takes` gives true; such a node has a Refusal whose `fused` is true, with `why`. True: there was one.
bool join_fused(Graph& graph, std::string_view why, FunctionRef<bool(const Node&)> takes);
// Puts their pieces in the place of such nodes, subgraphs included, as far as shapes are known. True: there
// was one.
bool split_fused(Graph& graph);
// The pieces of one, inferred. Empty: they are not known before a run.
std::vector<Node> pieces_of_fused(Graph& graph, Node node);

}  // namespace zp
