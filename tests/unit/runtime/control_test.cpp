// Loop, Scan, sequences and optionals: nodes that run between plans.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "core/error.h"
#include "onnx/onnx.h"
#include "ops/op.h"
#include "runtime/prepare.h"
#include "runtime/session.h"
#include "unit/graph/graph_builder.h"
#include "unit/ops/one_node.h"
#include "unit/quant/quantize.h"

namespace zp {
namespace {

using runtime::Feed;
using runtime::Session;
using test::expect_floats;
using test::floats;
using test::GraphBuilder;
using test::longs;
using test::noise;
using testing::ElementsAre;
using testing::HasSubstr;

// A body, and what it captures.
struct Body : GraphBuilder {
  // An input of which nothing is declared.
  ValueId given(std::string_view name) {
    const ValueId v = graph().add_value(name);
    graph().inputs.push_back(v);
    return v;
  }
  ValueId capture(const GraphBuilder& outer, ValueId v) {
    Graph& from = const_cast<GraphBuilder&>(outer).graph();
    const ValueId inner = graph().add_value(from[v].name);
    graph().captures.push_back({.outer = v, .inner = inner});
    return inner;
  }
  std::shared_ptr<Graph> graph_of() { return std::make_shared<Graph>(graph()); }
};

std::vector<ValueId> add(GraphBuilder& b, std::string_view op, std::vector<ValueId> inputs, size_t outputs,
                         GraphBuilder::Attributes attributes, int64_t version = kOpset) {
  Node n;
  n.op_type = op;
  n.name = "the " + std::string(op);
  n.inputs = std::move(inputs);
  for (size_t i = 0; i < outputs; ++i)
    n.outputs.push_back(b.graph().add_value(std::string(op) + std::to_string(i)));
  for (auto& [key, value] : attributes) n.attributes.emplace(key, value);
  std::vector<ValueId> made = n.outputs;
  const OpDef& def = op_of(n);
  for (Node& node : form_in_memory(def, b.graph(), std::move(n), version))
    b.graph().nodes.push_back(std::move(node));
  return made;
}

std::vector<Feed> with_count(int64_t count, std::vector<Feed> more) {
  more.push_back({"count", Tensor::scalar(count)});
  return more;
}

// sum += x, `count` times, while sum < 10; gives the sums and twice each of them.
std::shared_ptr<Model> sums_model() {
  GraphBuilder b;
  const ValueId x = b.input("x", {2}), count = b.input("count", {}, DType::kInt64);
  Body body;
  body.given("i");
  body.given("go");
  const ValueId before = body.given("before");
  const ValueId sum = body.add("Add", "sum", {before, body.capture(b, x)});
  const ValueId largest = body.add("ReduceMax", "largest", {sum, body.constant("axes", longs({1}, {0}))},
                                   {{"keepdims", int64_t{0}}});
  body.output(body.add("Less", "below", {largest, body.constant("ten", Tensor::scalar(10.0f))}));
  body.output(sum);
  body.output(body.add("Add", "twice", {sum, sum}));
  const ValueId zero = b.constant("zero", floats({2}, {0, 0}));
  const std::vector<ValueId> y =
      add(b, "Loop", {count, b.constant("yes", Tensor::scalar(true)), zero}, 2, {{"body", body.graph_of()}});
  b.output(b.add("Neg", "negated", {y[0]}));
  b.output(y[1]);
  return b.build();
}

TEST(Loop, CarriesAndStacks) {
  Session session(sums_model());
  for (int i = 0; i < 2; ++i) {
    const std::vector<Tensor> y = session.run(with_count(3, {{"x", floats({2}, {1, 2})}}));
    expect_floats(y[0], {2}, {-3, -6});
    expect_floats(y[1], {3, 2}, {2, 4, 4, 8, 6, 12});
  }
  const size_t kept = session.plans_kept();
  const std::vector<Tensor> longer = session.run(with_count(4, {{"x", floats({2}, {1, 2})}}));
  expect_floats(longer[0], {2}, {-4, -8});
  EXPECT_EQ(session.plans_kept(), kept);  // the same plans for body and graph
}

// Products with constants are summed in another order.
void expect_near(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.dims(), b.dims());
  const std::vector<float> x = a.floats(), y = b.floats();
  for (size_t i = 0; i < x.size(); ++i) EXPECT_NEAR(x[i], y[i], 1e-5F);
}

// As TensorFlow's exporter has it: the weight goes through the loop, and is the same in all iterations.
std::shared_ptr<Model> carried_weight(bool identity, bool given_out) {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 64}), count = b.input("count", {}, DType::kInt64);
  Body body;
  body.given("i");
  const ValueId go = body.given("go"), state = body.given("state"), w = body.given("weight");
  const ValueId product = body.add("MatMul", "product", {state, w});
  const ValueId next = body.add("Tanh", "next", {product});
  body.output(go);
  body.output(next);
  body.output(identity ? body.add("Identity", "same", {w}) : w);
  // A value of the body that is called like the weight outside.
  const ValueId twin = body.add("Neg", "kernel", {next});
  body.output(twin);
  const ValueId kernel = b.constant("kernel", noise({64, 64}, 3, 0.1F));
  const std::vector<ValueId> y = add(b, "Loop", {count, b.constant("yes", Tensor::scalar(true)), x, kernel},
                                     3, {{"body", body.graph_of()}});
  b.output(y[0]);
  b.output(y[2]);
  if (given_out) b.output(y[1]);
  return b.build();
}

