// Shapes that follow from values that only a run computes: plans in pieces.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "core/error.h"
#include "runtime/session.h"
#include "unit/graph/graph_builder.h"

namespace zp {
namespace {

using runtime::Feed;
using runtime::Session;
using test::GraphBuilder;
using test::ramp;

Tensor floats(Shape dims, std::vector<float> values) { return Tensor::of<float>(std::move(dims), values); }

ValueId number(GraphBuilder& b, std::string_view name, int64_t value) {
  return b.constant(name, Tensor::scalar(value));
}

// How long each of three letters is said, from what a layer makes of them; then the letters, as often.
//   y[t] = 10 x[letter said at t] + t
std::shared_ptr<Model> lengths_model(bool quantized) {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 3});
  ValueId w = b.constant("w", floats({3, 3}, {2, 0, 0, 0, 2, 0, 0, 0, 2}));
  ValueId durations = b.add("MatMul", "durations", {x, w});
  if (quantized) durations = b.fake_quantize("quantized", durations, 0.5f, 0);
  const ValueId total =
      b.add("ReduceSum", "total", {durations, b.constant("axes", Tensor::of<int64_t>({2}, {0, 1}))},
            {{"keepdims", int64_t{0}}});
  const ValueId length = b.add("Cast", "length", {total}, {{"to", static_cast<int64_t>(DType::kInt64)}});
  const ValueId times = b.add("Range", "times", {number(b, "zero", 0), length, number(b, "one", 1)});
  const ValueId seconds = b.add("Cast", "seconds", {times}, {{"to", static_cast<int64_t>(DType::kFloat32)}});
  // The letter at t: how many ends are at or before t.
  const ValueId ends = b.add("CumSum", "ends", {durations, number(b, "along", 1)});
  const ValueId column =
      b.add("Unsqueeze", "column", {seconds, b.constant("last", Tensor::of<int64_t>({1}, {1}))});
  const ValueId past = b.add("LessOrEqual", "past", {ends, column});
  const ValueId count = b.add("Cast", "count", {past}, {{"to", static_cast<int64_t>(DType::kInt64)}});
  const ValueId letter =
      b.add("ReduceSum", "letter", {count, b.constant("over", Tensor::of<int64_t>({1}, {1}))},
            {{"keepdims", int64_t{0}}});
  const ValueId flat = b.add("Reshape", "flat", {x, b.constant("three", Tensor::of<int64_t>({1}, {3}))});
  const ValueId said = b.add("Gather", "said", {flat, letter});
  const ValueId loud = b.add("Mul", "loud", {said, b.constant("ten", Tensor::scalar(10.0f))});
  b.output(b.add("Add", "y", {loud, seconds}));
  b.output(durations);
  return b.build();
}

std::vector<float> expected_lengths(const std::vector<float>& x) {
  std::vector<float> y;
  for (float letter : x)
    for (int i = 0; i < static_cast<int>(2 * letter); ++i)
      y.push_back(10 * letter + static_cast<float>(y.size()));
  return y;
}

class Lengths : public testing::TestWithParam<bool> {};

TEST_P(Lengths, ThatLayersComputeDecideShapes) {
  Session session(lengths_model(GetParam()));
  for (const std::vector<float>& x : {std::vector<float>{1, 2, 3}, {1, 1, 1}, {0, 4, 0.5f}, {1, 2, 3}}) {
    const std::vector<Tensor> out = session.run({{"x", floats({1, 3}, x)}});
    EXPECT_THAT(out[0].floats(), testing::ElementsAreArray(expected_lengths(x)));
    EXPECT_EQ(out[1].floats()[1], 2 * x[1]);  // made before the cut
    EXPECT_GT(session.arena_bytes(), 0u);
  }
}
INSTANTIATE_TEST_SUITE_P(FloatAndQuantized, Lengths, testing::Bool());

TEST(Segments, PlansAreKeptForTheSameLengths) {
  Session session(lengths_model(false));
  session.run({{"x", floats({1, 3}, {1, 2, 3})}});
  const size_t kept = session.plans_kept();
  session.run({{"x", floats({1, 3}, {3, 2, 1})}});  // as long: the same plans
  EXPECT_EQ(session.plans_kept(), kept);
  session.run({{"x", floats({1, 3}, {1, 1, 1})}});
  EXPECT_GT(session.plans_kept(), kept);
}

