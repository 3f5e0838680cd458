// If: one of two subgraphs. Where the condition is known (when the model is read, or when a plan is made),
// the branch stands in the place of the node. Any other condition chooses in each run, between branches that
// give the same shapes. Where the shapes differ, the plan ends at the condition, and the nodes after it are
// planned for the branch.
#include <cstring>
#include <memory>
#include <utility>

#include "ops/kinds.h"
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
  for (size_t i = 0; i < found.size(); ++i) c.output(i, found[i]);
}

bool same(const Inferred& a, const Inferred& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (a[i].dtype != b[i].dtype || !a[i].shape || !b[i].shape || a[i].shape != b[i].shape) return false;
  return true;
}

// The facts on which both branches agree.
Inferred common(const Inferred& a, const Inferred& b) {
  Inferred both = a;
  for (size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (both[i].dtype == DType::kUndefined) both[i].dtype = b[i].dtype;
    if (both[i].kind == ValueKind::kTensor) both[i].kind = b[i].kind;
    both[i].shape = common_shape(a[i].shape, b[i].shape);
  }
  return both;
}

void infer_if(InferContext& c) {
  require_condition(c);
  if (const Tensor* condition = c.constant(0)) return give(c, c.infer_subgraph(branch_for(*condition), {}));
  std::optional<Inferred> branches[2];
  for (size_t i = 0; i < 2; ++i) {
    try {
      branches[i] = c.infer_subgraph(i == 0 ? "then_branch" : "else_branch", {});
    } catch (const Error& e) {
      // A branch may make no sense for these inputs, and then is not meant to run.
      if (e.code() == ErrorCode::kOutOfMemory || e.code() == ErrorCode::kInternal) throw;
    }
  }
  if (branches[0] && branches[1] && same(*branches[0], *branches[1])) return give(c, *branches[0]);
  // The shapes of the outputs depend on the condition.
  if (const Tensor* condition = c.shape_argument(0))
    return give(c, c.infer_subgraph(branch_for(*condition), {}));
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
  const std::shared_ptr<Branch> yes = prepare_branch(c, "then_branch"), no = prepare_branch(c, "else_branch");
  std::vector<size_t> bytes;
  for (size_t i = 0; i < c.outputs(); ++i) {
    bytes.push_back(c.has_output(i) ? bytes_of(c.out_dtype(i), element_count(c.out_dims(i))) : 0);
  }
  return [no, yes, bytes](const RunContext& run) {
    Branch& branch = *run.in<uint8_t>(0) ? *yes : *no;
    for (size_t i = 0; i < branch.captured.size(); ++i)
      branch.captured[i] = run.inputs[branch.first_capture + i];
    const std::vector<TensorView> views = branch.plan->run(branch.captured, run.pool);
    for (size_t i = 0; i < bytes.size() && i < views.size(); ++i)
      if (bytes[i] > 0) std::memcpy(run.outputs[i], views[i].data, bytes[i]);
  };
}

// Where a branch reads a sequence.
bool run_branch(BetweenContext& c) {
  if (c.tensor(0).dtype() != DType::kBool)
    c.fail_input(0, ErrorCode::kInvalidModel, "the condition is not bool");
  SubRun& branch = c.subgraph(branch_for(c.tensor(0)));
  if (!c.state) {
    branch.begin({});
    c.state = std::make_unique<BetweenContext::State>();
  }
  if (!branch.advance()) return false;
  if (branch.graph().outputs.size() != c.node().outputs.size()) {
    c.fail(ErrorCode::kInvalidModel,
           {"a branch has ", branch.graph().outputs.size(), " outputs, the node ", c.node().outputs.size()});
  }
  for (size_t i = 0; i < c.node().outputs.size(); ++i) c.give(i, branch.output(i));
  return true;
}

// The branch that stands for the node, when the condition is known.
std::optional<std::string_view> taken(const Tensor& condition) {
  if (condition.dtype() != DType::kBool) return std::nullopt;
  return branch_for(condition);
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
  // Copies: adding values moves the graph's own.
  const std::shared_ptr<Graph> body = *sub;
  const Node replaced = node;
  r.replace({r.at()}, spliced(r.graph, replaced, *body));
  return true;
}

// Branches may give other shapes than each other since opset 11.
void respell(Respell& r) {
  r.need(11);
  for (ValueId v : r.node.outputs) need_kind(r, v, 13, 16);
}

constexpr OpDef kIf = {
    .name = "If",
    .opsets = "@o 7A 16b 19G 21qQ 23m 24e 25pP",
    .types = "b",
    .infer = infer_if,
    .prepare = prepare_if,
    .between = run_branch,
    .quant = {.why_float = "chooses between branches, whose layers are planned on their own"},
    .respell = respell,
    .taken = taken};
const RegisterOps kRegistered({&kIf});
const RegisterRewrite kInlineBranch({.name = "branch whose condition is known",
                                     .apply = inline_branch,
                                     .order = -1});

}  // namespace
}  // namespace zp
