// GraphProto to Graph: names become values, subgraphs capture, nodes are sorted.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "onnx/declared.h"
#include "onnx/functions.h"
#include "onnx/reading.h"
#include "onnx/tensor_reader.h"

namespace zp::onnx {

// A call of a function that is being inlined.
struct Call {
  const Function& function;
  std::map<std::string, Attribute, std::less<>> attributes;  // with defaults
  int depth;                                                 // of calls
};

// A graph being read, and the names of the values that it makes itself or has captured so far. An inlined
// function has a scope of its own in the graph of the call, and does not see the values around it.
struct Scope {
  Graph& graph;
  Scope* outer;
  const Call* call = nullptr;  // the innermost around it
  TextMap<ValueId> ids = {};   // kNoValue: an input of the function that the call leaves out
};

class GraphReader {
 public:
  // `shapes` collects declared shapes, `versions` the versions of nodes in functions.
  GraphReader(const File& file, const Model& model, const Functions& functions, DeclaredShapes& shapes,
              NodeVersions& versions)
      : file_(file), model_(model), functions_(functions), shapes_(shapes), versions_(versions) {}

  // `outer`: null for the graph of the model.
  void read(Message message, Graph& graph, Scope* outer = nullptr, int depth = 0);

 private:
  // A node whose names are not yet values.
  struct PendingNode {
    Node node;
    std::vector<std::string> inputs, outputs;
    std::vector<Message> attributes;
    std::string overload;
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
  // `given`: values that exist already for outputs of these names; the names of all other outputs get
  // `prefix`.
  void define_outputs(std::vector<PendingNode>& nodes, Scope& scope, const std::string& prefix,
                      const TextMap<ValueId>& given);
  void finish_nodes(std::vector<PendingNode>& nodes, Scope& scope, int depth);
  void finish_outputs(const PendingGraph& pending, Scope& scope);
  void finish_node(PendingNode& pending, Scope& scope, int depth);
  void finish_constant(PendingNode& pending, Scope& scope);
  // Puts the nodes of the function that a node calls into the node's graph.
  void inline_call(const Node& node, const Function& function, Scope& scope, int depth);
  // attribute_reader.cpp. nullopt: it refers to an attribute that the call of its function leaves out.
  std::optional<std::pair<std::string, Attribute>> read_attribute(Message message, Scope& scope, int depth);

  const File& file_;
  const Model& model_;
  const Functions& functions_;
  DeclaredShapes& shapes_;
  NodeVersions& versions_;
  int64_t inlined_ = 0;  // nodes of functions
};

}  // namespace zp::onnx
