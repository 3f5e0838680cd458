// Constants that were half precision in the file and stay float become half precision again: the same numbers
// in half the bytes, behind a Cast that runtimes do once.
#include <bit>
#include <cstring>

#include "graph/subgraphs.h"
#include "ops/cast.h"
#include "quant/qdq.h"
#include "quant/stage.h"

namespace zp::quant {
namespace {

// A Cast costs about a hundred bytes.
constexpr int64_t kWorth = 256;

class Store : public PiecewiseStage {
 public:
  explicit Store(JobState& state) : state_(state) {}

 private:
  size_t start() override {
    look_for(state_.source->graph);
    return half_ || brain_ ? 1 : 0;
  }
  void piece(size_t) override { store(state_.result->graph); }

  void look_for(const Graph& graph) {
    for (const Value& v : graph.values) {
      if (!v.constant || v.constant->size() < kWorth) continue;
      half_ = half_ || v.constant->dtype() == DType::kFloat16;
      brain_ = brain_ || v.constant->dtype() == DType::kBfloat16;
    }
    for (const Node& node : graph.nodes)
      for (const Graph& sub : subgraphs(node)) look_for(sub);
  }

  // The tensor in 16 bits, if that keeps every number as it is.
  const Tensor* narrow(const Tensor& t) {
    const auto [it, added] = stored_.try_emplace({t.identity(), t.dims()});
    if (added) {
      const Glance glance(t);
      for (const DType type : {DType::kFloat16, DType::kBfloat16}) {
        if (it->second.defined() || !(type == DType::kFloat16 ? half_ : brain_)) continue;
        Tensor small = cast(t, type);
        const Tensor back = cast(small, DType::kFloat32);
        if (std::memcmp(back.raw(), t.raw(), t.bytes()) == 0) it->second = kept_beside(t, std::move(small));
      }
    }
    return it->second.defined() ? &it->second : nullptr;
  }

  void store(Graph& graph) {
    std::map<ValueId, ValueId> casts;
    std::vector<Node> nodes;
    const size_t count = graph.nodes.size();
    for (size_t i = 0; i < count; ++i) {
      // Scales stay: kernels look for constants there.
      if (is_of_qdq_pair(graph.nodes[i])) continue;
      for (size_t k = 0; k < graph.nodes[i].inputs.size(); ++k) {
        const ValueId v = graph.nodes[i].inputs[k];
        const Tensor* t = graph.constant(v);
        if (!t || t->dtype() != DType::kFloat32 || t->size() < kWorth) continue;
        if (const auto known = casts.find(v); known != casts.end()) {
          graph.nodes[i].inputs[k] = known->second;
          continue;
        }
        const Tensor* small = narrow(*t);
        if (!small) continue;
        const std::string name = graph[v].name;
        Node node;
        node.op_type = "Cast";
        node.inputs = {graph.add_constant(name + "_stored", *small)};
        node.outputs = {graph.add_value(name + "_float32", DType::kFloat32, graph[v].shape)};
        node.name = graph[node.outputs[0]].name;
        node.attributes.emplace("to", static_cast<int64_t>(DType::kFloat32));
        graph.nodes[i].inputs[k] = casts[v] = node.outputs[0];
        nodes.push_back(std::move(node));
      }
    }
    for (Node& node : graph.nodes) nodes.push_back(std::move(node));
    graph.nodes = std::move(nodes);
    remove_unused(graph);
    for (Node& node : graph.nodes) {
      if (!find_op(node)) continue;
      for (Graph& sub : subgraphs(node)) store(sub);
    }
  }

  JobState& state_;
  bool half_ = false, brain_ = false;
  // By the memory and dimensions of the float32 tensor, all of which were there before; undefined: has no
  // such form.
  std::map<std::pair<const void*, Shape>, Tensor> stored_;
};

const RegisterStage kStore({.name = "store", .order = 890, .make = make_stage<Store>});

}  // namespace
}  // namespace zp::quant