TEST(Loop, WhatItCarriesAndDoesNotChangeIsReadFromOutside) {
  for (const bool identity : {false, true}) {
    for (const bool given_out : {false, true}) {
      const std::shared_ptr<const Model> model = carried_weight(identity, given_out);
      const auto ready = runtime::prepared(model);
      const Node& loop =
          *std::ranges::find_if(ready->graph.nodes, [](const Node& n) { return n.is("Loop"); });
      EXPECT_EQ(loop.inputs.size(), 3u);
      EXPECT_EQ(loop.outputs.size(), 2u);
      for (const int64_t count : {0, 3}) {
        const auto feeds = [&] { return with_count(count, {{"x", noise({1, 64}, 7)}}); };
        const std::vector<Tensor> a = Session(model).run(feeds()), y = Session(ready).run(feeds());
        ASSERT_EQ(a.size(), given_out ? 3u : 2u);
        for (size_t i = 0; i < a.size(); ++i) expect_near(a[i], y[i]);
      }
      // The file is right too, and the weight is one of integers.
      const test::Quantized q = test::quantize(model, {.mode = "weight-only"});
      EXPECT_TRUE(q.layer("product").quantized);
      const std::vector<std::byte> bytes = onnx::write(*q.model);
      EXPECT_LT(bytes.size(), given_out ? 5u * 64 * 64 + 4096 : 64u * 64 + 4096);
      auto copy = allocate_bytes(bytes.size());
      std::ranges::copy(bytes, copy.get());
      const auto again = std::make_shared<const Model>(onnx::read(std::move(copy), bytes.size()));
      const auto feeds = [&] { return with_count(3, {{"x", noise({1, 64}, 7)}}); };
      const std::vector<float> exact = Session(model).run(feeds())[0].floats(),
                               rounded = Session(again).run(feeds())[0].floats();
      for (size_t i = 0; i < exact.size(); ++i) EXPECT_NEAR(exact[i], rounded[i], 0.02F);
    }
  }
}

TEST(Scan, WhatItCarriesAndDoesNotChangeIsReadFromOutside) {
  GraphBuilder b;
  const ValueId xs = b.input("xs", {5, 1, 64});
  Body body;
  const ValueId state = body.given("state"), w = body.given("weight"), x = body.given("x");
  const ValueId sum = body.add("Add", "sum", {body.add("MatMul", "product", {x, w}), state});
  body.output(sum);
  body.output(w);
  body.output(sum);
  const ValueId zero = b.constant("zero", Tensor(DType::kFloat32, {1, 64})),
                kernel = b.constant("kernel", noise({64, 64}, 3, 0.1F));
  const std::vector<ValueId> y =
      add(b, "Scan", {zero, kernel, xs}, 3, {{"body", body.graph_of()}, {"num_scan_inputs", int64_t{1}}});
  b.output(y[0]);
  b.output(y[1]);
  b.output(y[2]);
  const std::shared_ptr<const Model> model = b.build();
  const auto ready = runtime::prepared(model);
  const Node& scan = *std::ranges::find_if(ready->graph.nodes, [](const Node& n) { return n.is("Scan"); });
  EXPECT_EQ(scan.inputs.size(), 2u);
  const std::vector<Tensor> a = Session(model).run({{"xs", noise({5, 1, 64}, 9)}}),
                            c = Session(ready).run({{"xs", noise({5, 1, 64}, 9)}});
  for (size_t i = 0; i < a.size(); ++i) expect_near(a[i], c[i]);
}

