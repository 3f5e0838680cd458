#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "core/error.h"
#include "model_builder.h"
#include "model_compare.h"
#include "onnx/onnx.h"
#include "onnx/wire.h"
#include "ops/respell.h"

namespace zp::onnx::test {
namespace {

using ::testing::ElementsAre;

Model read_bytes(std::string_view bytes) { return read(buffer(bytes), bytes.size()); }
std::string written(const Model& m) {
  const std::vector<std::byte> bytes = write(m);
  EXPECT_EQ(size_of(m), bytes.size());
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(OnnxWriter, WhatIsWrittenReadsAsTheSameModel) {
  for (const std::string& bytes : valid_models()) {
    const Model first = read_bytes(bytes);
    const std::string file = written(first);
    const Model second = read_bytes(file);
    EXPECT_EQ(difference(first, second), "");
    EXPECT_EQ(written(second), file);
  }
}

TEST(OnnxWriter, TheSameModelGivesTheSameBytes) {
  for (const std::string& bytes : valid_models())
    EXPECT_EQ(written(read_bytes(bytes)), written(read_bytes(bytes)));
}

TEST(OnnxWriter, KeepsTextsAndDeclaresWhatIsUsed) {
  Proto m = model(small_graph());
  m.text(model_field::kProducerName, "maker")
      .text(model_field::kProducerVersion, "1.2")
      .text(model_field::kDocString, "doc");
  m.message(model_field::kMetadataProps, Proto().text(entry_field::kKey, "k").text(entry_field::kValue, "v"));
  m.message(model_field::kOpsetImport, opset("unused", 7));
  Model first = read_bytes(m.bytes);
  first.opsets[std::string(kNowhere)] = 5;
  const Model second = read_bytes(written(first));
  EXPECT_EQ(difference(first, second), "");
  EXPECT_EQ(second.opsets, (std::map<std::string, int64_t>{{"", kOldestOpset}, {std::string(kNowhere), 5}}));
}

TEST(OnnxWriter, ADomainThatTheFileDidNotHaveIsDeclared) {
  Model m = read_bytes(model(small_graph()).bytes);
  m.graph.nodes[0].domain = kMicrosoft;
  EXPECT_EQ(read_bytes(written(m)).opsets.at(std::string(kMicrosoft)), 1);
}

// The form of an operator that is not known here is that of its file.
TEST(OnnxWriter, AnUnknownOperatorKeepsItsOpset) {
  const auto opset_of = [](std::string_view op, int64_t version) {
    GraphSpec g = small_graph();
    g.nodes = {node(op, {"x"}, {"y"})};
    return read_bytes(written(read_bytes(model(g, version).bytes))).opsets.at("");
  };
  EXPECT_EQ(opset_of(":NobodyKnows", 24), 24);
  EXPECT_EQ(opset_of(":NobodyKnows", 17), 17);
  EXPECT_EQ(opset_of(":Relu", 24), kOldestOpset);
}

TEST(OnnxWriter, ScalarsAndUnknownDimensionsKeepTheirRank) {
  GraphSpec g = small_graph();
  g.inputs = {value("x", DType::kFloat32, {}), value("u", DType::kFloat32, {"", "n", ""}),
              value_without_shape("w", DType::kFloat32)};
  const Model m = read_bytes(written(read_bytes(model(g).bytes)));
  EXPECT_EQ(to_string(*m.graph[m.graph.find("x")].shape), "[]");
  EXPECT_EQ(to_string(*m.graph[m.graph.find("u")].shape), "[?, n, ?]");
  EXPECT_FALSE(m.graph[m.graph.find("w")].shape.has_value());
}

TEST(OnnxWriter, ConstantsThatNobodyReadsAreLeftOut) {
  GraphSpec g = small_graph();
  g.initializers = {raw_tensor("unused", DType::kInt8, {1000}, std::string(1000, '\1'))};
  EXPECT_LT(written(read_bytes(model(g).bytes)).size(), 500U);
}

TEST(OnnxWriter, AConstantOutputIsWritten) {
  GraphSpec g = small_graph();
  g.initializers = {tensor<float>("k", {1}, {5})};
  g.outputs.push_back(value("k", DType::kFloat32, {1}));
  const Model first = read_bytes(model(g).bytes);
  const Model second = read_bytes(written(first));
  EXPECT_EQ(difference(first, second), "");
  EXPECT_THAT(second.graph.constant(second.graph.outputs[1])->floats(), ElementsAre(5));
}

TEST(OnnxWriter, NamesAreMadeUnique) {
  Model m = read_bytes(model(small_graph()).bytes);
  Graph& g = m.graph;
  // As careless rewrites might leave them: two nodes and two values of one name, a node without any.
  g.values.push_back({.name = "y", .dtype = DType::kFloat32, .shape = SymShape{4}, .constant = {}});
  const auto twin = static_cast<ValueId>(g.values.size()) - 1;
  g.nodes[0].outputs[0] = twin;
  Node more = g.nodes[0];
  more.inputs = {twin};
  more.outputs = {g.outputs[0]};
  g.nodes.push_back(more);
  g.nodes[0].name = g.nodes[1].name = "same";
  const Model second = read_bytes(written(m));
  ASSERT_EQ(second.graph.nodes.size(), 2U);
  EXPECT_NE(second.graph.nodes[0].name, second.graph.nodes[1].name);
  EXPECT_EQ(second.graph.nodes[1].outputs, second.graph.outputs);
  EXPECT_EQ(second.graph[second.graph.outputs[0]].name, "y");
}

// ---- subgraphs

Model model_with_branches(const Proto& body) {
  GraphSpec g = small_graph();
  g.nodes = {node("Branch", {"x"}, {"y"}, {graph_attribute("then", body), graph_attribute("else", body)})};
  g.initializers = {raw_tensor("w", DType::kInt8, {500}, std::string(500, '\1'))};
  return read_bytes(model(g).bytes);
}
Proto branch(std::vector<Proto> nodes, std::string_view output) {
  return graph({.nodes = std::move(nodes),
                .initializers = {},
                .inputs = {},
                .outputs = {value_without_type(output)},
                .infos = {}});
}
const Graph& then_of(const Model& m) {
  return *std::get<std::shared_ptr<Graph>>(*m.graph.nodes[0].attribute("then"));
}

TEST(OnnxWriter, AConstantOfSeveralGraphsIsWrittenOnce) {
  const Model first = model_with_branches(branch({node("Use", {"x", "w"}, {"o"})}, "o"));
  const std::string file = written(first);
  EXPECT_LT(file.size(), 1000U);
  const Model second = read_bytes(file);
  EXPECT_EQ(difference(first, second), "");
  EXPECT_EQ(then_of(second).constant(then_of(second).find("w"))->size(), 500);
}

TEST(OnnxWriter, AConstantOfASubgraphThatDiffersIsWrittenThere) {
  Model first = model_with_branches(branch({node("Use", {"x", "w"}, {"o"})}, "o"));
  auto& inner = *std::get<std::shared_ptr<Graph>>(first.graph.nodes[0].attributes.find("then")->second);
  inner[inner.find("w")].constant = Tensor::of<int8_t>({1}, {7});
  inner[inner.find("w")].shape = SymShape{1};
  const Model second = read_bytes(written(first));
  const Graph& then = then_of(second);
  EXPECT_THAT(then.constant(then.nodes[0].input(1))->integers(), ElementsAre(7));
  EXPECT_NE(then[then.nodes[0].input(1)].name, "w");  // ONNX lets no subgraph hide a name
}

TEST(OnnxWriter, ASubgraphMakesItsOutputsItself) {
  const Model first = model_with_branches(branch({}, "x"));
  const Model second = read_bytes(written(first));
  const Graph& then = then_of(second);
  ASSERT_EQ(then.nodes.size(), 1U);
  EXPECT_EQ(then.nodes[0].op_type, "Identity");
  EXPECT_EQ(then.nodes[0].outputs, then.outputs);
  EXPECT_EQ(written(second), written(first));
}

TEST(OnnxWriter, NamesOfASubgraphThatHideOthersAreChanged) {
  const Model first = model_with_branches(branch({node("Use", {"x"}, {"y"})}, "y"));
  const Model second = read_bytes(written(first));
  EXPECT_NE(then_of(second)[then_of(second).outputs[0]].name, "y");
  EXPECT_EQ(written(second), written(first));
}

}  // namespace
}  // namespace zp::onnx::test
