// What an operator sees of a node when its kernel is prepared.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/plan.h"

namespace zp::runtime {

struct NodeIo {
  std::vector<const Buffer*> in;  // nullptr: absent
  std::vector<const Buffer*> out;
};

class NodeContext : public PrepareContext {
 public:
  NodeContext(const PlanNode& n, NodeIo io, const std::vector<PlanValue>& values, const PlanRequest& request)
      : PrepareContext(n.node, request.cache, request.threads),
        n_(n),
        io_(std::move(io)),
        values_(values),
        request_(request) {}

  DType dtype(size_t i) const override {
    return i < io_.in.size() && io_.in[i] ? io_.in[i]->dtype : DType::kUndefined;
  }
  const Shape& dims(size_t i) const override;
  const Tensor* constant(size_t i) const override {
    if (i >= io_.in.size() || !io_.in[i] || io_.in[i]->place != Buffer::Place::kConstant) return nullptr;
    return &io_.in[i]->constant;
  }
  Layout layout(size_t i) const override {
    return i < io_.in.size() && io_.in[i] ? io_.in[i]->layout : Layout::kLogical;
  }
  DType out_dtype(size_t i) const override { return io_.out.at(i)->dtype; }
  const Shape& out_dims(size_t i) const override { return io_.out.at(i)->dims; }
  Layout out_layout(size_t i) const override { return io_.out.at(i)->layout; }
  const EdgeQuant* quant(size_t i) const override {
    return i < n_.in_quant.size() && n_.in_quant[i] ? &*n_.in_quant[i] : nullptr;
  }
  const EdgeQuant* out_quant() const override { return n_.out_quant ? &*n_.out_quant : nullptr; }
  Clamp clamp() const override { return n_.clamp; }
  std::shared_ptr<SubPlan> plan_subgraph(std::string_view attribute) const override;
  size_t capture_slot(std::string_view attribute) const override {
    return n_.capture_slots.find(attribute)->second;
  }

 protected:
  std::string cache_key(std::string_view kind) const override;
  std::vector<PreparedCache::Source> cache_sources() const override;

 private:
  const PlanNode& n_;
  NodeIo io_;
  const std::vector<PlanValue>& values_;
  const PlanRequest& request_;
};

}  // namespace zp::runtime
