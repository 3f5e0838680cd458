#include "ops/rewrite.h"

#include <algorithm>
#include <utility>

#include "graph/subgraphs.h"
#include "ops/infer.h"

namespace zp {
namespace {

std::vector<Rewrite>& registry() {
  static std::vector<Rewrite> rewrites;
  return rewrites;
}

// One pass of one rewrite over the graph. Each node takes part in at most one replacement a pass, so that the
// index stays true.
bool apply_once(Graph& graph, const Rewrite& rewrite) {
  const GraphIndex index(graph);
  std::vector<char> touched(graph.nodes.size(), 0);
  std::vector<std::vector<Node>> inserted(graph.nodes.size());
  std::vector<ValueId> changed;
  bool any = false;
  const size_t count = graph.nodes.size();
  for (size_t n = 0; n < count; ++n) {
    if (touched[n]) continue;
    RewriteContext context(graph, index, static_cast<int32_t>(n));
    if (!rewrite.apply(context)) continue;
    const auto taken = [&](int32_t i) { return touched[static_cast<size_t>(i)] != 0; };
    if (context.removed.empty() || std::any_of(context.removed.begin(), context.removed.end(), taken))
      continue;
    any = true;
    for (int32_t i : context.removed) touched[static_cast<size_t>(i)] = 1;
    inserted[static_cast<size_t>(context.removed.back())] = std::move(context.added);
  }
  if (!any) return false;
  std::vector<Node> nodes;
  for (size_t n = 0; n < count; ++n) {
    for (Node& node : inserted[n]) nodes.push_back(std::move(node));
    if (!touched[n]) nodes.push_back(std::move(graph.nodes[n]));
  }
  graph.nodes = std::move(nodes);
  remove_unused(graph);
  return true;
}

}  // namespace

RegisterRewrite::RegisterRewrite(const Rewrite& rewrite) {
  std::vector<Rewrite>& all = registry();
  // By order, then name: the same everywhere, whatever order the linker starts files in.
  const auto before = [](const Rewrite& a, const Rewrite& b) {
    return a.order != b.order ? a.order < b.order : a.name < b.name;
  };
  all.insert(std::upper_bound(all.begin(), all.end(), rewrite, before), rewrite);
}

int32_t RewriteContext::only_consumer(ValueId value) const {
  if (value == kNoValue || graph.is_output(value)) return -1;
  const auto& readers = index_.consumers[static_cast<size_t>(value)];
  return readers.size() == 1 ? readers[0] : -1;
}

std::optional<float> RewriteContext::scalar(ValueId value) const {
  const Tensor* t = graph.constant(value);
  if (!t || t->size() != 1 || t->dtype() == DType::kString) return std::nullopt;
  return t->floats()[0];
}

std::optional<RewriteContext::ScalarAndOther> RewriteContext::scalar_operand(const Node& node) const {
  if (node.inputs.size() != 2) return std::nullopt;
  if (const auto s = scalar(node.inputs[1])) return ScalarAndOther{*s, node.inputs[0]};
  if (const auto s = scalar(node.inputs[0])) return ScalarAndOther{*s, node.inputs[1]};
  return std::nullopt;
}

namespace {

// A branch that makes no sense for its inputs may never be taken: it stays as it is.
bool simplified_branch(Graph& branch) {
  try {
    return simplify(branch);
  } catch (const Error& e) {
    if (e.code() == ErrorCode::kOutOfMemory || e.code() == ErrorCode::kInternal) throw;
    return false;
  }
}

}  // namespace

bool simplify(Graph& graph) {
  bool any = false;
  for (Node& node : graph.nodes)
    for (Graph& sub : subgraphs(node)) any = simplified_branch(sub) || any;
  remove_unused(graph);
  const ShapesBefore declared = forget_declared(graph);
  for (bool changed = true; changed;) {
    changed = false;
    for (const Rewrite& rewrite : registry()) {
      while (apply_once(graph, rewrite)) changed = true;
    }
    if (changed) infer_shapes(graph);
    any = any || changed;
  }
  give_back(graph, declared);
  return any;
}

}  // namespace zp
