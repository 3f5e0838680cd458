// Weights as files store them: constants behind a DequantizeLinear. A graph and its subgraphs hand them to
// each other.
#pragma once

#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "graph/graph.h"

namespace zp {

// A DequantizeLinear of constants. Its integers may be moved before: a table that is also read transposed.
struct StoredWeight {
  // Tells weights apart: constants by their memory, the node that moves the integers, axis and block size.
  std::tuple<const void*, Shape, const void*, std::string, int64_t, int64_t> key;
  std::vector<const Node*> nodes;  // of the graph, in order, the DequantizeLinear last

  // The nodes for another graph, which has their constants and values too.
  std::vector<Node> moved(const Graph& from, Graph& to) const;
};

// nullopt: `node` is no such DequantizeLinear. The pointers in it are good as long as the graph's nodes stay.
std::optional<StoredWeight> stored_weight(const Graph& graph, const GraphIndex& index, const Node& node);

// Gives `inner` its own nodes for the stored weights that it reads from `graph`, the graph around it. Their
// integers stay one tensor. True if there was one.
bool take_stored_weights(const Graph& graph, const GraphIndex& index, Graph& inner);

// The same floats from Cast, Sub and Mul by constants, whose last node makes what the DequantizeLinear made.
// ONNX Runtime's constant folding leaves a DequantizeLinear alone (core/optimizer/constant_folding.cc), and
// does these when it loads the file. Blocks are dimensions of their own until a Reshape at the end. Empty:
// integers of other widths than 8 and 4 bits, blocks that do not divide their dimension, or other scales than
// float32.
std::vector<Node> spelled_weight(Graph& graph, const Node& dequantize);

// The other way, for weights of operators that multiply and add, for tables, and for constants that subgraphs
// read. Searches subgraphs, too. True: there was one.
bool find_spelled_weights(Graph& graph);

}  // namespace zp
