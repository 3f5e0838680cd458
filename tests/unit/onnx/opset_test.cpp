// Which opset a model is written as, and in which form.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/error.h"
#include "model_builder.h"
#include "onnx/onnx.h"
#include "ops/respell.h"
#include "runtime/session.h"

namespace zp::onnx::test {
namespace {

using ::testing::HasSubstr;

Model read_bytes(std::string_view bytes) { return read(buffer(bytes), bytes.size()); }
Model read_written(const Model& m, int64_t opset = 0) {
  const std::vector<std::byte> bytes = write(m, opset);
  return read_bytes({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

struct One {
  std::string op;
  int64_t version;  // of the file that is read
  std::vector<Proto> attributes = {};
  std::vector<Proto> constants = {};  // inputs after the first
  DType type = DType::kFloat32;
  DType result = DType::kFloat32;
  int64_t rows = 2;  // x has the shape [rows, 3, 4]
};

// x -> op(x, c0, c1, ...) -> y
Model model_of(const One& one) {
  std::vector<std::string> names;
  GraphSpec g;
  for (size_t i = 0; i < one.constants.size(); ++i) {
    names.push_back("c" + std::to_string(i));
    Proto named = one.constants[i];
    g.initializers.push_back(named.text(tensor_field::kName, names.back()));
  }
  std::vector<std::string_view> inputs{"x"};
  inputs.insert(inputs.end(), names.begin(), names.end());
  g.inputs = {value("x", one.type, {one.rows, 3, 4})};
  g.outputs = {value_without_shape("y", one.result)};
  g.nodes = {node(one.op, inputs, {"y"}, one.attributes, "the node")};
  return read_bytes(model(g, one.version).bytes);
}
int64_t opset_of(const One& one) { return versions_of(model_of(one)).opset; }
Proto ints(std::initializer_list<int64_t> values) {
  return tensor<int64_t>("", {static_cast<int64_t>(values.size())}, values);
}

TEST(OnnxOpset, TheLowestThatHasTheOperatorAndItsTypesIsWritten) {
  EXPECT_EQ(opset_of({":Relu", 24}), kOldestOpset);
  EXPECT_EQ(opset_of({":Relu", 24, {}, {}, DType::kInt8, DType::kInt8}), 14);
  EXPECT_EQ(opset_of({":Relu", 22, {}, {}, DType::kBfloat16, DType::kBfloat16}), 13);
  EXPECT_EQ(opset_of({":Erf", 13}), 9);
  EXPECT_EQ(opset_of({":LayerNormalization", 21, {}, {tensor<float>("", {4}, {1, 1, 1, 1})}}), 17);
  EXPECT_EQ(opset_of({":Gelu", 20}), 20);
  EXPECT_EQ(opset_of({":Cast", 21, {int_attribute("to", 16)}, {}, DType::kFloat32, DType::kBfloat16}), 13);
}

TEST(OnnxOpset, WhatAFormSaysCanNeedANewerOne) {
  EXPECT_EQ(opset_of({":Softmax", 21, {int_attribute("axis", -1)}}), kOldestOpset);
  EXPECT_EQ(opset_of({":Softmax", 21, {int_attribute("axis", 1)}}), 13);
  EXPECT_EQ(opset_of({":Gather", 21, {}, {ints({0, 1})}}), kOldestOpset);
  EXPECT_EQ(opset_of({":Gather", 21, {}, {ints({-1})}}), 11);
  EXPECT_EQ(opset_of({":Reshape", 21, {int_attribute("allowzero", 1)}, {ints({2, -1})}}), 14);
  EXPECT_EQ(opset_of({":Reshape", 21, {int_attribute("allowzero", 0)}, {ints({2, -1})}}), kOldestOpset);
  EXPECT_EQ(opset_of({":Pad", 21, {}, {ints({0, 0, 1, 0, 0, 1})}}), kOldestOpset);
  EXPECT_EQ(opset_of({":Pad", 21, {string_attribute("mode", "wrap")}, {ints({0, 0, 1, 0, 0, 1})}}), 19);
  EXPECT_EQ(opset_of({":ReduceSum", 21, {int_attribute("noop_with_empty_axes", 1)}}), 13);
  EXPECT_EQ(opset_of({":ReduceMean", 21, {int_attribute("noop_with_empty_axes", 1)}}), 18);
}

TEST(OnnxOpset, QuantizationNeedsWhatItsScalesAndTypesNeed) {
  const Proto scale = tensor<float>("", {}, {0.5f}), scales = tensor<float>("", {3}, {1, 2, 3});
  const Proto zero = raw_tensor("", DType::kInt8, {}, std::string(1, '\0')),
              zeros = raw_tensor("", DType::kInt8, {3}, std::string(3, '\0'));
  const One pair{":QuantizeLinear", 21, {}, {scale, zero}, DType::kFloat32, DType::kInt8};
  EXPECT_EQ(lowest_opset(model_of(pair)).opset, 10);
  EXPECT_EQ(opset_of(pair), 10);
  Model for_others = model_of(pair);
  for_others.least_opset = 13;
  EXPECT_EQ(versions_of(for_others).opset, 13);
  EXPECT_EQ(versions_of(model_of(pair), 10).opset, 10);
  EXPECT_EQ(opset_of({":QuantizeLinear", 21, {}, {scales, zeros}, DType::kFloat32, DType::kInt8}), 13);
  const Proto zero16 = raw_tensor("", DType::kUint16, {}, std::string(2, '\0'));
  EXPECT_EQ(opset_of({":QuantizeLinear", 21, {}, {scale, zero16}, DType::kFloat32, DType::kUint16}), 21);
  // The type of the result was that of a zero point before opset 21.
  const Model typed = model_of(
      {":QuantizeLinear", 21, {int_attribute("output_dtype", 3)}, {scale}, DType::kFloat32, DType::kInt8});
  EXPECT_EQ(lowest_opset(typed).opset, 10);
  const Model old = read_written(typed);
  EXPECT_EQ(old.graph.nodes[0].attributes.count("output_dtype"), 0U);
  ASSERT_NE(old.graph.constant(old.graph.nodes[0].input(2)), nullptr);
  EXPECT_EQ(old.graph.constant(old.graph.nodes[0].input(2))->dtype(), DType::kInt8);
}

// Reading brings both to the same form, so that the bytes have to be looked at.
std::string bytes_of(const One& one, int64_t opset) {
  const std::vector<std::byte> bytes = write(model_of(one), opset);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(OnnxOpset, OlderOnesHaveAttributesWhereNewerOnesHaveInputs) {
  const One squeeze{":Squeeze", 21, {}, {ints({-3})}, DType::kFloat32, DType::kFloat32, 1};
  EXPECT_THAT(bytes_of(squeeze, 11), HasSubstr("axes"));
  EXPECT_THAT(bytes_of(squeeze, 13), ::testing::Not(HasSubstr("axes")));
  const One clip{":Clip", 21, {}, {tensor<float>("", {}, {0}), tensor<float>("", {}, {6})}};
  EXPECT_THAT(bytes_of(clip, 7), HasSubstr("max"));
  EXPECT_THAT(bytes_of(clip, 11), ::testing::Not(HasSubstr("max")));
}

TEST(OnnxOpset, AHigherOneIsWrittenAsSuch) {
  const Model m = model_of({":Relu", 13});
  EXPECT_EQ(read_written(m, 25).opsets.at(""), 25);
  EXPECT_EQ(versions_of(m, 25).ir, 13);
  try {
    write(m, kNewestOpset + 1);
    FAIL() << "was written";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
  }
}

TEST(OnnxOpset, OneThatIsTooLowIsRefusedWithTheNodeThatNeedsMore) {
  try {
    write(model_of({":Erf", 13}), 8);
    FAIL() << "was written";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(e.details().node, "the node");
    EXPECT_EQ(e.details().op, "ai.onnx.Erf");
    EXPECT_THAT(e.details().hint, HasSubstr("9"));
  }
  const Model unknown = model_of({":NobodyKnows", 15});
  EXPECT_EQ(lowest_opset(unknown).opset, 15);
  EXPECT_THROW(write(unknown, 13), Error);
  EXPECT_EQ(read_written(unknown, 17).opsets.at(""), 17);
  EXPECT_THROW(write(unknown, 23), Error);  // nobody knows whether it means the same there
}

TEST(OnnxOpset, TheIrVersionIsTheOpsetsOrThatOfTheTypes) {
  EXPECT_EQ(versions_of(model_of({":Relu", 13})).ir, 4);
  EXPECT_EQ(versions_of(model_of({":Erf", 13}), 17).ir, 8);
  const One packed{"com.nobody:Unpack", 11, {}, {raw_tensor("", DType::kInt4, {2}, std::string(1, '\0'))}};
  EXPECT_EQ(versions_of(model_of(packed)).opset, kOldestOpset);
  EXPECT_EQ(versions_of(model_of(packed)).ir, 10);
}

// What is found in a file's pieces does not ask for a newer opset than the file had.
TEST(OnnxOpset, OperatorsThatAreTooNewAreSpelledOut) {
  const auto run = [](const Model& m) {
    std::vector<float> x(24);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i) * 0.3f - 3;
    runtime::Session session(std::make_shared<const Model>(m), {});
    return session.run({{"x", Tensor::of<float>({2, 3, 4}, x)}})[0].floats();
  };
  const std::vector<Proto> row{tensor<float>("", {4}, {1, 2, 3, 4}), tensor<float>("", {4}, {4, 3, 2, 1})};
  struct Case {
    One one;
    int64_t opset;
    std::string_view has;
  };
  const Case cases[] = {{{":Gelu", 20}, 9, "Erf"},
                        {{":Gelu", 20, {string_attribute("approximate", "tanh")}}, 7, "Tanh"},
                        {{":HardSwish", 14}, 7, "HardSigmoid"},
                        {{":LayerNormalization", 17, {int_attribute("axis", 2)}, row}, 7, "ReduceMean"},
                        {{":LayerNormalization", 17, {int_attribute("axis", -1)}, {row[0]}}, 13, "Sqrt"},
                        {{":RMSNormalization", 23, {int_attribute("axis", 2)}, {row[0]}}, 7, "Pow"}};
  for (const Case& c : cases) {
    const Model whole = model_of(c.one), pieces = read_written(whole, c.opset);
    EXPECT_EQ(pieces.opsets.at(""), c.opset);
    EXPECT_TRUE(std::ranges::any_of(pieces.graph.nodes, [&](const Node& n) { return n.op_type == c.has; }));
    const std::vector<float> want = run(whole), got = run(pieces);
    for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-5f) << c.has;
  }
  // Its type is that of what nobody knows here.
  GraphSpec after;
  after.inputs = {value("x", DType::kFloat32, {4})};
  after.outputs = {value_without_shape("y", DType::kFloat32)};
  after.nodes = {node("Strange", {"x"}, {"s"}), node(":Gelu", {"s"}, {"y"})};
  EXPECT_EQ(versions_of(read_bytes(model(after, 20).bytes)).opset, 20);
  const Model microsoft = model_of({"com.microsoft:Gelu", 13});
  EXPECT_EQ(versions_of(microsoft).opset, 13);
  EXPECT_EQ(lowest_opset(microsoft).opset, 9);
}

}  // namespace
}  // namespace zp::onnx::test
