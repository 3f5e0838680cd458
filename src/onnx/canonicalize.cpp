#include "onnx/canonicalize.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "onnx/reading.h"
#include "ops/gradient.h"
#include "ops/infer.h"
#include "ops/op.h"

namespace zp::onnx {
namespace {

class Canonicalizer {
 public:
  Canonicalizer(const Model& model, const DeclaredShapes& shapes, const NodeVersions& versions)
      : model_(model), shapes_(shapes), versions_(versions) {}
  // `branch`: a subgraph, which a run may not take.
  void bring(Graph& graph, bool branch);

 private:
  void bring_node(Graph& graph, Node node, bool branch);

  const Model& model_;
  const DeclaredShapes& shapes_;
  const NodeVersions& versions_;
};

void Canonicalizer::bring(Graph& graph, bool branch) {
  std::vector<Node> nodes = std::exchange(graph.nodes, {});
  graph.nodes.reserve(nodes.size());
  for (Node& node : nodes) {
    ErrorDetails details = where(model_, node);
    try {
      bring_node(graph, std::move(node), branch);
    } catch (Error& e) {
      e.add_details(details);
      throw;
    }
  }
  // What comes out must be a graph again: an expansion may have dropped an output that somebody reads.
  std::vector<bool> made(graph.values.size(), false);
  for (size_t v = 0; v < made.size(); ++v) made[v] = graph.values[v].constant.has_value();
  for (ValueId v : graph.inputs) made[static_cast<size_t>(v)] = true;
  for (const Capture& c : graph.captures) made[static_cast<size_t>(c.inner)] = true;
  const auto require_made = [&](ValueId v, const std::string& reader) {
    if (v == kNoValue || made[static_cast<size_t>(v)]) return;
    throw_error(ErrorCode::kUnsupportedOperator,
                {quoted(graph[v].name), ", which ", reader,
                 " reads, is an output that its operator gives only in forms that are not supported"},
                {.tensor = graph[v].name});
  };
  for (const Node& node : graph.nodes) {
    for (ValueId v : node.inputs) require_made(v, "node " + quoted(node.name));
    for (const auto& [key, attribute] : node.attributes) {
      if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute))
        for (const Capture& c : (*sub)->captures)
          require_made(c.outer, "a subgraph of node " + quoted(node.name));
    }
    for (ValueId v : node.outputs)
      if (v != kNoValue) made[static_cast<size_t>(v)] = true;
  }
  for (ValueId v : graph.outputs) require_made(v, "the graph's output list");
  compare_declared(graph, shapes_);
}

void Canonicalizer::bring_node(Graph& graph, Node node, bool branch) {
  for (auto& [key, attribute] : node.attributes) {
    const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute);
    if (!sub) continue;
    Graph& inner = **sub;
    for (const Capture& c : inner.captures) {
      inner[c.inner].dtype = graph[c.outer].dtype;
      inner[c.inner].shape = graph[c.outer].shape;
    }
    bring(inner, true);
  }
  const OpDef* def = find_op(node.domain, node.op_type);
  if (def && def->domain == kOwn) {
    throw_error(ErrorCode::kUnsupportedOperator,
                {printable(qualified_name(node)), " is an operator of training, which no file has"});
  }
  if (!def) {  // require_supported lists these
    for (ValueId v : node.outputs) {
      const auto declared = shapes_.find({&graph, v});
      if (declared != shapes_.end()) graph[v].shape = declared->second;
    }
    graph.nodes.push_back(std::move(node));
    return;
  }
  const auto own = versions_.find({&graph, first_output(node)});
  const int64_t version = own != versions_.end() ? own->second : version_of(model_, node.domain);
  if (version < def->since) {
    throw_error(ErrorCode::kUnsupportedOperator,
                {printable(qualified_name(node)), " is supported since version ", def->since,
                 " of its operator set; the model uses version ", version},
                {.hint = "export the model again, for a newer opset"});
  }
  for (Node& n : form_in_memory(*def, graph, std::move(node), version)) {
    try {
      infer_node(graph, n);
    } catch (const Error& e) {
      // A branch that does not fit may never be taken; if it is, planning says so again.
      if (!branch || e.code() == ErrorCode::kOutOfMemory) throw;
    }
    graph.nodes.push_back(std::move(n));
  }
}

}  // namespace

void canonicalize(Model& model, const DeclaredShapes& shapes, const NodeVersions& versions) {
  Canonicalizer(model, shapes, versions).bring(model.graph, false);
}

}  // namespace zp::onnx
