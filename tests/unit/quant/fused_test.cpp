// Operators that stay whole in files for runtimes that compute them as one.
#include "ops/fused.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "onnx/onnx.h"
#include "onnx/versions.h"
#include "quant/format.h"
#include "runtime/prepare.h"
#include "runtime/session.h"
#include "unit/onnx/model_builder.h"
#include "unit/quant/quantize.h"

namespace zp::test {
namespace {

using namespace zp::onnx::test;
using quant::Config;
using testing::Contains;
using testing::HasSubstr;
using testing::Not;
using Names = std::vector<std::string>;

constexpr int64_t kWidth = 16;

Proto weight(std::string_view name, std::initializer_list<int64_t> dims, uint32_t seed) {
  const Tensor t = noise(dims, seed, 0.4f);
  const std::string_view raw(reinterpret_cast<const char*>(t.raw()), t.bytes());
  return raw_tensor(name, DType::kFloat32, dims, raw);
}

std::shared_ptr<const Model> read_shared(std::string_view bytes) {
  return std::make_shared<const Model>(onnx::read(onnx::test::buffer(bytes), bytes.size()));
}

std::shared_ptr<const Model> with_microsoft(const GraphSpec& g, int64_t opset) {
  Proto file = onnx::test::model(g, opset);
  file.message(onnx::model_field::kOpsetImport, onnx::test::opset("com.microsoft", 1));
  return read_shared(file.bytes);
}

// x [2, steps, 16] -> products -> `attention` -> a product -> y
std::shared_ptr<const Model> model_of(const Proto& attention, int64_t opset) {
  GraphSpec g;
  g.inputs = {value("x", DType::kFloat32, {2, "steps", kWidth})};
  g.outputs = {value("y", DType::kFloat32, {2, "steps", kWidth})};
  for (const std::string_view w : {"wq", "wk", "wv", "wo"})
    g.initializers.push_back(weight(w, {kWidth, kWidth}, static_cast<uint32_t>(w[1])));
  g.initializers.push_back(weight("packed", {kWidth, 3 * kWidth}, 7));
  g.nodes = {node(":MatMul", {"x", "wq"}, {"q"}, {}, "query"), node(":MatMul", {"x", "wk"}, {"k"}, {}, "key"),
             node(":MatMul", {"x", "wv"}, {"v"}, {}, "value"), attention,
             node(":MatMul", {"a", "wo"}, {"y"}, {}, "out")};
  return with_microsoft(g, opset);
}

std::shared_ptr<const Model> multi_head() {
  return model_of(node("com.microsoft:MultiHeadAttention", {"q", "k", "v"}, {"a"},
                       {int_attribute("num_heads", 4)}, "attention"),
                  17);
}
std::shared_ptr<const Model> standard() {
  return model_of(node(":Attention", {"q", "k", "v"}, {"a"},
                       {int_attribute("q_num_heads", 4), int_attribute("kv_num_heads", 4)}, "attention"),
                  23);
}
std::shared_ptr<const Model> packed() {
  return model_of(
      node("com.microsoft:Attention", {"x", "packed"}, {"a"}, {int_attribute("num_heads", 4)}, "attention"),
      17);
}

Samples samples() { return {{{"x", noise({2, 5, kWidth}, 1)}}, {{"x", noise({2, 5, kWidth}, 2)}}}; }

Quantized quantized(const std::shared_ptr<const Model>& model, const char* mode, const char* runtime) {
  Config c;
  c.mode = mode;
  c.runtime = runtime;
  return quantize(model, c, samples());
}

Names operators(const Graph& graph) {
  Names names;
  for (const Node& n : graph.nodes) names.push_back(n.op_type);
  return names;
}

std::vector<float> numbers(const Tensor& t) {
  const auto values = t.floats();
  return {values.begin(), values.end()};
}

// What a file has, and the values it gives.
struct Written {
  Names operators;
  std::vector<float> values;
};
Written written(const Quantized& q, std::string_view runtime, int64_t opset = 0) {
  const Model file = quant::in_format(*q.model, q.report.format, runtime);
  Graph graph = clone(file.graph);
  onnx::respell_graph(graph, onnx::versions_of(file, opset).opset);
  const std::vector<std::byte> bytes = onnx::write(file, opset);
  const auto again = read_shared({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  runtime::Session session(runtime::prepared(again), {});
  const Tensor y = session.run({{"x", noise({2, 5, kWidth}, 3)}}).at(0);
  return {operators(graph), numbers(y)};
}

std::vector<float> in_memory(const std::shared_ptr<const Model>& model) {
  runtime::Session session(runtime::prepared(model), {});
  const Tensor y = session.run({{"x", noise({2, 5, kWidth}, 3)}}).at(0);
  return numbers(y);
}

struct Fused : testing::TestWithParam<const char*> {};

TEST_P(Fused, StaysWholeForRuntimesThatComputeItAsOne) {
  const Quantized q = quantized(multi_head(), GetParam(), "onnxruntime");
  EXPECT_EQ(q.report.layers_quantized, 4u);
  EXPECT_THAT(q.layer("attention").why, HasSubstr("stays whole"));
  EXPECT_THAT(q.report.warnings, Not(Contains(HasSubstr("not known here"))));
  const Written file = written(q, "onnxruntime");
  EXPECT_THAT(file.operators, Contains("MultiHeadAttention"));
  EXPECT_THAT(file.operators, Not(Contains("Softmax")));
  EXPECT_EQ(file.values, in_memory(q.model));

  const Quantized own = quantized(multi_head(), GetParam(), "zeropoint");
  EXPECT_THAT(written(own, "zeropoint").operators, Not(Contains("MultiHeadAttention")));
}

TEST_P(Fused, AttentionWithWeightsIsProductsAndAWholeRest) {
  const Quantized q = quantized(packed(), GetParam(), "onnxruntime");
  const Written file = written(q, "onnxruntime");
  EXPECT_THAT(file.operators, Contains("MultiHeadAttention"));
  EXPECT_EQ(q.report.layers_quantized, 2u);  // what query, key and value read is nobody's here
  EXPECT_EQ(file.values, in_memory(q.model));
}

TEST_P(Fused, AStandardOperatorGoesToPiecesWhereTheOpsetHasItNot) {
  const Quantized q = quantized(standard(), GetParam(), "onnxruntime");
  const Written whole = written(q, "onnxruntime"), pieces = written(q, "onnxruntime", 21);
  EXPECT_THAT(whole.operators, Contains("Attention"));
  EXPECT_THAT(pieces.operators, Not(Contains("Attention")));
  EXPECT_THAT(pieces.operators, Contains("Softmax"));
  EXPECT_EQ(whole.values, pieces.values);
}

INSTANTIATE_TEST_SUITE_P(Modes, Fused, testing::Values("static", "dynamic", "weight-only"),
                         [](const auto& info) {
                           std::string name = info.param;
                           std::erase(name, '-');
                           return name;
                         });

// x -> a product -> SkipLayerNormalization and x -> QuickGelu -> a product -> y
std::shared_ptr<const Model> normalized() {
  GraphSpec g;
  g.inputs = {value("x", DType::kFloat32, {2, 5, kWidth})};
  g.outputs = {value("y", DType::kFloat32, {2, 5, kWidth})};
  g.initializers = {weight("w", {kWidth, kWidth}, 1), weight("v", {kWidth, kWidth}, 2),
                    weight("gamma", {kWidth}, 3), weight("beta", {kWidth}, 4)};
  g.nodes = {node(":MatMul", {"x", "w"}, {"p"}, {}, "first"),
             node("com.microsoft:SkipLayerNormalization", {"p", "x", "gamma", "beta"}, {"n"}, {}, "norm"),
             node("com.microsoft:QuickGelu", {"n"}, {"a"}, {}, "gelu"),
             node(":MatMul", {"a", "v"}, {"y"}, {}, "second")};
  return with_microsoft(g, 17);
}

TEST(FusedGraph, WhatRangesAndRepairsNeedStaysWholeWithoutThem) {
  for (const char* mode : {"dynamic", "weight-only", "float16", "static"}) {
    const Written file = written(quantized(normalized(), mode, "onnxruntime"), "onnxruntime");
    for (const char* op : {"SkipLayerNormalization", "QuickGelu"})
      EXPECT_EQ(std::ranges::count(file.operators, op), mode == std::string("static") ? 0 : 1) << mode << op;
  }
  for (const char* runtime : {"openvino", "zeropoint"}) {
    const Written file = written(quantized(normalized(), "weight-only", runtime), runtime);
    EXPECT_THAT(file.operators, Not(Contains("SkipLayerNormalization"))) << runtime;
  }
}

// The type of a value in the file.
DType type_of(const Quantized& q, std::string_view value) {
  return q.model->graph[q.model->graph.find(value)].dtype;
}

TEST(FusedGraph, ComputesInHalfPrecisionAsAWhole) {
  const Quantized q = quantized(multi_head(), "float16", "onnxruntime");
  EXPECT_EQ(q.layer("attention").why, "computes in float16");
  const Written file = written(q, "onnxruntime");
  EXPECT_THAT(file.operators, Contains("MultiHeadAttention"));
  EXPECT_THAT(file.operators, Not(Contains("Softmax")));
  EXPECT_EQ(type_of(q, "q"), DType::kFloat16);
  EXPECT_EQ(type_of(q, "a"), DType::kFloat16);
  EXPECT_THAT(file.values, testing::Pointwise(testing::FloatNear(0.02f), in_memory(multi_head())));

  const Quantized own = quantized(multi_head(), "float16", "zeropoint");
  EXPECT_THAT(written(own, "zeropoint").operators, Contains("Softmax"));
}

TEST(FusedGraph, StaysInFloatWhereSomebodyAsksForIt) {
  Config c;
  c.mode = "float16";
  c.runtime = "onnxruntime";
  c.exclude_nodes = {"attention"};
  const Quantized q = quantize(multi_head(), c, samples());
  EXPECT_EQ(q.layer("attention").why, "excluded by its name");
  EXPECT_THAT(written(q, "onnxruntime").operators, Contains("MultiHeadAttention"));
  EXPECT_EQ(type_of(q, "a"), DType::kFloat32);
}

TEST(FusedGraph, MasksOfLowestNumbersDoNotKeepItInFloat) {
  GraphSpec g;
  g.inputs = {value("x", DType::kFloat32, {2, 5, kWidth}), value("seen", DType::kBool, {2, 1, 5, 5})};
  g.outputs = {value("y", DType::kFloat32, {2, 5, kWidth})};
  g.initializers = {weight("wq", {kWidth, kWidth}, 1), weight("wo", {kWidth, kWidth}, 2),
                    tensor("zero", {}, {0.0f}), tensor("lowest", {}, {-3.4028235e38f})};
  g.nodes = {node(":MatMul", {"x", "wq"}, {"q"}, {}, "query"),
             node(":Where", {"seen", "zero", "lowest"}, {"bias"}, {}, "mask"),
             node("com.microsoft:MultiHeadAttention", {"q", "q", "q", "", "", "bias"}, {"a"},
                  {int_attribute("num_heads", 4)}, "attention"),
             node(":MatMul", {"a", "wo"}, {"y"}, {}, "out")};
  Config c;
  c.mode = "float16";
  c.runtime = "onnxruntime";
  Tensor seen(DType::kBool, {2, 1, 5, 5});
  for (size_t i = 0; i < 50; ++i) reinterpret_cast<bool*>(seen.mutable_raw())[i] = i % 5 <= i / 5 % 5;
  const Quantized q = quantize(with_microsoft(g, 17), c, {{{"x", noise({2, 5, kWidth}, 1)}, {"seen", seen}}});
  EXPECT_EQ(q.layer("mask").why, "computes in float16");
  EXPECT_EQ(q.layer("attention").why, "computes in float16");
}

TEST(FusedGraph, LearnedWeightsReachThePieces) {
  const Quantized q = quantized(multi_head(), "qat", "onnxruntime");
  EXPECT_THAT(written(q, "onnxruntime").operators, Contains("Softmax"));
}

TEST(FusedGraph, AModelKnowsTheOperatorsOfItsFile) {
  const std::shared_ptr<const Model> model = multi_head();
  const std::map<std::string, int64_t> expected{{"ai.onnx.MatMul", 4},
                                                {"com.microsoft.MultiHeadAttention", 1}};
  EXPECT_EQ(model->operators, expected);
  EXPECT_TRUE(runtime::prepared(model)->operators.empty());  // another graph
}

TEST(FusedGraph, PiecesThatAreNotAllThereAreNotJoined) {
  Graph graph = clone(multi_head()->graph);
  const auto any = [](const Node&) { return true; };
  Graph less = clone(graph);
  std::erase_if(less.nodes, [](const Node& n) { return n.op_type == "Softmax"; });
  EXPECT_FALSE(join_fused(less, "", any));
  EXPECT_TRUE(join_fused(graph, "", any));
  EXPECT_EQ(graph.nodes.size(), 5u);
  EXPECT_TRUE(split_fused(graph));
  EXPECT_GT(graph.nodes.size(), 5u);
}

}  // namespace
}  // namespace zp::test
