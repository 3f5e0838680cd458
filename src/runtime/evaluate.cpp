#include "runtime/cache.h"
#include "runtime/plan.h"

namespace zp::runtime {

std::vector<Tensor> evaluate(const PlanNode& node, const std::vector<const Tensor*>& inputs,
                             const std::vector<PlanValue>& outputs) {
  // A graph of one node, whose inputs are fed.
  Specialized s;
  PlanNode n = node;
  PlanRequest request;
  NoCache cache;
  request.cache = &cache;
  const auto add = [&](PlanValue value) {
    s.values.push_back(std::move(value));
    return static_cast<ValueId>(s.values.size()) - 1;
  };
  n.node.inputs.clear();
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i]) {
      n.node.inputs.push_back(kNoValue);
      continue;
    }
    PlanValue value{.dtype = inputs[i]->dtype(),
                    .dims = inputs[i]->dims(),
                    .known = true,
                    .constant = *inputs[i],
                    .content = {}};
    const ValueId v = add(std::move(value));
    n.node.inputs.push_back(v);
  }
  n.node.outputs.clear();
  for (const PlanValue& value : outputs) {
    if (!value.known) {
      n.node.outputs.push_back(kNoValue);
      continue;
    }
    const ValueId v =
        add({.dtype = value.dtype, .dims = value.dims, .known = true, .constant = {}, .content = {}});
    n.node.outputs.push_back(v);
    s.outputs.push_back(v);
  }
  s.nodes.push_back(std::move(n));
  Plan plan(s, request);
  for (size_t i = 0; i < plan.steps().size(); ++i) plan.run_step(i, nullptr, 0);
  std::vector<Tensor> results;
  size_t next = 0;
  for (const PlanValue& value : outputs)
    results.push_back(value.known ? plan.kept(s.outputs[next++]) : Tensor());
  return results;
}

}  // namespace zp::runtime