TEST(Segments, ARunInSlicesCountsItsSteps) {
  Session session(lengths_model(false));
  session.begin({{"x", floats({1, 3}, {1, 2, 3})}});
  size_t slices = 1, before = 0;
  while (!session.advance(0)) {
    EXPECT_GE(session.done(), before);
    EXPECT_LE(session.done(), session.total());
    before = session.done();
    ++slices;
  }
  EXPECT_EQ(session.done(), session.total());
  EXPECT_EQ(session.steps().size(), session.total());
  EXPECT_GE(slices, session.total());
  EXPECT_THAT(session.outputs()[0].floats(), testing::ElementsAreArray(expected_lengths({1, 2, 3})));
}

TEST(Segments, EveryTapIsShownOnce) {
  const auto model = lengths_model(true);
  std::vector<ValueId> taps;
  for (const char* name : {"x", "durations", "quantized", "seconds", "said", "loud"})
    taps.push_back(model->graph.find(name));
  Session session(model, {.taps = taps});
  std::multiset<ValueId> seen;
  session.set_tap([&](ValueId v, const TensorView& view) {
    seen.insert(v);
    if (v == taps[3]) EXPECT_EQ(element_count(view.dims), 12);
  });
  session.run({{"x", floats({1, 3}, {1, 2, 3})}});
  EXPECT_EQ(seen, std::multiset<ValueId>(taps.begin(), taps.end()));
}

// Integers behind the cut as before it: the DQ whose value crosses it is in both plans.
TEST(Segments, OperatorsBehindTheCutUseIntegerKernels) {
  GraphBuilder b;
  const ValueId x = b.fake_quantize("xq", b.input("x", {16, 8}), 1.0f / 64, 128);
  const ValueId largest =
      b.add("ReduceMax", "largest", {x, b.constant("axes", Tensor::of<int64_t>({2}, {0, 1}))});
  const ValueId rows = b.add("Mul", "rows", {largest, b.constant("four", Tensor::scalar(4.0f))});
  const ValueId count = b.add("Cast", "count", {rows}, {{"to", static_cast<int64_t>(DType::kInt64)}});
  const ValueId end = b.add("Reshape", "end", {count, b.constant("one", Tensor::of<int64_t>({1}, {1}))});
  const ValueId chosen =
      b.add("Slice", "chosen", {x, b.constant("begin", Tensor::of<int64_t>({1}, {0})), end});
  Tensor weights(DType::kInt8, {8, 8});
  for (size_t i = 0; i < 64; ++i) weights.mutable_data<int8_t>()[i] = static_cast<int8_t>(i * 37 % 127 - 60);
  const ValueId w = b.add("DequantizeLinear", "w",
                          {b.constant("w_int8", weights), b.constant("ws", Tensor::scalar(0.01f))});
  b.output(b.fake_quantize("yq", b.add("MatMul", "y", {chosen, w}), 1.0f / 32, 128));
  const auto model = b.build();
  Session integers(model), plain(model, {.integer = false});
  Tensor in = ramp({16, 8}, 0.5f);
  in.mutable_data<float>()[5] = 0.8f;  // three rows
  const Tensor got = integers.run({{"x", in}})[0], want = plain.run({{"x", in}})[0];
  EXPECT_EQ(got.dims(), (Shape{3, 8}));
  for (size_t i = 0; i < 24; ++i) EXPECT_NEAR(got.floats()[i], want.floats()[i], 1.0f / 32 * 1.001f);
  std::vector<std::string> kernels;
  for (const auto& s : integers.steps()) kernels.push_back(s.op + ":" + s.kernel);
  EXPECT_THAT(kernels, testing::Contains("MatMul:int8"));
}

// A length that comes from constants, through a DequantizeLinear that stays in the plan.
TEST(Segments, ADequantizedConstantDecidesAShape) {
  GraphBuilder b;
  const ValueId x = b.input("x", {1});
  const ValueId q = b.constant("q", Tensor::of<uint8_t>({1}, {30}));
  const ValueId length = b.add("DequantizeLinear", "length", {q, b.constant("s", Tensor::scalar(0.1f))});
  const ValueId shape = b.add("Cast", "shape", {length}, {{"to", static_cast<int64_t>(DType::kInt64)}});
  b.output(b.add("Expand", "y", {x, shape}));
  Session session(b.build());
  EXPECT_EQ(session.run({{"x", floats({1}, {7})}})[0].dims(), (Shape{3}));
}

