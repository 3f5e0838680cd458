// Runs a model of one node, read from a file of some opset: the reader, the planner and the kernel together.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "onnx/onnx.h"
#include "runtime/session.h"
#include "unit/onnx/model_builder.h"

namespace zp::test {

using onnx::test::Proto;

struct NodeOfOpset {
  int64_t opset;
  std::string_view op;
  std::vector<Tensor> inputs;  // called a, b, c...
  std::vector<Proto> attributes = {};
  std::vector<Proto> constants = {};  // inputs behind those
  std::vector<std::string_view> constant_names = {};
  std::vector<DType> outputs = {DType::kFloat32};
};

inline std::vector<Tensor> outputs_of(const NodeOfOpset& n) {
  static constexpr std::string_view kInputs[] = {"a", "b", "c"}, kOutputs[] = {"y", "z"};
  using namespace onnx::test;
  GraphSpec g;
  std::vector<std::string_view> in, out;
  std::vector<runtime::Feed> feeds;
  for (size_t i = 0; i < n.inputs.size(); ++i) {
    in.push_back(kInputs[i]);
    Proto dims;
    for (int64_t d : n.inputs[i].dims())
      dims.message(onnx::shape_field::kDim, Proto().integer(onnx::dim_field::kValue, d));
    g.inputs.push_back(Proto()
                           .text(onnx::value_info_field::kName, kInputs[i])
                           .message(onnx::value_info_field::kType,
                                    tensor_type(static_cast<int64_t>(n.inputs[i].dtype()), &dims)));
    feeds.push_back({std::string(kInputs[i]), n.inputs[i]});
  }
  in.insert(in.end(), n.constant_names.begin(), n.constant_names.end());
  g.initializers = n.constants;
  for (size_t i = 0; i < n.outputs.size(); ++i) {
    out.push_back(kOutputs[i]);
    g.outputs.push_back(value_without_shape(kOutputs[i], n.outputs[i]));
  }
  const std::string op = ":" + std::string(n.op);
  g.nodes = {node(op, in, out, n.attributes)};
  const std::string bytes = model(g, n.opset, n.opset < 9 ? 4 : 10).bytes;
  auto read = std::make_shared<const Model>(onnx::read(buffer(bytes), bytes.size()));
  return runtime::Session(read).run(std::move(feeds));
}

inline std::vector<float> floats_of(const NodeOfOpset& n) { return outputs_of(n)[0].floats(); }

}  // namespace zp::test
