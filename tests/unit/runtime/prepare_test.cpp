#include "runtime/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "runtime/session.h"
#include "unit/graph/graph_builder.h"

namespace zp {
namespace {

using runtime::prepared;
using runtime::Session;
using test::GraphBuilder;
using test::ramp;

Tensor half(const Tensor& t) {
  Tensor h(DType::kFloat16, t.dims());
  auto* to = reinterpret_cast<uint16_t*>(h.mutable_raw());
  for (float v : t.data<float>()) *to++ = float_to_half(v);
  return h;
}

std::vector<std::string> operators(const Graph& graph) {
  std::vector<std::string> ops;
  for (const Node& n : graph.nodes) ops.push_back(n.op_type);
  return ops;
}

int64_t one(DType t) { return static_cast<int64_t>(t); }

TEST(Prepare, FoldsChainsOfConstants) {
  GraphBuilder b;
  const ValueId x = b.input("x", {Dim::symbol("n"), 4});
  const ValueId w = b.constant("w", half(ramp({2, 3, 4})));
  const ValueId wide = b.add("Cast", "wide", {w}, {{"to", one(DType::kFloat32)}});
  const ValueId flat =
      b.add("Reshape", "flat", {wide, b.constant("shape", Tensor::of<int64_t>({2}, {6, 4}))});
  const ValueId transposed = b.add("Transpose", "transposed", {flat}, {{"perm", std::vector<int64_t>{1, 0}}});
  b.output(b.add("MatMul", "y", {x, transposed}));
  const auto ready = prepared(b.build());
  EXPECT_THAT(operators(ready->graph), testing::ElementsAre("MatMul"));
  const Tensor* folded = ready->graph.constant(ready->graph.nodes[0].input(1));
  ASSERT_TRUE(folded);
  EXPECT_EQ(folded->dims(), (Shape{4, 6}));
  EXPECT_EQ(folded->floats()[1], half(ramp({2, 3, 4})).floats()[4]);
  // The sources are gone: nobody reads them.
  for (const Value& v : ready->graph.values)
    if (v.constant) EXPECT_EQ(v.constant->raw(), folded->raw()) << v.name;
}

TEST(Prepare, WeightNormalizationIsAWeight) {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 3, 8});
  const ValueId v = b.constant("v", ramp({5, 3, 3}));
  const ValueId norm = b.add("ReduceL2", "norm", {v, b.constant("axes", Tensor::of<int64_t>({2}, {1, 2}))},
                             {{"keepdims", int64_t{1}}});
  const ValueId g = b.constant("g", ramp({5, 1, 1}));
  const ValueId w = b.add("Mul", "w", {v, b.add("Div", "ratio", {g, norm})});
  b.output(b.add("Conv", "y", {x, w}));
  const auto model = b.build();
  const auto ready = prepared(model);
  EXPECT_THAT(operators(ready->graph), testing::ElementsAre("Conv"));
  const Tensor in = ramp({1, 3, 8});
  const std::vector<float> want = Session(model).run({{"x", in}})[0].floats();
  const std::vector<float> got = Session(ready).run({{"x", in}})[0].floats();
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 1e-6);
}

TEST(Prepare, IsMadeOnce) {
  GraphBuilder b;
  b.output(b.add("Relu", "y", {b.input("x", {1})}));
  const std::shared_ptr<const Model> model = b.build();
  const auto first = prepared(model);
  EXPECT_EQ(prepared(model), first);
  EXPECT_EQ(prepared(first), first);
  EXPECT_EQ(runtime::source_of(first), model);
  EXPECT_EQ(runtime::source_of(model), model);
}

TEST(Prepare, ATableThatServesTwiceStaysOne) {
  GraphBuilder b;
  const ValueId ids = b.input("ids", {1, 2}, DType::kInt64);
  const ValueId table = b.constant("table", ramp({128, 64}));
  const ValueId rows = b.add("Gather", "rows", {table, ids});
  const ValueId transposed =
      b.add("Transpose", "transposed", {table}, {{"perm", std::vector<int64_t>{1, 0}}});
  b.output(b.add("MatMul", "y", {rows, transposed}));
  const auto ready = prepared(b.build());
  EXPECT_THAT(operators(ready->graph), testing::UnorderedElementsAre("Gather", "Transpose", "MatMul"));
}

TEST(Prepare, WhatWouldGrowStaysComputed) {
  GraphBuilder b;
  const ValueId x = b.input("x", {512, 512});
  const ValueId shape = b.constant("shape", Tensor::of<int64_t>({2}, {512, 512}));
  const ValueId mask = b.add("Expand", "mask", {b.constant("one", Tensor::scalar(1.0f)), shape});
  const ValueId small =
      b.add("Expand", "small",
            {b.constant("two", Tensor::scalar(2.0f)), b.constant("s", Tensor::of<int64_t>({1}, {512}))});
  b.output(b.add("Mul", "z", {b.add("Add", "y", {x, mask}), small}));
  const auto ready = prepared(b.build());
  EXPECT_THAT(operators(ready->graph), testing::ElementsAre("Expand", "Add", "Mul"));
}

