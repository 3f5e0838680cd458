// Every shape becomes a number; nodes whose inputs are all known (Shape -> Slice -> Concat chains) are
// evaluated now.
#include <algorithm>

#include "ops/infer.h"
#include "runtime/plan.h"

namespace zp::runtime {
namespace {

// A constant that is larger than this is computed in the run, not kept beside the model.
constexpr int64_t kLargestFolded = int64_t{1} << 24;
// Feeds with more elements than this do not decide shapes.
constexpr int64_t kLargestShapeFeed = 4096;

std::string op_with_version(const Node& node) { return qualified_name(node) + "-" + std::to_string(kOpset); }

void check_supported(const PlanNode& n) {
  if (!n.def || !n.def->prepare) {
    throw_error(ErrorCode::kUnsupportedOperator, {"operator ", qualified_name(n.node), " is not supported"},
                {.node = n.node.name, .op = op_with_version(n.node)});
  }
}

bool all_inputs_constant(const Node& node, const std::vector<PlanValue>& values) {
  return std::all_of(node.inputs.begin(), node.inputs.end(), [&](ValueId v) {
    return v == kNoValue || values[static_cast<size_t>(v)].constant.has_value();
  });
}

bool has_subgraph(const Node& node) {
  return std::any_of(node.attributes.begin(), node.attributes.end(), [](const auto& entry) {
    return std::holds_alternative<std::shared_ptr<Graph>>(entry.second);
  });
}

}  // namespace

DType PlanInferContext::dtype(size_t i) const {
  return has_input(i) ? values_[static_cast<size_t>(node_->inputs[i])].dtype : DType::kUndefined;
}

const SymShape* PlanInferContext::shape(size_t i) const {
  if (!has_input(i)) return nullptr;
  const PlanValue& v = values_[static_cast<size_t>(node_->inputs[i])];
  if (!v.known) return nullptr;
  return &shapes_.insert_or_assign(i, symbolic(v.dims)).first->second;
}

const Tensor* PlanInferContext::constant(size_t i) const {
  if (!has_input(i)) return nullptr;
  const PlanValue& v = values_[static_cast<size_t>(node_->inputs[i])];
  return v.constant ? &*v.constant : nullptr;
}

bool PlanInferContext::feeds_behind(ValueId value, std::set<ValueId>& feeds) const {
  const GraphIndex index(graph_);
  std::vector<ValueId> open{value};
  std::set<ValueId> seen;
  while (!open.empty()) {
    const ValueId v = open.back();
    open.pop_back();
    if (v == kNoValue || !seen.insert(v).second || values_[static_cast<size_t>(v)].constant) continue;
    const int32_t maker = index.producer[static_cast<size_t>(v)];
    if (maker >= 0) {
      const Node& node = graph_.nodes[static_cast<size_t>(maker)];
      if (has_subgraph(node)) return false;
      open.insert(open.end(), node.inputs.begin(), node.inputs.end());
      continue;
    }
    const auto feed = request_.feeds.find(v);
    if (feed == request_.feeds.end()) return false;
    const bool fed = std::find(graph_.inputs.begin(), graph_.inputs.end(), v) != graph_.inputs.end();
    if (fed && (!feed->second.content || feed->second.content->size() > kLargestShapeFeed)) return false;
    feeds.insert(v);
  }
  return true;
}

const Tensor* PlanInferContext::shape_argument(size_t i) const {
  if (!has_input(i)) return nullptr;
  if (const Tensor* c = constant(i)) return c;
  const ValueId id = node_->inputs[i];
  NeedsContent needs;
  if (feeds_behind(id, needs.feeds)) throw needs;
  fail(ErrorCode::kUnsupportedOperator, "the shape of the output depends on values that only a run computes",
       {.tensor = graph_[id].name, .hint = "export the model with fixed or input-dependent shapes only"});
}

void PlanInferContext::set_output(size_t i, DType dtype, std::optional<SymShape> shape,
                                  std::optional<Tensor> value) {
  if (!has_output(i)) return;
  const ValueId id = node_->outputs[i];
  PlanValue& v = values_[static_cast<size_t>(id)];
  const std::optional<Shape> dims = shape ? concrete(*shape) : std::nullopt;
  if (!dims) {
    fail(ErrorCode::kUnsupportedOperator, "the shape of the output cannot be known before the run",
         {.tensor = graph_[id].name});
  }
  element_count(*dims);  // refuses what no memory can hold
  const std::optional<SymShape>& declared = graph_[id].shape;
  if (declared && declared->size() != dims->size()) {
    fail(ErrorCode::kShapeMismatch, {"the model declares ", *declared, " but computes ", *dims},
         {.tensor = graph_[id].name});
  }
  v.dtype = dtype;
  v.dims = *dims;
  v.known = true;
  if (value) v.constant = std::move(value);
}

const std::shared_ptr<Graph>& subgraph_of(const Node& node, std::string_view attribute) {
  const Attribute* a = node.attribute(attribute);
  const auto* sub = a ? std::get_if<std::shared_ptr<Graph>>(a) : nullptr;
  if (!sub || !*sub) {
    throw_error(ErrorCode::kInvalidModel, {"subgraph '", attribute, "' is missing"},
                {.node = node.name, .op = qualified_name(node)});
  }
  return *sub;
}

PlanRequest subgraph_request(const PlanRequest& outer, const std::vector<PlanValue>& values, const Node& node,
                             std::string_view attribute) {
  PlanRequest inner;
  const Graph& graph = *subgraph_of(node, attribute);
  inner.graph = &graph;
  for (const Capture& c : graph.captures) {
    const PlanValue& v = values[static_cast<size_t>(c.outer)];
    inner.feeds[c.inner] = {v.dtype, v.dims, v.constant ? &*v.constant : nullptr};
  }
  inner.integer = outer.integer;
  inner.threads = outer.threads;
  inner.memory_limit = outer.memory_limit;
  inner.cache = outer.cache;
  const ValueId made = node.output(0);
  inner.cache_prefix = outer.cache_prefix + std::to_string(made) + std::string(attribute) + "/";
  return inner;
}

std::vector<InferContext::Inferred> PlanInferContext::infer_subgraph(std::string_view attribute) const {
  const PlanRequest inner = subgraph_request(request_, values_, *node_, attribute);
  Specialized s;
  try {
    s = specialize(inner);
  } catch (const NeedsContent& inside) {
    NeedsContent needs;
    for (const Capture& c : inner.graph->captures)
      if (inside.feeds.contains(c.inner) && !feeds_behind(c.outer, needs.feeds)) {
        fail(ErrorCode::kUnsupportedOperator,
             "a shape inside the subgraph depends on values that only a run computes",
             {.tensor = graph_[c.outer].name});
      }
    throw needs;
  }
  std::vector<Inferred> found;
  for (ValueId v : s.outputs) {
    const PlanValue& value = s.values[static_cast<size_t>(v)];
    found.push_back({value.dtype, symbolic(value.dims)});
  }
  return found;
}

Specialized specialize(const PlanRequest& request) {
  const Graph& graph = *request.graph;
  Specialized s;
  s.graph = &graph;
  s.values.resize(graph.values.size());
  s.outputs = graph.outputs;
  for (size_t i = 0; i < graph.values.size(); ++i) {
    if (!graph.values[i].constant) continue;
    const Tensor& t = *graph.values[i].constant;
    s.values[i] = {.dtype = t.dtype(), .dims = t.dims(), .known = true, .constant = t, .from_file = true};
  }
  for (const auto& [id, feed] : request.feeds) {
    PlanValue& v = s.values[static_cast<size_t>(id)];
    v = {.dtype = feed.dtype, .dims = feed.dims, .known = true, .constant = {}, .from_file = false};
    // A captured value that the outer plan knows is a constant here too.
    const bool captured = std::find(graph.inputs.begin(), graph.inputs.end(), id) == graph.inputs.end();
    if ((captured || request.constant_feeds.contains(id)) && feed.content) {
      v.constant = *feed.content;
    } else {
      s.inputs.push_back(id);
    }
  }

  for (const Node& node : graph.nodes) {
    PlanNode n;
    n.node = node;
    n.def = find_op(node.domain, node.op_type);
    check_supported(n);
    try {
      PlanInferContext context(n.node, graph, s.values, request);
      n.def->infer(context);
      for (ValueId v : node.outputs) {
        if (v != kNoValue && !s.values[static_cast<size_t>(v)].known) {
          throw_error(ErrorCode::kInternal, "no shape was inferred", {.tensor = graph[v].name});
        }
      }
      bool known = true;  // the rule gave the values themselves (Shape)
      int64_t elements = 0;
      for (ValueId v : node.outputs) {
        if (v == kNoValue) continue;
        const PlanValue& value = s.values[static_cast<size_t>(v)];
        known = known && value.constant.has_value();
        elements += element_count(value.dims);
      }
      if (known && !node.outputs.empty()) continue;
      // A DQ of weights stays: the operator after it may want the integers.
      if (n.def->role == QdqRole::kNone && n.def->deterministic && !node.inputs.empty() &&
          !has_subgraph(node) && elements <= kLargestFolded && all_inputs_constant(node, s.values)) {
        std::vector<const Tensor*> inputs;
        for (ValueId v : node.inputs) {
          inputs.push_back(v == kNoValue ? nullptr : &*s.values[static_cast<size_t>(v)].constant);
        }
        std::vector<PlanValue> outputs;
        for (ValueId v : node.outputs)
          outputs.push_back(v == kNoValue ? PlanValue{} : s.values[static_cast<size_t>(v)]);
        n.in_quant.resize(node.inputs.size());
        std::vector<Tensor> results = evaluate(n, inputs, outputs);
        for (size_t i = 0; i < results.size(); ++i)
          if (node.outputs[i] != kNoValue)
            s.values[static_cast<size_t>(node.outputs[i])].constant = std::move(results[i]);
        continue;
      }
    } catch (Error& e) {
      e.add_details({.node = node.name, .op = op_with_version(node)});
      throw;
    }
    for (const auto& [key, attribute] : node.attributes) {
      if (const auto* sub = std::get_if<std::shared_ptr<Graph>>(&attribute)) {
        n.capture_slots[key] = n.node.inputs.size() + n.extra_inputs.size();
        for (const Capture& c : (*sub)->captures) n.extra_inputs.push_back(c.outer);
      }
    }
    n.in_quant.resize(n.node.inputs.size());
    s.nodes.push_back(std::move(n));
  }
  return s;
}

}  // namespace zp::runtime
