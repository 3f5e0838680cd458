// If: one of two subgraphs. A condition that is known when the model is read is replaced by its branch; one
// that follows from the shapes of the feeds chooses its branch when a plan is made; any other chooses in each
// run, between branches that must give the same shapes.
#include <cstring>
#include <map>
#include <memory>
#include <utility>

#include "ops/op.h"
#include "ops/rewrite.h"

namespace zp {
namespace {

using Inferred = std::vector<InferContext::Inferred>;

std::string_view branch_for(const Tensor& condition) {
  return condition.size() > 0 && condition.integer_at(0) != 0 ? "then_branch" : "else_branch";
}

void require_condition(const InferContext& c) {
  const DType t = c.dtype(0);
  if (t != DType::kBool && t != DType::kUndefined) {
    c.fail(ErrorCode::kInvalidModel, {"the condition is ", name_of(t), ", not bool"});
  }
}

void give(InferContext& c, const Inferred& found) {
  if (found.size() != c.outputs()) {
    c.fail(ErrorCode::kInvalidModel, {"a branch has ", found.size(), " outputs, the node ", c.outputs()});
  }
  for (size_t i = 0; i < found.size(); ++i) {
    if (found[i].shape) {
      c.output(i, found[i].dtype, *found[i].shape);
    } else {
      c.output(i, found[i].dtype);
    }
  }
}

bool same(const Inferred& a, const Inferred& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].dtype != b[i].dtype || a[i].shape != b[i].shape) return false;
  return true;
}

// What both branches agree on.
Inferred common(const Inferred& a, const Inferred& b) {
  Inferred both = a;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (both[i].dtype == DType::kUndefined) both[i].dtype = b[i].dtype;
    if (!a[i].shape || !b[i].shape || a[i].shape->size() != b[i].shape->size()) {
      both[i].shape.reset();
      continue;
    }
    for (size_t d = 0; d < a[i].shape->size(); ++d)
      if ((*a[i].shape)[d] != (*b[i].shape)[d]) (*both[i].shape)[d] = Dim();
  }
  return both;
}

void infer_if(InferContext& c) {
  require_condition(c);
  if (const Tensor* condition = c.constant(0)) return give(c, c.infer_subgraph(branch_for(*condition)));
  std::optional<Inferred> branches[2];
  for (size_t i = 0; i < 2; ++i) {
    try {
      branches[i] = c.infer_subgraph(i == 0 ? "then_branch" : "else_branch");
    } catch (const Error& e) {
      // A branch may make no sense for these inputs, and then is not meant to run.
      if (e.code() != ErrorCode::kShapeMismatch && e.code() != ErrorCode::kUnsupportedOperator) throw;
    }
  }
  if (branches[0] && branches[1] && same(*branches[0], *branches[1])) return give(c, *branches[0]);
  // The shapes of the outputs depend on the condition.
  if (const Tensor* condition = c.shape_argument(0)) return give(c, c.infer_subgraph(branch_for(*condition)));
  if (branches[0] && branches[1]) return give(c, common(*branches[0], *branches[1]));
  for (size_t i = 0; i < c.outputs(); ++i) c.output(i, DType::kUndefined);
}

struct Branch {
  std::shared_ptr<SubPlan> plan;
  size_t first_capture = 0;
  std::vector<const std::byte*> captured;
};

std::shared_ptr<Branch> prepare_branch(PrepareContext& c, std::string_view attribute) {
  auto branch = std::make_shared<Branch>();
  branch->plan = c.plan_subgraph(attribute);
  branch->first_capture = c.capture_slot(attribute);
  const Attribute* a = c.node().attribute(attribute);
  branch->captured.resize(std::get<std::shared_ptr<Graph>>(*a)->captures.size());
  return branch;
}