std::shared_ptr<Graph> branch(std::string_view op, ValueId outer, SymShape shape, std::vector<Tensor> more) {
  auto g = std::make_shared<Graph>();
  const ValueId x = g->add_value("x", DType::kFloat32, std::move(shape));
  g->captures.push_back({.outer = outer, .inner = x});
  Node n;
  n.op_type = op;
  n.name = std::string(op);
  n.inputs = {x};
  for (Tensor& t : more) n.inputs.push_back(g->add_constant("c", std::move(t)));
  n.outputs = {g->add_value("out")};
  g->outputs = n.outputs;
  g->nodes.push_back(std::move(n));
  return g;
}

// Branches of different shapes, or one that never fits, behind a condition that a layer computes.
TEST(Segments, AComputedConditionChoosesBetweenShapes) {
  for (const bool misfit : {false, true}) {
    GraphBuilder b;
    const ValueId x = b.input("x", {2, 3});
    const ValueId sum = b.add("ReduceSum", "sum", {x, b.constant("axes", Tensor::of<int64_t>({2}, {0, 1}))},
                              {{"keepdims", int64_t{0}}});
    const ValueId positive = b.add("Greater", "positive", {sum, b.constant("zero", Tensor::scalar(0.0f))});
    const auto yes = branch("Reshape", x, {2, 3}, {Tensor::of<int64_t>({1}, {6})});
    const auto no =
        misfit ? branch("Reshape", x, {2, 3}, {Tensor::of<int64_t>({1}, {5})}) : branch("Neg", x, {2, 3}, {});
    const ValueId y = b.add("If", "y", {positive}, {{"then_branch", yes}, {"else_branch", no}});
    b.output(b.add("Relu", "z", {y}));
    Session session(b.build());
    const Tensor some = ramp({2, 3});
    Tensor above = ramp({2, 3}), below = ramp({2, 3});
    for (float& v : above.mutable_data<float>()) v = std::abs(v);
    for (float& v : below.mutable_data<float>()) v = -std::abs(v);
    EXPECT_EQ(session.run({{"x", above}})[0].dims(), (Shape{6}));
    if (misfit) {
      try {
        session.run({{"x", below}});
        FAIL() << "nothing was thrown";
      } catch (const Error& e) {
        EXPECT_EQ(e.code(), ErrorCode::kShapeMismatch);
      }
    } else {
      EXPECT_EQ(session.run({{"x", below}})[0].dims(), (Shape{2, 3}));
    }
    EXPECT_EQ(session.run({{"x", above}})[0].floats(), above.floats());  // and still usable
  }
}

// Inside a branch whose own output has one shape whatever it finds.
TEST(Segments, ABranchHasValuesOfUnknownLength) {
  GraphBuilder b;
  const ValueId x = b.input("x", {6});
  const ValueId sum = b.add("ReduceSum", "sum", {x, b.constant("axes", Tensor::of<int64_t>({1}, {0}))},
                            {{"keepdims", int64_t{0}}});
  const ValueId positive = b.add("Greater", "positive", {sum, b.constant("zero", Tensor::scalar(0.0f))});
  const auto count = [&](const char* op) {
    auto g = std::make_shared<Graph>();
    const ValueId in = g->add_value("in", DType::kFloat32, SymShape{6});
    g->captures.push_back({.outer = x, .inner = in});
    const auto add = [&](std::string_view type, std::vector<ValueId> inputs) {
      Node n;
      n.op_type = type;
      n.name = type;
      n.inputs = std::move(inputs);
      n.outputs = {g->add_value(type)};
      g->nodes.push_back(n);
      return n.outputs[0];
    };
    const ValueId places = add("NonZero", {add(op, {in})});
    g->outputs = {add("Size", {places})};
    return g;
  };
  b.output(b.add("If", "y", {positive}, {{"then_branch", count("Relu")}, {"else_branch", count("Neg")}}));
  Session session(b.build());
  const auto count_of = [&](std::vector<float> values) {
    return session.run({{"x", floats({6}, std::move(values))}})[0].integer_at(0);
  };
  EXPECT_EQ(count_of({1, -1, 5, 0, 2, -3}), 3);
  EXPECT_EQ(count_of({9, 0, 0, 0, 0, -3}), 1);
  EXPECT_EQ(count_of({-9, 0, 1, 0, 0, -3}), 3);
}

