// GraphProto to Graph: names become values, subgraphs capture, nodes are sorted.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "onnx/declared.h"
#include "onnx/reading.h"
#include "onnx/tensor_reader.h"

namespace zp::onnx {

// A graph being read, and the names in it of what it makes itself or has captured so far.
struct Scope {
  Graph& graph;
  Scope* outer;
  TextMap<ValueId> ids = {};
};

class GraphReader {
 public:
  // `functions`: "domain.name" of what the model defines itself. `shapes` collects what is declared.
  GraphReader(const File& file, const Model& model, const TextSet& functions, DeclaredShapes& shapes)
      : file_(file), model_(model), functions_(functions), shapes_(shapes) {}

  // `outer`: null for the graph of the model.
  void read(Message message, Graph& graph, Scope* outer = nullptr, int depth = 0);

 private:
  // A node whose names are not yet values.
  struct PendingNode {
    Node node;
    std::vector<std::string> inputs, outputs;
    std::vector<Message> attributes;
  };
  struct PendingGraph {
    std::vector<PendingNode> nodes;
    std::vector<Declared> inputs, outputs, infos;
  };

  static PendingNode read_node(Message message);
  static void name_nodes(std::vector<PendingNode>& nodes);
  // Initializers are values of the scope already.
  PendingGraph read_fields(Message message, Scope& scope);
  void finish_inputs(const PendingGraph& pending, Scope& scope);
  void finish_nodes(PendingGraph& pending, Scope& scope, int depth);
  void finish_outputs(const PendingGraph& pending, Scope& scope);
  void finish_node(PendingNode& pending, Scope& scope, int depth);
  void finish_constant(PendingNode& pending, Scope& scope);
  // attribute_reader.cpp
  std::pair<std::string, Attribute> read_attribute(Message message, Scope& scope, int depth);

  const File& file_;
  const Model& model_;
  const TextSet& functions_;
  DeclaredShapes& shapes_;
};

}  // namespace zp::onnx