TEST(Loop, EndsWithItsCondition) {
  const std::vector<Tensor> y = Session(sums_model()).run(with_count(1000, {{"x", floats({2}, {4, 1})}}));
  expect_floats(y[0], {2}, {-12, -3});
  EXPECT_EQ(y[1].dims(), (Shape{3, 2}));
}

TEST(Loop, MayNotRunAtAll) {
  for (const int64_t count : {0, -3}) {
    const std::vector<Tensor> y = Session(sums_model()).run(with_count(count, {{"x", floats({2}, {4, 1})}}));
    expect_floats(y[0], {2}, {0, 0});
    expect_floats(y[1], {0, 2}, {});
  }
}

TEST(Loop, RunsInSlices) {
  Session session(sums_model());
  session.begin(with_count(3, {{"x", floats({2}, {1, 2})}}));
  size_t slices = 1;
  while (!session.advance(0)) {
    EXPECT_LE(session.done(), session.total());
    ++slices;
  }
  EXPECT_GE(slices, 3u);
  EXPECT_EQ(session.done(), session.total());
  expect_floats(session.outputs()[0], {2}, {-3, -6});
  // A run that was dropped leaves nothing behind.
  session.begin(with_count(3, {{"x", floats({2}, {1, 2})}}));
  EXPECT_FALSE(session.advance(0));
  expect_floats(session.run(with_count(2, {{"x", floats({2}, {1, 2})}}))[0], {2}, {-2, -4});
}

TEST(Loop, ShapesMayChangeFromIterationToIteration) {
  GraphBuilder b;
  const ValueId x = b.input("x", {Dim::symbol("N")}), count = b.input("count", {}, DType::kInt64);
  Body body;
  body.given("i");
  const ValueId go = body.given("go"), v = body.given("v");
  body.output(go);
  body.output(body.add("Concat", "twice as long", {v, v}, {{"axis", int64_t{0}}}));
  const std::vector<ValueId> y = add(b, "Loop", {count, kNoValue, x}, 1, {{"body", body.graph_of()}});
  b.output(b.add("Relu", "relu", {y[0]}));
  const auto model = b.build();
  EXPECT_EQ(model->graph[y[0]].shape->size(), 1u);
  EXPECT_FALSE((*model->graph[y[0]].shape)[0].known());
  const Tensor got = Session(runtime::prepared(model)).run(with_count(3, {{"x", floats({1}, {2})}}))[0];
  expect_floats(got, {8}, {2, 2, 2, 2, 2, 2, 2, 2});
}

// for i < count: for j < i: n += 1; the inner loop captures i.
TEST(Loop, Nests) {
  GraphBuilder b;
  const ValueId count = b.input("count", {}, DType::kInt64);
  Body outer;
  const ValueId i = outer.given("i"), go = outer.given("go"), n = outer.given("n");
  Body inner;
  inner.given("j");
  const ValueId inner_go = inner.given("go"), m = inner.given("m");
  inner.output(inner_go);
  inner.output(inner.add("Add", "more", {m, inner.constant("one", Tensor::scalar(int64_t{1}))}));
  const std::vector<ValueId> made = add(outer, "Loop", {i, kNoValue, n}, 1, {{"body", inner.graph_of()}});
  outer.output(go);
  outer.output(made[0]);
  outer.output(made[0]);
  const ValueId zero = b.constant("zero", Tensor::scalar(int64_t{0}));
  const std::vector<ValueId> y = add(b, "Loop", {count, kNoValue, zero}, 2, {{"body", outer.graph_of()}});
  b.output(y[0]);
  b.output(y[1]);
  Session session(runtime::prepared(b.build()));
  const std::vector<Tensor> got = session.run(with_count(5, {}));
  EXPECT_EQ(got[0].integers(), (std::vector<int64_t>{10}));
  EXPECT_EQ(got[1].integers(), (std::vector<int64_t>{0, 1, 3, 6, 10}));
}

