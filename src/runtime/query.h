// PrepareContext over values in logical order, before anything has a place in memory: what an operator is
// asked with when the planner wants to know whether it has an integer kernel.
#pragma once

#include "runtime/plan.h"

namespace zp::runtime {

class QueryContext : public PrepareContext {
 public:
  QueryContext(const PlanNode& n, const std::vector<PlanValue>& values)
      : PrepareContext(n.node, nullptr, 1), n_(n), values_(values) {}

  DType dtype(size_t i) const override { return has_input(i) ? in(i).dtype : DType::kUndefined; }
  const Shape& dims(size_t i) const override { return in(i).dims; }
  const Tensor* constant(size_t i) const override {
    return has_input(i) && in(i).constant ? &*in(i).constant : nullptr;
  }
  Layout layout(size_t) const override { return Layout::kLogical; }
  DType out_dtype(size_t i) const override { return out(i).dtype; }
  const Shape& out_dims(size_t i) const override { return out(i).dims; }
  Layout out_layout(size_t) const override { return Layout::kLogical; }
  const EdgeQuant* quant(size_t i) const override {
    return i < n_.in_quant.size() && n_.in_quant[i] ? &*n_.in_quant[i] : nullptr;
  }
  const EdgeQuant* out_quant() const override { return n_.out_quant ? &*n_.out_quant : nullptr; }
  Clamp clamp() const override { return n_.clamp; }
  std::shared_ptr<SubPlan> plan_subgraph(std::string_view) const override { return nullptr; }
  size_t capture_slot(std::string_view) const override { return 0; }

 protected:
  std::string cache_key(std::string_view) const override { return {}; }
  std::vector<PreparedCache::Source> cache_sources() const override { return {}; }

 private:
  const PlanValue& in(size_t i) const {
    if (!has_input(i)) fail(ErrorCode::kInvalidModel, {"input ", i, " is missing"});
    return values_[static_cast<size_t>(n_.node.inputs[i])];
  }
  const PlanValue& out(size_t i) const { return values_[static_cast<size_t>(n_.node.outputs.at(i))]; }
  const PlanNode& n_;
  const std::vector<PlanValue>& values_;
};

}  // namespace zp::runtime