Kernel prepare_if(PrepareContext& c) {
  const Tensor* condition = c.constant(0);
  std::shared_ptr<Branch> branches[2];  // [condition]
  for (size_t i = 0; i < 2; ++i) {
    const std::string_view attribute = i == 1 ? "then_branch" : "else_branch";
    if (!condition || branch_for(*condition) == attribute) branches[i] = prepare_branch(c, attribute);
  }
  if (condition) branches[0] = branches[1] = branches[branches[1] ? 1 : 0];
  std::vector<size_t> bytes;
  for (size_t i = 0; i < c.outputs(); ++i) {
    bytes.push_back(c.has_output(i) ? bytes_of(c.out_dtype(i), element_count(c.out_dims(i))) : 0);
  }
  const std::shared_ptr<Branch> no = branches[0], yes = branches[1];
  return [no, yes, bytes](const RunContext& run) {
    Branch& branch = *run.in<uint8_t>(0) ? *yes : *no;
    for (size_t i = 0; i < branch.captured.size(); ++i)
      branch.captured[i] = run.inputs[branch.first_capture + i];
    const std::vector<TensorView> views = branch.plan->run(branch.captured, run.pool);
    for (size_t i = 0; i < bytes.size() && i < views.size(); ++i)
      if (bytes[i] > 0) std::memcpy(run.outputs[i], views[i].data, bytes[i]);
  };
}

// ---- a condition that is known: the branch in the place of the node

bool inline_branch(RewriteContext& r) {
  const Node& node = r.node();
  if (!node.is("If")) return false;
  const Tensor* condition = r.graph.constant(node.input(0));
  if (!condition) return false;
  const Attribute* attribute = node.attribute(branch_for(*condition));
  const auto* sub = attribute ? std::get_if<std::shared_ptr<Graph>>(attribute) : nullptr;
  if (!sub || !*sub || (*sub)->outputs.size() != node.outputs.size()) return false;
  const std::shared_ptr<Graph> inner = *sub;  // adding values below moves the outer ones, not these
  const std::vector<ValueId> results = node.outputs;
  const std::string name = node.name;

  std::map<ValueId, ValueId> outer;  // by inner value
  for (const Capture& c : inner->captures) outer[c.inner] = c.outer;
  std::vector<Node> with;
  std::map<ValueId, ValueId> wanted;  // results that a node of the branch can make directly
  for (const Node& n : inner->nodes) {
    for (ValueId v : n.outputs) {
      for (size_t i = 0; i < results.size(); ++i)
        if (v != kNoValue && inner->outputs[i] == v && results[i] != kNoValue && !wanted.contains(v))
          wanted[v] = results[i];
    }
  }
  for (const auto& [from, to] : wanted) outer[from] = to;
  const auto mapped = [&](ValueId v) {
    if (v == kNoValue) return v;
    const auto known = outer.find(v);
    if (known != outer.end()) return known->second;
    const Value& value = (*inner)[v];
    const ValueId added = r.graph.add_value(value.name, value.dtype, value.shape);
    r.graph[added].constant = value.constant;
    return outer[v] = added;
  };
  for (const Node& n : inner->nodes) {
    Node copy = n;
    for (ValueId& v : copy.inputs) v = mapped(v);
    for (ValueId& v : copy.outputs) v = mapped(v);
    for (auto& [key, value] : copy.attributes) {
      if (auto* nested = std::get_if<std::shared_ptr<Graph>>(&value)) {
        auto own = std::make_shared<Graph>(**nested);
        for (Capture& c : own->captures) c.outer = mapped(c.outer);
        *nested = std::move(own);
      }
    }
    with.push_back(std::move(copy));
  }
  for (size_t i = 0; i < results.size(); ++i) {
    if (results[i] == kNoValue) continue;
    const ValueId from = mapped(inner->outputs[i]);
    if (from == results[i]) continue;
    Node same_value;
    same_value.name = name;
    same_value.op_type = "Identity";
    same_value.inputs = {from};
    same_value.outputs = {results[i]};
    with.push_back(std::move(same_value));
  }
  r.replace({r.at()}, std::move(with));
  return true;
}

constexpr OpDef kIf = {
    .name = "If",
    .infer = infer_if,
    .prepare = prepare_if,
    .quant = {.why_float = "chooses between branches, whose layers are planned on their own"}};
const RegisterOps kRegistered({&kIf});
const RegisterRewrite kInlineBranch({.name = "branch whose condition is known",
                                     .apply = inline_branch,
                                     .order = -1});

}  // namespace
}  // namespace zp