TEST(Loop, ThatDoesNotEndIsRefused) {
  GraphBuilder b;
  b.input("x", {1});
  Body body;
  body.given("i");
  body.output(body.given("go"));
  const ValueId v = body.given("v");
  body.output(v);
  b.output(add(b, "Loop", {kNoValue, kNoValue, b.constant("v", floats({1}, {1}))}, 1,
               {{"body", body.graph_of()}})[0]);
  Session session(b.build());
  try {
    session.run({{"x", floats({1}, {1})}});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(e.what(), HasSubstr("has not ended after 1000000 iterations"));
    EXPECT_EQ(e.details().node, "the Loop");
  }
}

TEST(Loop, ABodyThatDoesNotFitIsRefused) {
  const auto model = [](size_t inputs, size_t outputs) {
    GraphBuilder b;
    Body body;
    for (size_t i = 0; i < inputs; ++i) body.given("in" + std::to_string(i));
    for (size_t i = 0; i < outputs; ++i)
      body.output(body.constant("c" + std::to_string(i), Tensor::scalar(true)));
    b.output(add(b, "Loop", {b.input("n", {}, DType::kInt64), kNoValue, b.input("v", {}, DType::kBool)}, 1,
                 {{"body", body.graph_of()}})[0]);
    return b.build();
  };
  EXPECT_NO_THROW(model(3, 2));
  EXPECT_THROW(model(2, 2), Error);
  EXPECT_THROW(model(3, 1), Error);
}

std::shared_ptr<const Model> reopened(const Model& model) {
  const std::vector<std::byte> bytes = onnx::write(model);
  auto copy = allocate_bytes(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.get());
  return std::make_shared<const Model>(onnx::read(std::move(copy), bytes.size()));
}

// ONNX Runtime refuses a file that does not say which.
TEST(Loop, TheNumbersOfItsBodyHaveTheRankThatItDeclares) {
  struct Declared {
    std::optional<SymShape> given;
    SymShape written;
    Shape stacked;
  };
  for (const auto& [given, written, stacked] :
       {Declared{std::nullopt, {}, {3}}, Declared{SymShape{}, {}, {3}},
        Declared{SymShape{Dim(1)}, {Dim(1)}, {3, 1}}}) {
    GraphBuilder b;
    Body body;
    const ValueId i = body.given("i"), go = body.given("go");
    body.graph()[i].shape = body.graph()[go].shape = given;
    body.output(go);
    body.output(body.add("Identity", "copy", {i}));
    const ValueId count = b.input("count", {}, DType::kInt64);
    b.output(add(b, "Loop", {count, kNoValue}, 1, {{"body", body.graph_of()}})[0]);
    const std::shared_ptr<const Model> again = reopened(*b.build());
    const Graph& read = *std::get<std::shared_ptr<Graph>>(*again->graph.nodes[0].attribute("body"));
    for (const ValueId v : read.inputs) EXPECT_EQ(read[v].shape, written);
    const std::vector<Tensor> y = Session(again).run(with_count(3, {}));
    EXPECT_EQ(y[0].dims(), stacked);
    EXPECT_THAT(y[0].integers(), ElementsAre(0, 1, 2));
  }
}

TEST(Loop, IsWrittenAndReadAgain) {
  const std::shared_ptr<const Model> again = reopened(*sums_model());
  EXPECT_GE(again->opsets.at(""), 11);
  const std::vector<Tensor> y = Session(again).run(with_count(3, {{"x", floats({2}, {1, 2})}}));
  expect_floats(y[1], {3, 2}, {2, 4, 4, 8, 6, 12});
}

// v = relu(v w), three times.
std::shared_ptr<Model> layers_model() {
  GraphBuilder b;
  const ValueId x = b.input("x", {4, 16});
  Body body;
  body.given("i");
  const ValueId go = body.given("go"), v = body.given("v");
  body.output(go);
  body.output(
      body.add("Relu", "relu", {body.add("MatMul", "layer", {v, body.constant("w", noise({16, 16}, 3))})}));
  const ValueId three = b.constant("three", Tensor::scalar(int64_t{3}));
  b.output(add(b, "Loop", {three, kNoValue, x}, 1, {{"body", body.graph_of()}})[0]);
  return b.build();
}

