// Nodes of known operators whose form in memory is not found when a file is read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "core/error.h"
#include "model_builder.h"
#include "onnx/onnx.h"
#include "ops/infer.h"
#include "runtime/session.h"
#include "unit/quant/quantize.h"

namespace zp::onnx::test {
namespace {

using runtime::Session;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using zp::test::noise;
using zp::test::quantize;

std::shared_ptr<const Model> read_shared(const Proto& file) {
  return std::make_shared<const Model>(read(buffer(file.bytes), file.bytes.size()));
}

Tensor floats(Shape dims, std::vector<float> values) { return Tensor::of<float>(std::move(dims), values); }
std::vector<float> run(Session& session, const Tensor& x) {
  const std::vector<Tensor> out = session.run({{"x", x}});
  const auto values = out.at(0).floats();
  return {values.begin(), values.end()};
}

// Ends the graph with op(input, the constants) -> y.
void end_with(GraphSpec& g, std::string_view op, std::string_view input, const std::vector<Proto>& constants,
              const std::vector<Proto>& attributes, std::string_view name) {
  std::vector<std::string> names;
  for (const Proto& constant : constants) {
    names.push_back("c" + std::to_string(names.size()));
    Proto named = constant;
    g.initializers.push_back(named.text(tensor_field::kName, names.back()));
  }
  std::vector<std::string_view> inputs{input};
  inputs.insert(inputs.end(), names.begin(), names.end());
  g.outputs = {value_without_shape("y", DType::kFloat32)};
  g.nodes.push_back(node(op, inputs, {"y"}, attributes, name));
}

// x of any rank -> op(x, the initializers) -> y
Proto file_of(std::string_view op, int64_t version, const std::vector<Proto>& initializers,
              const std::vector<Proto>& attributes) {
  GraphSpec g;
  g.inputs = {value_without_shape("x", DType::kFloat32)};
  end_with(g, op, "x", initializers, attributes, "late");
  return model(g, version);
}

// Each rank that is fed has a form of its own, in one session.
TEST(LateForms, ARunFindsWhatDependsOnTheRankOfItsInput) {
  const auto m = read_shared(file_of(":Einsum", 12, {tensor<float>("", {2}, {1, 10})},
                                     {string_attribute("equation", "...i,i->...")}));
  ASSERT_EQ(m->graph.nodes.size(), 1u);
  EXPECT_TRUE(m->graph.nodes[0].refusal);
  EXPECT_EQ(unsupported_operators(m->graph), "");
  EXPECT_THAT(foreign_operators(m->graph), HasSubstr("(node 'late': the rank of input 0 is not known)"));
  Session session(m);
  EXPECT_THAT(run(session, floats({2}, {3, 4})), ElementsAre(43));
  EXPECT_THAT(run(session, floats({2, 2}, {1, 0, 2, 5})), ElementsAre(1, 52));
  EXPECT_THAT(run(session, floats({1, 1, 2}, {2, -2})), ElementsAre(-18));
}

TEST(LateForms, AnOldBroadcastAlongAnAxisRuns) {
  const auto m = read_shared(file_of(":Add", 6, {tensor<float>("", {2}, {10, 20})},
                                     {int_attribute("axis", 0), int_attribute("broadcast", 1)}));
  Session session(m);
  EXPECT_THAT(run(session, floats({2, 2}, {1, 2, 3, 4})), ElementsAre(11, 12, 23, 24));
  EXPECT_THAT(run(session, floats({2}, {1, 2})), ElementsAre(11, 22));
}

// The shape follows from a value that the run computes: the node's plan comes after it.
TEST(LateForms, BehindAValueThatTheRunComputes) {
  GraphSpec g;
  g.inputs = {value("x", DType::kFloat32, {2, 2})};
  g.outputs = {value_without_shape("y", DType::kFloat32)};
  g.nodes = {node(":NonZero", {"x"}, {"places"}), node(":Shape", {"places"}, {"dims"}),
             node(":ConstantOfShape", {"dims"}, {"zeros"}), node(":Exp", {"zeros"}, {"ones"}),
             node(":Einsum", {"ones"}, {"y"}, {string_attribute("equation", "...i->...")}, "late")};
  Session session(read_shared(model(g, 18)));
  EXPECT_THAT(run(session, floats({2, 2}, {1, 0, 0, 0})), ElementsAre(1, 1));
  EXPECT_THAT(run(session, floats({2, 2}, {1, 0, 0, 1})), ElementsAre(2, 2));
}

// x -> product -> op -> y
Proto product_before(std::string_view op, int64_t version, const std::vector<Proto>& constants) {
  GraphSpec g;
  g.inputs = {value("x", DType::kFloat32, {"rows", 64})};
  std::vector<float> w(64 * 64);
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i * 37 % 101) / 101;
  const std::string_view raw(reinterpret_cast<const char*>(w.data()), 4 * w.size());
  g.initializers = {raw_tensor("w", DType::kFloat32, {64, 64}, raw)};
  g.nodes = {node(":MatMul", {"x", "w"}, {"h"}, {}, "product")};
  end_with(g, op, "h", constants, {}, "the node");
  return model(g, version);
}

// What no run finds is said with its reason, and is no obstacle for a quantization that runs nothing.
TEST(LateForms, AFormThatIsNotSupportedPassesThrough) {
  const Proto training = raw_tensor("", DType::kBool, {}, std::string(1, '\1'));
  const auto m = read_shared(product_before(":Dropout", 13, {tensor<float>("", {}, {0.5f}), training}));
  try {
    Session session(m);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnsupportedOperator);
    EXPECT_EQ(e.details().node, "the node");
    EXPECT_THAT(e.what(), HasSubstr("ai.onnx.Dropout (node 'the node': Dropout in training mode"));
  }
  const zp::test::Quantized done = quantize(m, {.mode = "dynamic"});
  EXPECT_TRUE(done.layer("product").quantized);
  EXPECT_THAT(done.layer("the node").why, HasSubstr("Dropout in training mode"));
  EXPECT_THAT(done.report.warnings, testing::Contains(HasSubstr("pass through unchanged: ai.onnx.Dropout")));
  const std::vector<std::byte> file = write(*done.model);
  const Model again = read(buffer({reinterpret_cast<const char*>(file.data()), file.size()}), file.size());
  EXPECT_EQ(again.opsets.at(""), 13);
  const Node& kept = again.graph.nodes.back();
  EXPECT_EQ(kept.op_type, "Dropout");
  EXPECT_EQ(kept.inputs.size(), 3u);
}