TEST(Segments, WhatWasFedBeforeDoesNotMatter) {
  GraphBuilder b;
  const ValueId x = b.input("x", {6, 4});
  const ValueId shape = b.input("shape", {2}, DType::kInt64);
  b.output(b.add("Reshape", "y", {x, shape}));
  const auto model = b.build();
  const std::vector<std::vector<int64_t>> shapes = {{3, 8}, {-1, 2}, {5, 5}, {24, 1}};
  const auto result = [&](Session& session, const std::vector<int64_t>& dims) -> std::string {
    try {
      return to_string(
          session.run({{"x", ramp({6, 4})}, {"shape", Tensor::of<int64_t>({2}, dims)}})[0].dims());
    } catch (const Error& e) {
      return e.what();
    }
  };
  Session forward(model), backward(model);
  std::vector<std::string> one, two;
  for (const auto& s : shapes) one.push_back(result(forward, s));
  for (auto it = shapes.rbegin(); it != shapes.rend(); ++it) two.insert(two.begin(), result(backward, *it));
  EXPECT_EQ(one, two);
}

// A mask of any size, fed or computed, may decide a shape.
TEST(Segments, LargeValuesDecideShapesToo) {
  for (const bool computed : {false, true}) {
    GraphBuilder b;
    ValueId x = b.input("x", {10000});
    if (computed) x = b.add("Relu", "relu", {x});
    b.output(b.add("NonZero", "y", {x}));
    Session session(b.build());
    Tensor in(DType::kFloat32, {10000});
    in.mutable_data<float>()[17] = 1;
    in.mutable_data<float>()[9999] = 2;
    EXPECT_EQ(session.run({{"x", in}})[0].integers(), (std::vector<int64_t>{17, 9999}));
    EXPECT_EQ(session.run({{"x", Tensor(DType::kFloat32, {10000})}})[0].dims(), (Shape{1, 0}));
  }
}

TEST(Segments, AnOutputMayBeAnInput) {
  GraphBuilder b;
  const ValueId x = b.input("x", {1000});
  b.output(x);
  b.output(b.add("NonZero", "y", {b.add("Relu", "relu", {x})}));
  Session session(b.build());
  session.begin({{"x", ramp({1000})}});  // the session alone holds the feed
  while (!session.advance(0)) {
  }
  EXPECT_EQ(session.outputs()[0].floats(), ramp({1000}).floats());
}

TEST(Segments, KeptPlansAreBounded) {
  GraphBuilder b;
  const ValueId x = b.input("x", {Dim::symbol("n"), 256});
  b.output(b.add("Relu", "z", {b.add("MatMul", "y", {x, b.constant("w", ramp({256, 256}))})}));
  Session session(b.build(), {.plan_memory = 1 << 20});
  for (int64_t n = 1; n <= 64; ++n) session.run({{"x", ramp({n, 256})}});
  EXPECT_LT(session.plans_kept(), 40u);
  EXPECT_GT(session.plans_kept(), 4u);
  EXPECT_EQ(session.run({{"x", ramp({3, 256})}})[0].dims(), (Shape{3, 256}));
}

// One constant in two forms within a session: packed weights are those of the form.
TEST(Segments, PackedWeightsAreCachedByWhatTheyAre) {
  GraphBuilder b;
  const ValueId x = b.input("x", {2, Dim::symbol("k")});
  const ValueId k = b.add("Slice", "k",
                          {b.add("Shape", "shape", {x}), b.constant("from", Tensor::of<int64_t>({1}, {1})),
                           b.constant("to", Tensor::of<int64_t>({1}, {2}))});
  const ValueId form = b.add("Concat", "form", {k, b.constant("rest", Tensor::of<int64_t>({1}, {-1}))},
                             {{"axis", int64_t{0}}});
  const Tensor table = ramp({64});
  const ValueId w = b.add("Reshape", "w", {b.constant("table", table), form});
  b.output(b.add("MatMul", "y", {x, w}));
  Session session(b.build());
  for (const int64_t depth : {4, 8, 4, 16, 8}) {
    const Tensor in = ramp({2, depth});
    const Tensor y = session.run({{"x", in}})[0];
    const int64_t columns = 64 / depth;
    ASSERT_EQ(y.dims(), (Shape{2, columns}));
    for (int64_t r = 0; r < 2; ++r) {
      for (int64_t c = 0; c < columns; ++c) {
        double sum = 0;
        for (int64_t i = 0; i < depth; ++i)
          sum += static_cast<double>(in.floats()[static_cast<size_t>(r * depth + i)]) *
                 table.floats()[static_cast<size_t>(i * columns + c)];
        EXPECT_NEAR(y.floats()[static_cast<size_t>(r * columns + c)], sum, 1e-5);
      }
    }
  }
}