TEST(Loop, WeightsInItsBodyAreQuantized) {
  const auto model = layers_model();
  const std::vector<Feed> sample{{"x", noise({4, 16}, 1)}};
  const std::vector<float> want = Session(runtime::prepared(model)).run(sample)[0].floats();
  for (const char* mode : {"static", "dynamic", "weight-only"}) {
    const test::Quantized q = test::quantize(model, {.mode = mode}, {sample});
    EXPECT_TRUE(q.layer("layer").quantized) << mode;
    if (std::string_view(mode) == "static")
      EXPECT_THAT(q.report.warnings, testing::Contains(HasSubstr("1 layer in branches")));
    const std::vector<float> got = Session(q.model).run(sample)[0].floats();
    double error = 0, signal = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      error += (got[i] - want[i]) * (got[i] - want[i]);
      signal += want[i] * want[i];
    }
    EXPECT_GT(error, 0) << mode;
    EXPECT_LT(error, signal * 1e-3) << mode;
  }
}

TEST(Loop, StaysFloat32InAFloat16Model) {
  const std::vector<Feed> sample{{"x", noise({4, 16}, 1)}};
  const auto model = layers_model();
  const std::vector<float> want = Session(runtime::prepared(model)).run(sample)[0].floats();
  const test::Quantized q = test::quantize(model, {.mode = "float16"}, {sample});
  const std::vector<float> got = Session(runtime::prepared(q.model)).run(sample)[0].floats();
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i], want[i], 0.02f * (1 + std::abs(want[i])));
}

// ---- Scan

// sum += x[t]; gives the last sum, and all of them.
std::shared_ptr<Graph> sums_body() {
  Body body;
  const ValueId sum = body.given("sum"), x = body.given("x");
  const ValueId next = body.add("Add", "next", {sum, x});
  body.output(next);
  body.output(next);
  return body.graph_of();
}

std::vector<Tensor> scan(const Tensor& start, const Tensor& x, GraphBuilder::Attributes more,
                         int64_t version = kOpset) {
  GraphBuilder b;
  std::vector<ValueId> inputs{b.input("start", symbolic(start.dims())), b.input("x", symbolic(x.dims()))};
  if (version < 9) inputs.insert(inputs.begin(), kNoValue);
  more.emplace_back("num_scan_inputs", int64_t{1});
  more.emplace_back("body", sums_body());
  for (ValueId v : add(b, "Scan", inputs, 2, more, version)) b.output(v);
  const auto model = b.build();
  const std::vector<Tensor> made = Session(runtime::prepared(model)).run({{"start", start}, {"x", x}});
  for (size_t i = 0; i < made.size(); ++i) {
    const std::optional<SymShape>& shape = model->graph[model->graph.outputs[i]].shape;
    if (version >= 9) EXPECT_EQ(*shape, symbolic(made[i].dims()));
  }
  return made;
}

TEST(Scan, CarriesAndStacks) {
  const auto y = scan(floats({2}, {0, 1}), floats({3, 2}, {1, 2, 3, 4, 5, 6}), {});
  expect_floats(y[0], {2}, {9, 13});
  expect_floats(y[1], {3, 2}, {1, 3, 4, 7, 9, 13});
}

TEST(Scan, GoesBackwards) {
  const std::vector<int64_t> one{1};
  const Tensor start = floats({1}, {0}), x = floats({3, 1}, {1, 2, 3});
  expect_floats(scan(start, x, {{"scan_input_directions", one}})[1], {3, 1}, {3, 5, 6});
  expect_floats(scan(start, x, {{"scan_output_directions", one}})[1], {3, 1}, {6, 3, 1});
}

TEST(Scan, AlongAnyAxis) {
  const std::vector<int64_t> last{-1};
  const auto y = scan(floats({2}, {0, 0}), floats({2, 3}, {1, 2, 3, 10, 20, 30}),
                      {{"scan_input_axes", last}, {"scan_output_axes", last}});
  expect_floats(y[0], {2}, {6, 60});
  expect_floats(y[1], {2, 3}, {1, 3, 6, 10, 30, 60});
}

TEST(Scan, OfNothing) {
  const auto y = scan(floats({2}, {4, 5}), floats({0, 2}, {}), {});
  expect_floats(y[0], {2}, {4, 5});
  expect_floats(y[1], {0, 2}, {});
}

