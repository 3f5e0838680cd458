// Small graphs, written down in a test.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "graph/graph.h"
#include "ops/infer.h"

namespace zp::test {

class GraphBuilder {
 public:
  ValueId input(std::string_view name, SymShape shape, DType dtype = DType::kFloat32) {
    const ValueId v = graph().add_value(name, dtype, std::move(shape));
    graph().inputs.push_back(v);
    return v;
  }
  ValueId constant(std::string_view name, Tensor tensor) {
    return graph().add_constant(name, std::move(tensor));
  }

  using Attributes = std::vector<std::pair<std::string, Attribute>>;
  // One node with one output, which has the node's name.
  ValueId add(std::string_view op, std::string_view name, std::vector<ValueId> inputs,
              Attributes attributes = {}, std::string_view domain = "") {
    Node n;
    n.op_type = op;
    n.domain = domain;
    n.name = name;
    n.inputs = std::move(inputs);
    n.outputs = {graph().add_value(name)};
    for (auto& [key, value] : attributes) n.attributes.emplace(std::move(key), std::move(value));
    const ValueId out = n.outputs[0];
    graph().nodes.push_back(std::move(n));
    return out;
  }
  // DequantizeLinear(QuantizeLinear(x)), one scale.
  ValueId fake_quantize(std::string_view name, ValueId x, float scale, int zero_point,
                        DType dtype = DType::kUint8) {
    const std::string base(name);
    const ValueId s = constant(base + "_scale", Tensor::scalar(scale));
    const ValueId z = constant(base + "_zero_point", dtype == DType::kUint8
                                                         ? Tensor::scalar(static_cast<uint8_t>(zero_point))
                                                         : Tensor::scalar(static_cast<int8_t>(zero_point)));
    const ValueId q = add("QuantizeLinear", base + "_q", {x, s, z});
    return add("DequantizeLinear", base, {q, s, z});
  }
  void output(ValueId v) { graph().outputs.push_back(v); }

  Graph& graph() { return model_->graph; }
  // With shapes inferred; the builder is empty afterwards.
  std::shared_ptr<Model> build() {
    infer_shapes(graph());
    return std::exchange(model_, std::make_shared<Model>());
  }

 private:
  std::shared_ptr<Model> model_ = std::make_shared<Model>();
};

// Values in [-1, 1] that differ, the same in every run.
inline Tensor ramp(Shape dims, float scale = 1.0f) {
  Tensor t(DType::kFloat32, std::move(dims));
  uint32_t state = 12345;
  for (float& v : t.mutable_data<float>()) {
    state = state * 1664525u + 1013904223u;
    v = scale * (static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1.0f);
  }
  return t;
}

}  // namespace zp::test