TEST(Prepare, BranchesAreFoldedAndShare) {
  const auto branch = [](const char* name, const Tensor& weight) {
    auto sub = std::make_shared<Graph>();
    const ValueId x = sub->add_value(std::string(name) + "_x", DType::kFloat32);
    sub->captures.push_back({0, x});
    const ValueId w = sub->add_constant("w", weight);
    const ValueId transposed = sub->add_value(std::string(name) + "_transposed");
    const ValueId y = sub->add_value(std::string(name) + "_y");
    Node t, m;
    t.op_type = "Transpose", t.name = "turn", t.inputs = {w}, t.outputs = {transposed};
    t.attributes.emplace("perm", std::vector<int64_t>{1, 0});
    m.op_type = "MatMul", m.name = "product", m.inputs = {x, transposed}, m.outputs = {y};
    sub->nodes = {t, m};
    sub->outputs = {y};
    return sub;
  };
  GraphBuilder b;
  b.input("x", {2, 3});
  const ValueId c = b.input("c", {}, DType::kBool);
  const Tensor w = ramp({4, 3});
  b.output(b.add("If", "y", {c}, {{"then_branch", branch("a", w)}, {"else_branch", branch("b", w)}}));
  const auto ready = prepared(b.build());
  ASSERT_EQ(ready->graph.nodes.size(), 1u);
  std::set<const std::byte*> weights;
  std::set<std::string> names;
  for (const auto& [key, attribute] : ready->graph.nodes[0].attributes) {
    const Graph& sub = *std::get<std::shared_ptr<Graph>>(attribute);
    ASSERT_EQ(sub.nodes.size(), 1u);
    ASSERT_TRUE(sub.constant(sub.nodes[0].input(1)));
    weights.insert(sub.constant(sub.nodes[0].input(1))->raw());
    names.insert(sub.nodes[0].name);
  }
  EXPECT_EQ(weights.size(), 1u);  // one tensor
  EXPECT_EQ(names.size(), 2u);    // of two layers that reports can tell apart
}

// What is folded frees its sources, and allocators give the same place out again: nodes that read what lies
// there later are not the same nodes.
TEST(Prepare, AnAddressIsNoIdentity) {
  GraphBuilder b;
  ValueId sum = b.input("x", {1, 1});
  constexpr int kLayers = 8;
  for (int layer = 0; layer < kLayers; ++layer) {
    const std::string name = std::to_string(layer);
    const ValueId w = b.constant("w" + name, Tensor::of<float>({1, 1}, {static_cast<float>(layer)}));
    // The first two go again; what stays has another size, and so another place.
    const ValueId row = b.add("Concat", "row" + name, std::vector<ValueId>(100, w), {{"axis", int64_t{1}}});
    const ValueId negative = b.add("Neg", "negative" + name, {row});
    const ValueId least = b.add("ReduceMin", "least" + name, {negative}, {{"keepdims", int64_t{1}}});
    sum = b.add("Add", "sum" + name, {sum, least});
  }
  b.output(sum);
  const auto ready = prepared(b.build());
  float total = 0;
  for (const Value& v : ready->graph.values)
    if (v.name.starts_with("least") && v.constant) total += v.constant->floats()[0];
  EXPECT_EQ(total, -kLayers * (kLayers - 1) / 2);
}

TEST(Prepare, HalfPrecisionIsComputedInFloat32AndKeptAtTheEdges) {
  for (const DType type : {DType::kFloat16, DType::kBfloat16, DType::kFloat64}) {
    GraphBuilder b;
    const ValueId x = b.input("x", {2, 4}, type);
    const ValueId f = b.constant("f", ramp({4, 4}));
    const ValueId w = b.add("Cast", "w", {f}, {{"to", one(type)}});
    const ValueId y = b.add("Relu", "y", {b.add("MatMul", "product", {x, w})});
    b.output(y);
    const auto ready = prepared(b.build());
    EXPECT_EQ(ready->graph[y].dtype, type);
    EXPECT_EQ(ready->graph[ready->graph.find("product")].dtype, DType::kFloat32);
    Tensor in(type, {2, 4});  // zeros but for one
    if (type == DType::kFloat64) in.mutable_data<double>()[0] = 1;
    if (type == DType::kFloat16) reinterpret_cast<uint16_t*>(in.mutable_raw())[0] = float_to_half(1);
    if (type == DType::kBfloat16) reinterpret_cast<uint16_t*>(in.mutable_raw())[0] = 0x3f80;
    const Tensor out = Session(ready).run({{"x", in}})[0];
    EXPECT_EQ(out.dtype(), type);
    const std::vector<float> want = ramp({4, 4}).floats(), got = out.floats();
    for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(got[i], std::max(0.0f, want[i]), 0.01) << name_of(type);
  }
}