// Its form is that of one opset.
TEST(LateForms, AFormThatIsNotSupportedHoldsTheFilesOpset) {
  const Proto one = tensor<float>("", {1}, {1});
  GraphSpec g;
  g.inputs = {value("x", DType::kFloat32, {2, 2}), value("tiles", DType::kFloat32, {1})};
  g.outputs = {value_without_shape("y", DType::kFloat32)};
  g.initializers = {tensor<float>("axis", {1}, {0})};
  g.nodes = {node(":Tile", {"x", "tiles", "axis"}, {"y"}, {}, "the node")};
  const auto m = read_shared(model(g, 5));
  try {
    write(*m);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(e.details().node, "the node");
    EXPECT_THAT(e.what(), HasSubstr("in the form of opset 5"));
  }
}

// Calibration goes through what a run finds.
TEST(LateForms, StaticQuantizationSeesBehindThem) {
  GraphSpec g;
  g.inputs = {value_without_shape("x", DType::kFloat32)};
  g.outputs = {value_without_shape("y", DType::kFloat32)};
  std::vector<float> w(64 * 64);
  for (size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i * 37 % 101) / 101;
  const std::string_view raw(reinterpret_cast<const char*>(w.data()), 4 * w.size());
  const std::vector<float> gain(64, 1);
  g.initializers = {raw_tensor("w", DType::kFloat32, {64, 64}, raw),
                    raw_tensor("gain", DType::kFloat32, {64},
                               {reinterpret_cast<const char*>(gain.data()), 4 * gain.size()})};
  g.nodes = {node(":Einsum", {"x", "gain"}, {"h"}, {string_attribute("equation", "...i,i->...i")}, "late"),
             node(":MatMul", {"h", "w"}, {"y"}, {}, "product")};
  const auto m = read_shared(model(g, 18));
  zp::test::Samples samples;
  for (uint32_t seed = 1; seed < 5; ++seed) samples.push_back({{"x", noise({4, 64}, seed)}});
  const zp::test::Quantized done = quantize(m, {.mode = "static"}, samples);
  EXPECT_TRUE(done.layer("product").quantized);
  EXPECT_EQ(done.quantized_from("product", 0), "h");
  Session exact(m), rounded(done.model);
  const std::vector<float> a = run(exact, noise({4, 64}, 9)), b = run(rounded, noise({4, 64}, 9));
  double power = 0, error = 0;
  for (size_t i = 0; i < a.size(); ++i) power += a[i] * a[i], error += (a[i] - b[i]) * (a[i] - b[i]);
  EXPECT_LT(error, 1e-3 * power);
}

}  // namespace
}  // namespace zp::onnx::test
