// FunctionProto: calls are inlined when a model is read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "onnx/onnx.h"
#include "runtime/session.h"
#include "unit/onnx/model_builder.h"
#include "unit/ops/one_node.h"

namespace zp::onnx::test {
namespace {

using testing::HasSubstr;
using zp::test::expect_floats;
using zp::test::floats;

constexpr std::string_view kLocal = "local";

struct FunctionSpec {
  std::string_view name;
  std::vector<std::string_view> inputs, outputs;
  std::vector<Proto> nodes;
  std::vector<Proto> defaults = {};
  int64_t opset = 21;
  std::string_view overload = "";
};

Proto function(const FunctionSpec& spec) {
  Proto f;
  f.text(function_field::kName, spec.name).text(function_field::kDomain, kLocal);
  for (std::string_view i : spec.inputs) f.text(function_field::kInput, i);
  for (std::string_view o : spec.outputs) f.text(function_field::kOutput, o);
  f.messages(function_field::kNode, spec.nodes).messages(function_field::kAttributeProto, spec.defaults);
  f.message(function_field::kOpsetImport, opset("", spec.opset))
      .message(function_field::kOpsetImport, opset(kLocal, 1));
  if (!spec.overload.empty()) f.text(function_field::kOverload, spec.overload);
  return f;
}

Proto reference(std::string_view name, std::string_view to, AttributeType type) {
  return attribute(name, type).text(attribute_field::kRefAttrName, to);
}

Model model_with(const std::vector<FunctionSpec>& functions, std::vector<Proto> nodes,
                 std::vector<Proto> initializers = {}, int64_t version = 21) {
  GraphSpec g{.nodes = std::move(nodes),
              .initializers = std::move(initializers),
              .inputs = {value("x", DType::kFloat32, {2})},
              .outputs = {value_without_shape("y", DType::kFloat32)},
              .infos = {}};
  Proto m = model(g, version);
  m.message(model_field::kOpsetImport, opset(kLocal, 1));
  for (const FunctionSpec& f : functions) m.message(model_field::kFunctions, function(f));
  return read(buffer(m.bytes), m.bytes.size());
}

Tensor run(Model model, const Tensor& x) {
  return runtime::Session(std::make_shared<const Model>(std::move(model))).run({{"x", x}})[0];
}

std::string error_of(const std::vector<FunctionSpec>& functions, std::vector<Proto> nodes) {
  try {
    model_with(functions, std::move(nodes));
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

const FunctionSpec kTwice{.name = "Twice",
                          .inputs = {"a"},
                          .outputs = {"b"},
                          .nodes = {node(":Add", {"t", "zero"}, {"b"}), node(":Add", {"a", "a"}, {"t"}),
                                    node(":Constant", {}, {"zero"}, {float_attribute("value_float", 0)})}};

TEST(Functions, AreInlinedWhereTheyAreCalled) {
  Model m = model_with({kTwice}, {node("local:Twice", {"x"}, {"t"}, {}, "first"),
                                  node("local:Twice", {"t"}, {"y"}, {}, "second")});
  EXPECT_EQ(m.graph.nodes.size(), 4u);
  for (const Node& n : m.graph.nodes) {
    EXPECT_EQ(n.domain, "");
    EXPECT_TRUE(n.name.starts_with("first/") || n.name.starts_with("second/")) << n.name;
  }
  expect_floats(run(std::move(m), floats({2}, {1, 2})), {2}, {4, 8});
}

TEST(Functions, CallEachOther) {
  const FunctionSpec four{.name = "Four",
                          .inputs = {"x"},
                          .outputs = {"y"},
                          .nodes = {node("local:Twice", {"x"}, {"t"}), node("local:Twice", {"t"}, {"y"})}};
  expect_floats(run(model_with({four, kTwice}, {node("local:Four", {"x"}, {"y"})}), floats({2}, {1, 2})), {2},
                {4, 8});
}

TEST(Functions, HaveAttributesWithDefaults) {
  const FunctionSpec leaky{
      .name = "Leaky",
      .inputs = {"a"},
      .outputs = {"b"},
      .nodes = {node(":LeakyRelu", {"a"}, {"l"}, {reference("alpha", "slope", AttributeType::kFloat)}),
                node(":Constant", {}, {"c"}, {reference("value_float", "plus", AttributeType::kFloat)}),
                node(":Add", {"l", "c"}, {"b"})},
      .defaults = {float_attribute("plus", 1)}};
  const Tensor x = floats({2}, {-100, 2});
  expect_floats(
      run(model_with({leaky}, {node("local:Leaky", {"x"}, {"y"}, {float_attribute("slope", 0.5F)})}), x), {2},
      {-49, 3});
  // Without the attribute the operator's own default counts.
  expect_floats(
      run(model_with({leaky}, {node("local:Leaky", {"x"}, {"y"}, {float_attribute("plus", 2)})}), x), {2},
      {1, 4}, 1e-5F);
}

TEST(Functions, MayBeCalledWithFewerInputsAndOutputs) {
  const FunctionSpec clip{
      .name = "Limit",
      .inputs = {"a", "lo", "hi"},
      .outputs = {"unused", "b", "same"},
      .nodes = {node(":Clip", {"a", "lo", "hi"}, {"b"}), node(":Neg", {"a"}, {"unused"})}};
  EXPECT_THAT(error_of({clip}, {node("local:Limit", {"x", "", "h"}, {"", "y", ""}),
                                node(":Constant", {}, {"h"}, {float_attribute("value_float", 1)})}),
              "");
  Model m =
      model_with({clip}, {node("local:Limit", {"x", "", "h"}, {"", "y"})}, {tensor<float>("h", {}, {1})});
  expect_floats(run(std::move(m), floats({2}, {-5, 5})), {2}, {-5, 1});
}

TEST(Functions, MayGiveAnInputBack) {
  const FunctionSpec pass{.name = "Pass", .inputs = {"a"}, .outputs = {"a"}, .nodes = {}};
  expect_floats(run(model_with({pass}, {node("local:Pass", {"x"}, {"y"})}), floats({2}, {1, 2})), {2},
                {1, 2});
}

// Names in a function are its own, in subgraphs too.
TEST(Functions, SeeNothingAroundTheCall) {
  const FunctionSpec uses{
      .name = "Uses", .inputs = {"a"}, .outputs = {"b"}, .nodes = {node(":Add", {"a", "x"}, {"b"})}};
  EXPECT_THAT(error_of({uses}, {node("local:Uses", {"x"}, {"y"})}), HasSubstr("reads 'x'"));
  const auto branch = [](std::string_view op) {
    return graph({.nodes = {node(op, {"a"}, {"o"})},
                  .initializers = {},
                  .inputs = {},
                  .outputs = {value_without_type("o")},
                  .infos = {}});
  };
  const FunctionSpec choose{.name = "Choose",
                            .inputs = {"a", "c"},
                            .outputs = {"b"},
                            .nodes = {node(":If", {"c"}, {"b"},
                                           {graph_attribute("then_branch", branch(":Neg")),
                                            graph_attribute("else_branch", branch(":Abs"))})}};
  Model m = model_with(
      {choose},
      {node(":ReduceMax", {"x"}, {"m"}, {int_attribute("keepdims", 0)}),
       node(":Greater", {"m", "zero"}, {"positive"}), node("local:Choose", {"x", "positive"}, {"y"})},
      {tensor<float>("zero", {}, {0})});
  expect_floats(run(std::move(m), floats({2}, {1, -2})), {2}, {-1, 2});
}

// Squeeze has its axes in an attribute before opset 13.
TEST(Functions, HaveOpsetsOfTheirOwn) {
  const FunctionSpec old{.name = "Old",
                         .inputs = {"a"},
                         .outputs = {"b"},
                         .nodes = {node(":Unsqueeze", {"a"}, {"b"}, {ints_attribute("axes", {0})})},
                         .opset = 11};
  expect_floats(run(model_with({old}, {node("local:Old", {"x"}, {"y"})}), floats({2}, {1, 2})), {1, 2},
                {1, 2});
}

TEST(Functions, HaveOverloads) {
  FunctionSpec other{
      .name = "Twice", .inputs = {"a"}, .outputs = {"b"}, .nodes = {node(":Neg", {"a"}, {"b"})}};
  other.overload = "negative";
  Proto call = node("local:Twice", {"x"}, {"y"});
  call.text(node_field::kOverload, "negative");
  expect_floats(run(model_with({kTwice, other}, {call}), floats({2}, {1, 2})), {2}, {-1, -2});
}

TEST(Functions, ThatCallThemselvesAreRefused) {
  const FunctionSpec self{
      .name = "Self", .inputs = {"a"}, .outputs = {"b"}, .nodes = {node("local:Self", {"a"}, {"b"})}};
  EXPECT_THAT(error_of({self}, {node("local:Self", {"x"}, {"y"})}), HasSubstr("deeper than 32 levels"));
}

// Each calls the next one eight times: eight to the twelfth nodes.
TEST(Functions, ThatGrowWithoutEndAreRefused) {
  std::vector<std::string> names;
  for (int i = 0; i <= 12; ++i) names.push_back("F" + std::to_string(i));
  std::vector<FunctionSpec> functions;
  for (size_t i = 0; i < 12; ++i) {
    FunctionSpec f{.name = names[i], .inputs = {"a"}, .outputs = {"v7"}, .nodes = {}};
    std::vector<std::string> values{"a", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7"};
    for (size_t k = 0; k < 8; ++k)
      f.nodes.push_back(node(i == 11 ? ":Neg" : "local:" + names[i + 1], {values[k]}, {values[k + 1]}));
    functions.push_back(std::move(f));
  }
  EXPECT_THAT(error_of(functions, {node("local:F0", {"x"}, {"y"})}), HasSubstr("more than 250000 nodes"));
}

TEST(Functions, ThatDoNotFitTheirCallAreRefused) {
  EXPECT_THAT(error_of({kTwice}, {node("local:Twice", {"x", "x"}, {"y"})}),
              HasSubstr("that it calls 1 and 1"));
  const FunctionSpec empty{.name = "Empty", .inputs = {"a"}, .outputs = {"b"}, .nodes = {}};
  EXPECT_THAT(error_of({empty}, {node("local:Empty", {"x"}, {"y"})}),
              HasSubstr("does not make its output 'b'"));
  EXPECT_THAT(error_of({kTwice, kTwice}, {node("local:Twice", {"x"}, {"y"})}), HasSubstr("twice"));
  EXPECT_THAT(
      error_of({}, {node(":LeakyRelu", {"x"}, {"y"}, {reference("alpha", "a", AttributeType::kFloat)})}),
      HasSubstr("refers to a function's attribute"));
}

}  // namespace
}  // namespace zp::onnx::test
