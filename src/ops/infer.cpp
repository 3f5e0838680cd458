#include "ops/infer.h"

#include <map>
#include <set>
#include <utility>

#include "graph/subgraphs.h"
#include "ops/fused.h"

namespace zp {

DType GraphInferContext::dtype(size_t i) const {
  return has_input(i) ? (*graph_)[node_->inputs[i]].dtype : DType::kUndefined;
}
const SymShape* GraphInferContext::shape(size_t i) const {
  if (!has_input(i)) return nullptr;
  const Value& v = (*graph_)[node_->inputs[i]];
  return v.shape ? &*v.shape : nullptr;
}
const Tensor* GraphInferContext::constant(size_t i) const { return graph_->constant(node_->input(i)); }

ValueKind GraphInferContext::kind(size_t i) const {
  return has_input(i) ? (*graph_)[node_->inputs[i]].kind : ValueKind::kTensor;
}

namespace {

// Drops shapes that were inferred from other inputs of the graph.
void forget_shapes(Graph& graph) {
  for (Node& node : graph.nodes) {
    const OpDef* def = find_op(node);
    if (!def || !def->infer) continue;
    for (ValueId v : node.outputs)
      if (v != kNoValue) graph[v].shape.reset();
    for (Graph& sub : subgraphs(node)) forget_shapes(sub);
  }
}

}  // namespace

std::vector<InferContext::Inferred> GraphInferContext::infer_subgraph(
    std::string_view attribute, std::span<const Inferred> inputs) const {
  const Attribute* a = node_->attribute(attribute);
  const auto* sub = a ? std::get_if<std::shared_ptr<Graph>>(a) : nullptr;
  if (!sub) fail(ErrorCode::kInvalidModel, {"subgraph '", attribute, "' is missing"});
  Graph& inner = **sub;
  if (inner.inputs.size() != inputs.size()) {
    fail(ErrorCode::kInvalidModel,
         {"subgraph '", attribute, "' has ", inner.inputs.size(), " inputs, and is given ", inputs.size()});
  }
  for (const Capture& c : inner.captures) {
    const Value& from = (*graph_)[c.outer];
    Value& to = inner[c.inner];
    to.dtype = from.dtype;
    to.shape = from.shape;
    to.kind = from.kind;
  }
  if (!inputs.empty()) forget_shapes(inner);
  for (size_t i = 0; i < inputs.size(); ++i) {
    Value& to = inner[inner.inputs[i]];
    if (inputs[i].dtype != DType::kUndefined) to.dtype = inputs[i].dtype;
    to.shape = inputs[i].shape;
    to.kind = inputs[i].kind;
  }
  infer_shapes(inner);
  std::vector<Inferred> found;
  for (ValueId v : inner.outputs) found.push_back({inner[v].dtype, inner[v].shape, inner[v].kind});
  return found;
}

void GraphInferContext::set_kind(size_t i, ValueKind kind) {
  if (has_output(i)) (*graph_)[node_->outputs[i]].kind = kind;
}

void GraphInferContext::set_output(size_t i, DType dtype, std::optional<SymShape> shape,
                                   std::optional<Tensor>) {
  if (!has_output(i)) return;
  Value& value = (*graph_)[node_->outputs[i]];
  if (value.dtype != DType::kUndefined && dtype != DType::kUndefined && value.dtype != dtype) {
    graph_->warnings.push_back(
        Text({"'", value.name, "' is declared ", name_of(value.dtype), " but is ", name_of(dtype)}).str());
  }
  if (dtype != DType::kUndefined) value.dtype = dtype;
  if (!shape) return;
  if (shape->size() > kMaxRank) {
    fail(ErrorCode::kShapeMismatch,
         {"output has ", shape->size(), " dimensions; at most ", kMaxRank, " are supported"},
         {.tensor = value.name});
  }
  for (const Dim& d : *shape) {
    if (d.known() && d.value() > kLargestDim)
      fail(ErrorCode::kShapeMismatch, {"output of shape ", *shape, " is too large"}, {.tensor = value.name});
  }
  // An earlier shape (declared, or inferred from less) is refined, if it fits; else it was wrong.
  if (value.shape && fits(*value.shape, *shape)) refine(*shape, *value.shape);
  value.shape = std::move(shape);
}

namespace {

void require_tensors(const OpDef& def, const InferContext& c) {
  for (size_t i = 0; i < c.inputs() && !def.between; ++i)
    if (c.kind(i) != ValueKind::kTensor)
      c.fail(ErrorCode::kInvalidModel, {"input ", i, " is ", name_of(c.kind(i)), ", not a tensor"});
}

}  // namespace

void infer_node(Graph& graph, const Node& node) {
  const OpDef* def = find_op(node);
  if (!def || !def->infer) return;
  GraphInferContext context(graph, node);
  try {
    check_inputs(*def, context);
    require_tensors(*def, context);
    def->infer(context);
  } catch (Error& e) {
    e.add_details({.node = node.name, .op = qualified_name(node)});
    throw;
  }
}

void infer_shapes(Graph& graph) {
  for (const Node& node : graph.nodes) infer_node(graph, node);
}

ShapesBefore forget_declared(Graph& graph) {
  ShapesBefore shapes(graph.values.size());
  for (const Node& node : graph.nodes) {
    const OpDef* def = find_op(node);
    if (!def || !def->infer) continue;
    for (ValueId v : node.outputs)
      if (v != kNoValue) shapes[static_cast<size_t>(v)] = std::exchange(graph[v].shape, std::nullopt);
  }
  infer_shapes(graph);
  return shapes;
}

void give_back(Graph& graph, const ShapesBefore& declared) {
  for (size_t i = 0; i < declared.size(); ++i) {
    std::optional<SymShape>& shape = graph.values[i].shape;
    if (!shape) shape = declared[i];
    if (shape && declared[i] && fits(*shape, *declared[i])) refine(*shape, *declared[i]);
  }
}

namespace {

struct Foreign {
  std::string node, why;  // `why`: empty for unknown operators
};
using ForeignOps = std::map<std::string, Foreign>;  // by operator: the first node that uses it

enum class Which : uint8_t {
  kNotRun,   // operators that no run computes
  kCertain,  // the same, of nodes that every run comes to
  kForeign,  // operators without a form in memory, whether or not a run finds one
};

void collect(const Graph& graph, Which which, ForeignOps& found) {
  for (const Node& node : graph.nodes) {
    const OpDef* def = find_op(node);
    const bool ours = which == Which::kForeign ? (def && def->runs()) || is_fused(node) : may_run(node);
    if (!ours) found.emplace(qualified_name(node), Foreign{node.name, node.refusal ? node.refusal->why : ""});
    if (which == Which::kCertain && def && def->taken) continue;  // which branch runs, only the run decides
    for (const Graph& sub : subgraphs(node)) collect(sub, which, found);
  }
}

std::string listed(const ForeignOps& found) {
  std::string list;
  for (const auto& [op, foreign] : found) {
    list += Text({list.empty() ? "" : ", ", op, " (node '", foreign.node, "'",
                  foreign.why.empty() ? "" : ": ", foreign.why, ")"})
                .str();
  }
  return list;
}

std::string listed(const Graph& graph, Which which) {
  ForeignOps found;
  collect(graph, which, found);
  return listed(found);
}

}  // namespace

std::string unsupported_operators(const Graph& graph) { return listed(graph, Which::kNotRun); }
std::string foreign_operators(const Graph& graph) { return listed(graph, Which::kForeign); }

void require_supported(const Graph& graph) {
  ForeignOps found;
  collect(graph, Which::kCertain, found);
  if (found.empty()) return;
  const auto& [op, first] = *found.begin();
  throw_error(ErrorCode::kUnsupportedOperator,
              {"the model uses operators that are not supported: ", listed(found)},
              {.node = first.node,
               .op = op,
               .hint = "export the model with other operators, or report the operator that you need"});
}

}  // namespace zp
