#include "onnx/canonicalize.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/element_types.h"
#include "graph/subgraphs.h"
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
  bool met_folded() const { return met_folded_; }  // see Model::folded

 private:
  using Values = std::vector<bool>;  // by value
  void bring_node(Graph& graph, Node node, const Values& read, bool branch);
  // The node in the form of opset kOpset, with its outputs inferred. Throws kUnsupportedOperator or
  // kUnsupportedType where ours does not take the file's form.
  std::vector<Node> in_our_form(Graph& graph, const OpDef& def, Node node, int64_t version,
                                const Values& read, bool branch) const;
  // Keeps the node as it is: only the file's declarations of its outputs are known.
  void keep_form(Graph& graph, Node node) const;

  const Model& model_;
  const DeclaredShapes& shapes_;
  const NodeVersions& versions_;
  bool met_folded_ = false;
};

// The node became Q/DQ pairs, or it is a product of integers.
bool was_folded(const Graph& graph, const std::vector<Node>& pieces) {
  if (pieces.size() != 1)
    return std::ranges::any_of(pieces, [](const Node& n) { return role_of(n) == QdqRole::kDequantize; });
  const Node& node = pieces.front();
  const auto reads_8_bit = [&](size_t input) {
    const ValueId v = node.input(input);
    return v != kNoValue && is_8_bit(graph[v].dtype);
  };
  return reads_8_bit(0) && reads_8_bit(1) && graph[node.output(0)].dtype == DType::kInt32;
}

// By value: some node, subgraph or the graph's list of outputs reads it.
std::vector<bool> values_read(const Graph& graph) {
  std::vector<bool> read(graph.values.size(), false);
  const auto add = [&](ValueId v) {
    if (v != kNoValue) read[static_cast<size_t>(v)] = true;
  };
  for (const Node& node : graph.nodes) for_each_read(node, add);
  for (ValueId v : graph.outputs) add(v);
  return read;
}

void Canonicalizer::bring(Graph& graph, bool branch) {
  const Values read = values_read(graph);
  std::vector<Node> nodes = std::exchange(graph.nodes, {});
  graph.nodes.reserve(nodes.size());
  for (Node& node : nodes) {
    ErrorDetails details = where(model_, node);
    try {
      bring_node(graph, std::move(node), read, branch);
    } catch (Error& e) {
      e.add_details(details);
      throw;
    }
  }
  compare_declared(graph, shapes_);
}

void Canonicalizer::bring_node(Graph& graph, Node node, const Values& read, bool branch) {
  for (Graph& inner : subgraphs(node)) {
    for (const Capture& c : inner.captures) {
      inner[c.inner].dtype = graph[c.outer].dtype;
      inner[c.inner].shape = graph[c.outer].shape;
    }
    bring(inner, true);
  }
  const OpDef* def = find_op(node);
  if (def && def->domain == kOwn) {
    throw_error(ErrorCode::kUnsupportedOperator,
                {printable(qualified_name(node)), " is an operator of training, which no file has"});
  }
  if (!def) return keep_form(graph, std::move(node));  // require_supported lists these
  const auto own = versions_.find({&graph, first_output(node)});
  const int64_t version = own != versions_.end() ? own->second : version_of(model_, node.domain);
  auto refusal = std::make_shared<Refusal>();
  try {
    std::vector<Node> pieces = in_our_form(graph, *def, node, version, read, branch);
    met_folded_ = met_folded_ || was_folded(graph, pieces);
    std::ranges::move(pieces, std::back_inserter(graph.nodes));
    return;
  } catch (const NotKnownYet& e) {
    *refusal = {.why = e.what(), .hint = e.details().hint, .version = version, .waits = true};
  } catch (const Error& e) {
    if (e.code() != ErrorCode::kUnsupportedOperator && e.code() != ErrorCode::kUnsupportedType) throw;
    *refusal = {.why = e.what(), .hint = e.details().hint, .version = version};
  }
  node.refusal = std::move(refusal);
  keep_form(graph, std::move(node));
}

void Canonicalizer::keep_form(Graph& graph, Node node) const {
  for (ValueId v : node.outputs) {
    const auto declared = shapes_.find({&graph, v});
    if (declared != shapes_.end()) graph[v].shape = declared->second;
  }
  graph.nodes.push_back(std::move(node));
}

std::vector<Node> Canonicalizer::in_our_form(Graph& graph, const OpDef& def, Node node, int64_t version,
                                             const Values& read, bool branch) const {
  if (version < def.since) {
    throw_error(ErrorCode::kUnsupportedOperator,
                {"the operator is supported since version ", def.since,
                 " of its operator set; the model uses version ", version},
                {.hint = "export the model again, for a newer opset"});
  }
  const std::vector<ValueId> outputs = node.outputs;
  const auto fused = def.fused ? std::make_shared<Fused>(Fused{node, version}) : nullptr;
  std::vector<Node> nodes = form_in_memory(def, graph, std::move(node), version);
  if (fused) {
    fused->pieces = nodes.size();
    for (Node& n : nodes) n.fused = fused;
  }
  for (ValueId v : outputs) {
    const bool made = std::ranges::any_of(
        nodes, [&](const Node& n) { return std::ranges::find(n.outputs, v) != n.outputs.end(); });
    if (made || v == kNoValue || !read[static_cast<size_t>(v)]) continue;
    throw_error(ErrorCode::kUnsupportedOperator,
                {"its output ", quoted(graph[v].name), " is supported in other forms of the operator only"},
                {.tensor = graph[v].name});
  }
  for (const Node& n : nodes) {
    try {
      infer_node(graph, n);
    } catch (const Error& e) {
      // A branch that does not fit may never be taken; if it is, planning says so again.
      if (!branch || e.code() == ErrorCode::kOutOfMemory) throw;
    }
  }
  return nodes;
}

void count_operators(const Graph& graph, std::map<std::string, int64_t>& counts) {
  for (const Node& node : graph.nodes) {
    ++counts[qualified_name(node)];
    for (const Graph& sub : subgraphs(node)) count_operators(sub, counts);
  }
}

}  // namespace

void canonicalize(Model& model, const DeclaredShapes& shapes, const NodeVersions& versions) {
  count_operators(model.graph, model.operators);
  Canonicalizer canonicalizer(model, shapes, versions);
  canonicalizer.bring(model.graph, false);
  model.folded = canonicalizer.met_folded();
}

}  // namespace zp::onnx