TEST(Prepare, DoublesOfPlainArithmeticStay) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2}, DType::kFloat64);
  b.output(b.add("Add", "y", {x, b.constant("c", Tensor::of<double>({1}, {1e-12}))}));
  const auto ready = prepared(b.build());
  EXPECT_THAT(operators(ready->graph), testing::ElementsAre("Add"));
  EXPECT_EQ(ready->graph[ready->graph.nodes[0].input(1)].dtype, DType::kFloat64);
}

// Whatever is known of sizes: nothing, how many dimensions there are, or all.
TEST(Prepare, DoublesForWhichThereIsNoKernelAreComputedInFloat32) {
  struct Case {
    std::string_view op;
    GraphBuilder::Attributes attributes;
    std::vector<Shape> inputs;  // all doubles
    Shape made;
  };
  const GraphBuilder::Attributes window{{"kernel_shape", std::vector<int64_t>{2, 2}}};
  const Shape image{1, 2, 4, 4};
  for (const Case& kind :
       {Case{"MaxPool", window, {image}, {1, 2, 3, 3}}, Case{"AveragePool", window, {image}, {1, 2, 3, 3}},
        Case{"InstanceNormalization", {}, {{2, 3, 4}, {3}, {3}}, {2, 3, 4}},
        Case{"BatchNormalization", {}, {{2, 3}, {3}, {3}, {3}, {3}}, {2, 3}},
        Case{"GridSample", {}, {image, {1, 2, 3, 2}}, {1, 2, 2, 3}}}) {
    for (const int known : {0, 1, 2}) {
      GraphBuilder b;
      std::vector<ValueId> inputs;
      std::vector<runtime::Feed> feeds;
      for (const Shape& dims : kind.inputs) {
        feeds.push_back({"in" + std::to_string(inputs.size()), Tensor(DType::kFloat64, dims)});
        for (double& v : feeds.back().tensor.mutable_data<double>()) v = 1;
        inputs.push_back(
            b.input(feeds.back().name, known == 2 ? symbolic(dims) : SymShape(dims.size()), DType::kFloat64));
        if (known == 0) b.graph()[inputs.back()].shape.reset();
      }
      b.output(b.add(kind.op, "y", inputs, kind.attributes));
      const Tensor y = Session(prepared(b.build())).run(std::move(feeds))[0];
      EXPECT_EQ(y.dtype(), DType::kFloat64) << kind.op << " " << known;
      EXPECT_EQ(y.dims(), kind.made) << kind.op << " " << known;
    }
  }
}

TEST(Prepare, AnUnknownOperatorsTypeFollowsFromItsReaders) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, 4}, DType::kFloat16);
  const ValueId u = b.add("Strange", "u", {x}, {}, "com.example");  // no type is declared
  b.output(b.add("MatMul", "y", {b.add("Relu", "r", {u}), b.constant("w", half(ramp({4, 3})))}));
  const auto model = b.build();
  model->graph[model->graph.outputs[0]].dtype = DType::kFloat16;
  const auto ready = prepared(model);
  for (const Node& n : ready->graph.nodes) {
    if (n.op_type == "MatMul" || n.op_type == "Relu")
      for (ValueId v : n.inputs) EXPECT_EQ(ready->graph[v].dtype, DType::kFloat32) << n.name;
    if (n.op_type == "Strange") EXPECT_EQ(ready->graph[n.inputs[0]].dtype, DType::kFloat16);
  }
}

TEST(Prepare, UnknownOperatorsKeepTheirTypes) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, 4}, DType::kFloat16);
  const ValueId r = b.add("Relu", "r", {x});
  const ValueId u = b.add("Strange", "u", {r, b.constant("c", half(ramp({4})))}, {}, "com.example");
  b.graph()[u].dtype = DType::kFloat16;
  b.output(b.add("Relu", "y", {u}));
  const auto ready = prepared(b.build());
  const Graph& g = ready->graph;
  for (const Node& n : g.nodes) {
    const DType want = n.op_type == "Strange" ? DType::kFloat16 : DType::kFloat32;
    if (n.op_type == "Cast") continue;
    for (ValueId v : n.inputs) EXPECT_EQ(g[v].dtype, want) << n.name;
    for (ValueId v : n.outputs) EXPECT_EQ(g[v].dtype, want) << n.name;
  }
  EXPECT_EQ(g[g.outputs[0]].dtype, DType::kFloat16);
}

TEST(Prepare, NamesAreUnique) {
  GraphBuilder b;
  const ValueId y = b.add("Relu", "y", {b.input("x", {1})});
  b.output(b.add("Exp", "z", {b.add("Exp", "w", {y})}));
  for (Node& n : b.graph().nodes) n.name = n.op_type == "Relu" ? "" : "same";
  const auto ready = prepared(b.build());
  std::vector<std::string> names;
  for (const Node& n : ready->graph.nodes) names.push_back(n.name);
  EXPECT_THAT(names, testing::ElementsAre("y", "same", "same_1"));
}

}  // namespace
}  // namespace zp