// Opset 8: a batch of two sequences.
TEST(Scan, HadABatch) {
  const auto y = scan(floats({2, 1}, {0, 100}), floats({2, 3, 1}, {1, 2, 3, 4, 5, 6}), {}, 8);
  expect_floats(y[0], {2, 1}, {6, 115});
  expect_floats(y[1], {2, 3, 1}, {1, 3, 6, 104, 109, 115});
}

// ---- sequences

TEST(Sequences, AreMadeChangedAndRead) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, 3}), at = b.input("at", {}, DType::kInt64);
  const ValueId made = b.add("SequenceConstruct", "made", {x, x});
  const ValueId row = b.constant("row", floats({1, 3}, {7, 8, 9}));
  const ValueId with = b.add("SequenceInsert", "with", {made, row, at});
  b.output(b.add("Neg", "negated", {b.add("SequenceAt", "read", {with, at})}));
  b.output(b.add("SequenceLength", "length", {with}));
  b.output(b.add("ConcatFromSequence", "rows", {with}, {{"axis", int64_t{0}}}));
  const ValueId without = b.add("SequenceErase", "without", {with, at});
  b.output(
      b.add("ConcatFromSequence", "stacked", {without}, {{"axis", int64_t{-1}}, {"new_axis", int64_t{1}}}));
  Session session(runtime::prepared(b.build()));
  const Tensor in = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto run = [&](int64_t position) {
    return session.run({{"x", in}, {"at", Tensor::scalar(position)}});
  };
  const std::vector<Tensor> y = run(1);
  expect_floats(y[0], {1, 3}, {-7, -8, -9});
  EXPECT_EQ(y[1].integers(), (std::vector<int64_t>{3}));
  expect_floats(y[2], {5, 3}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6});
  expect_floats(y[3], {2, 3, 2}, {1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6});
  try {
    run(4);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kIndexOutOfRange);
    EXPECT_EQ(e.details().tensor, "at");
  }
}

TEST(Sequences, AreSplitMappedAndJoined) {
  GraphBuilder b;
  const ValueId x = b.input("x", {5, 2}), factor = b.input("factor", {});
  const ValueId parts = b.add("SplitToSequence", "parts", {x, b.constant("two", Tensor::scalar(int64_t{2}))});
  Body body;
  const ValueId part = body.given("part"), times = body.given("times");
  body.output(body.add("Mul", "scaled", {part, times}));
  const ValueId mapped = add(b, "SequenceMap", {parts, factor}, 1, {{"body", body.graph_of()}})[0];
  b.output(b.add("ConcatFromSequence", "joined", {mapped}, {{"axis", int64_t{0}}}));
  b.output(b.add("SequenceAt", "last", {mapped, b.constant("end", Tensor::scalar(int64_t{-1}))}));
  const std::vector<Tensor> y =
      Session(runtime::prepared(b.build()))
          .run({{"x", floats({5, 2}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10})}, {"factor", Tensor::scalar(10.0f)}});
  expect_floats(y[0], {5, 2}, {10, 20, 30, 40, 50, 60, 70, 80, 90, 100});
  expect_floats(y[1], {1, 2}, {90, 100});
}

// A sequence that grows in a loop, and is read in a branch.
TEST(Sequences, GoThroughLoopsAndBranches) {
  GraphBuilder b;
  const ValueId count = b.input("count", {}, DType::kInt64);
  Body body;
  const ValueId i = body.given("i"), go = body.given("go"), list = body.given("list");
  const ValueId value = body.add("Cast", "value", {i}, {{"to", static_cast<int64_t>(DType::kFloat32)}});
  body.output(go);
  body.output(body.add("SequenceInsert", "longer", {list, value}));
  const ValueId none = b.add("SequenceEmpty", "none", {});
  const ValueId all = add(b, "Loop", {count, kNoValue, none}, 1, {{"body", body.graph_of()}})[0];
  Body then, otherwise;
  then.output(then.add("ConcatFromSequence", "stack", {then.capture(b, all)},
                       {{"axis", int64_t{0}}, {"new_axis", int64_t{1}}}));
  otherwise.output(otherwise.constant("empty", floats({0}, {})));
  const ValueId some =
      b.add("Greater", "some",
            {b.add("SequenceLength", "length", {all}), b.constant("zero", Tensor::scalar(int64_t{0}))});
  b.output(
      b.add("If", "y", {some}, {{"then_branch", then.graph_of()}, {"else_branch", otherwise.graph_of()}}));
  Session session(runtime::prepared(b.build()));
  expect_floats(session.run(with_count(3, {}))[0], {3}, {0, 1, 2});
  expect_floats(session.run(with_count(0, {}))[0], {0}, {});
}