// Denormal weights slow x86 processors down a hundred times: packed, they are 0.
TEST(Segments, PackedWeightsHoldNoDenormals) {
  constexpr float kDenormal = 1e-40f, kLarge = 1e38f;
  for (const int64_t channels : {1, 64}) {
    GraphBuilder b;
    const ValueId x = b.input("x", {1, channels, 4, 4});
    Tensor weights(DType::kFloat32, {8, channels, 3, 3});
    for (float& w : weights.mutable_data<float>()) w = kDenormal;
    const ValueId y = b.add("Conv", "y", {x, b.constant("w", weights)});
    const ValueId rows = b.add("Reshape", "rows", {y, b.constant("four", Tensor::of<int64_t>({2}, {8, 4}))});
    Tensor matrix(DType::kFloat32, {4, 5});
    for (float& w : matrix.mutable_data<float>()) w = -kDenormal;
    b.output(y);
    b.output(b.add(
        "MatMul", "z",
        {b.add("Add", "large", {rows, b.constant("by", Tensor::scalar(kLarge))}), b.constant("m", matrix)}));
    Session session(b.build());
    Tensor in(DType::kFloat32, {1, channels, 4, 4});
    for (float& v : in.mutable_data<float>()) v = kLarge;
    for (const Tensor& out : session.run({{"x", in}}))
      for (float v : out.floats()) EXPECT_EQ(v, 0.0f);
  }
}

// An initializer that is an input too is a constant, unless it is fed.
TEST(Segments, AFedInitializerCountsForThatRun) {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 2});
  const ValueId w = b.constant("w", floats({2, 2}, {1, 2, 3, 4}));
  b.graph().defaults = {w};
  b.output(b.add("MatMul", "y", {x, w}));
  Session session(b.build());
  const Feed one{"x", floats({1, 2}, {1, 1})};
  EXPECT_THAT(session.run({one})[0].floats(), testing::ElementsAre(4, 6));
  EXPECT_THAT(session.run({one, {"w", floats({2, 2}, {1, 0, 0, 5})}})[0].floats(),
              testing::ElementsAre(1, 5));
  EXPECT_THAT(session.run({one, {"w", floats({2, 3}, {1, 0, 0, 5, 1, 1})}})[0].floats(),
              testing::ElementsAre(6, 1, 1));
  EXPECT_THAT(session.run({one})[0].floats(), testing::ElementsAre(4, 6));
  try {
    session.run({one, {"w", Tensor(DType::kInt32, {2, 2})}});
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidFeed);
  }
}

TEST(Segments, ABatchThatIsDeclaredOneMayBeLarger) {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 4});
  const ValueId y = b.add("MatMul", "y", {x, b.constant("w", ramp({4, 2}))});
  b.output(y);
  b.output(b.add("Relu", "z", {y}));
  Session session(b.build());
  EXPECT_EQ(session.run({{"x", ramp({3, 4})}})[0].dims(), (Shape{3, 2}));
  EXPECT_THAT(session.warnings(),
              testing::ElementsAre(testing::HasSubstr("'x' is declared [1, 4] but fed [3, 4]")));
  session.run({{"x", ramp({3, 4})}});
  EXPECT_EQ(session.warnings().size(), 1u);

  GraphBuilder c;
  const ValueId fixed = c.input("x", {1, 4});
  c.output(c.add("Reshape", "y", {fixed, c.constant("four", Tensor::of<int64_t>({1}, {4}))}));
  Session strict(c.build());
  try {
    strict.run({{"x", ramp({3, 4})}});
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kShapeMismatch);
    EXPECT_THAT(e.what(), testing::HasSubstr("'x' is declared [1, 4] but fed [3, 4]"));
  }
}

TEST(Segments, OneNameForTwoSizesDoesNotMakeThemEqual) {
  GraphBuilder b;
  const ValueId x = b.input("x", {Dim::symbol("n"), 2}), y = b.input("y", {Dim::symbol("n"), 2});
  b.output(b.add("Concat", "z", {x, y}, {{"axis", int64_t{0}}}));
  b.output(b.add("Add", "sum", {x, y}));
  Session session(b.build());
  const auto out = session.run({{"x", ramp({3, 2})}, {"y", ramp({1, 2})}});
  EXPECT_EQ(out[0].dims(), (Shape{4, 2}));
  EXPECT_EQ(out[1].dims(), (Shape{3, 2}));
}

}  // namespace
}  // namespace zp