TEST(Sequences, AreNoTensors) {
  GraphBuilder b;
  const ValueId made = b.add("SequenceConstruct", "made", {b.input("x", {2})});
  b.output(b.add("Neg", "y", {made}));
  try {
    b.build();
    FAIL();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("is a sequence, not a tensor"));
    EXPECT_EQ(e.details().node, "y");
  }
}

TEST(Sequences, AreFedAndGiven) {
  GraphBuilder b;
  const ValueId s = b.input("s", {});
  b.graph()[s].kind = ValueKind::kSequence;
  b.graph()[s].shape.reset();
  b.output(b.add("SequenceErase", "shorter", {s}));
  const auto model = b.build();
  const std::vector<std::byte> bytes = onnx::write(*model);
  auto copy = allocate_bytes(bytes.size());
  std::copy(bytes.begin(), bytes.end(), copy.get());
  const auto again = std::make_shared<const Model>(onnx::read(std::move(copy), bytes.size()));
  EXPECT_EQ(again->graph[again->graph.inputs[0]].kind, ValueKind::kSequence);
  EXPECT_EQ(again->graph[again->graph.outputs[0]].kind, ValueKind::kSequence);
  Session session(again);
  const auto fed = std::make_shared<const Sequence>(Sequence{floats({1}, {1}), floats({2}, {2, 3})});
  session.begin({{"s", {}, fed}});
  while (!session.advance(1e9)) {
  }
  ASSERT_TRUE(session.item(0).is_sequence());
  EXPECT_EQ(session.item(0).sequence->size(), 1u);
  EXPECT_THROW(session.outputs(), Error);
  EXPECT_THROW(session.begin({{"s", floats({1}, {1})}}), Error);
}

// Files of strangers name outputs that the operator has not.
TEST(Sequences, OutputsThatAnOperatorDoesNotGiveAreNamed) {
  for (const std::string_view op : {"SequenceErase", "SequenceLength", "SequenceAt", "OptionalHasElement"}) {
    GraphBuilder b;
    const ValueId x = b.input("x", {2}), at = b.input("at", {}, DType::kInt64);
    const ValueId made = b.add("SequenceConstruct", "made", {x, x});
    std::vector<ValueId> inputs{made};
    if (op.ends_with("At")) inputs.push_back(at);
    const std::vector<ValueId> y = add(b, op, std::move(inputs), 2, {});
    b.output(b.add("Neg", "negated", {y[1]}));
    try {
      Session(b.build()).run({{"x", floats({2}, {1, 2})}, {"at", Tensor::scalar(int64_t{0})}});
      FAIL() << op;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidModel);
      EXPECT_THAT(e.what(), HasSubstr("does not give this output"));
      EXPECT_EQ(e.details().tensor, std::string(op) + "1");
      EXPECT_EQ(e.details().node, "the " + std::string(op));
    }
  }
}

// ---- optionals

TEST(Optionals, HoldSomethingOrNothing) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2});
  const ValueId some = b.add("Optional", "some", {x}), none = b.add("Optional", "none", {});
  b.output(b.add("OptionalHasElement", "has", {some}));
  b.output(b.add("OptionalHasElement", "has not", {none}));
  b.output(b.add("Neg", "y", {b.add("OptionalGetElement", "element", {some})}));
  const std::vector<Tensor> y = Session(runtime::prepared(b.build())).run({{"x", floats({2}, {1, 2})}});
  EXPECT_EQ(y[0].integer_at(0), 1);
  EXPECT_EQ(y[1].integer_at(0), 0);
  expect_floats(y[2], {2}, {-1, -2});
}

TEST(Optionals, ThatHoldNothingAreNotRead) {
  GraphBuilder b;
  b.input("x", {2});
  b.output(b.add("OptionalGetElement", "element", {b.add("Optional", "none", {})}));
  Session session(b.build());
  EXPECT_THROW(session.run({{"x", floats({2}, {1, 2})}}), Error);
}

}  // namespace
}  // namespace zp
