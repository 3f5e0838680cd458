#include "runtime/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"
#include "runtime/prepare.h"
#include "unit/graph/graph_builder.h"

namespace zp {
namespace {

using runtime::Feed;
using runtime::Session;
using runtime::StepInfo;
using test::GraphBuilder;
using test::ramp;

std::vector<std::string> kernels_of(const Session& session) {
  std::vector<std::string> kernels;
  for (const StepInfo& s : session.steps()) kernels.push_back(s.op + ":" + s.kernel);
  return kernels;
}

float largest_difference(const Tensor& a, const Tensor& b) {
  EXPECT_EQ(a.dims(), b.dims());
  float worst = 0;
  const std::vector<float> x = a.floats(), y = b.floats();
  for (size_t i = 0; i < x.size(); ++i) worst = std::max(worst, std::abs(x[i] - y[i]));
  return worst;
}

ErrorCode code_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::kInternal;
}

std::shared_ptr<Model> conv_relu_model() {
  GraphBuilder b;
  const ValueId x = b.input("x", {Dim::symbol("N"), 3, Dim::symbol("H"), Dim::symbol("W")});
  const ValueId w = b.constant("w", ramp({8, 3, 3, 3}));
  const ValueId y = b.add("Conv", "y", {x, w}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  b.output(b.add("Relu", "z", {y}));
  return b.build();
}

TEST(Session, FoldsTheActivationIntoTheConvolution) {
  Session session(conv_relu_model());
  const std::vector<Tensor> out = session.run({{"x", ramp({1, 3, 5, 7})}});
  ASSERT_EQ(out.size(), 1u);
  EXPECT_EQ(out[0].dims(), (Shape{1, 8, 5, 7}));
  EXPECT_THAT(kernels_of(session),
              testing::ElementsAre("to channels last:float32", "Conv:float32", "to logical order:float32"));
  float least = 1;
  for (float v : out[0].data<float>()) least = std::min(least, v);
  EXPECT_EQ(least, 0.0f);
}

TEST(Session, ATappedValueIsSeenAndNotFusedAway) {
  const auto model = conv_relu_model();
  const ValueId y = model->graph.find("y");
  Session session(model, {.taps = {y}});
  Tensor seen;
  session.set_tap([&](ValueId v, const TensorView& view) {
    EXPECT_EQ(v, y);
    seen = Tensor::of<float>(
        Shape(view.dims.begin(), view.dims.end()),
        std::span(reinterpret_cast<const float*>(view.data), static_cast<size_t>(element_count(view.dims))));
  });
  const std::vector<Tensor> out = session.run({{"x", ramp({1, 3, 5, 7})}});
  ASSERT_TRUE(seen.defined());
  for (size_t i = 0; i < out[0].data<float>().size(); ++i)
    EXPECT_EQ(out[0].data<float>()[i], std::max(0.0f, seen.data<float>()[i]));
}

TEST(Session, PlansOnceForEachShape) {
  const auto model = conv_relu_model();
  Session session(model);
  const auto expect_right = [&](const Shape& dims) {
    const Tensor x = ramp(dims);
    const Tensor got = session.run({{"x", x}})[0];
    EXPECT_EQ(got.dims(), (Shape{dims[0], 8, dims[2], dims[3]}));
    EXPECT_EQ(largest_difference(got, Session(model).run({{"x", x}})[0]), 0.0f);
  };
  const Shape small{1, 3, 4, 4}, large{2, 3, 9, 6}, transposed{2, 3, 6, 9};
  EXPECT_EQ(session.plans_kept(), 0u);
  size_t plans = 0;
  for (const Shape& dims : {small, large, transposed}) {
    expect_right(dims);
    EXPECT_EQ(session.plans_kept(), ++plans);
  }
  for (const Shape& dims : {small, transposed, large, small}) {
    expect_right(dims);
    EXPECT_EQ(session.plans_kept(), plans);
  }
}

TEST(Session, IsTheSameWithThreads) {
  const auto model = conv_relu_model();
  Session one(model), three(model, {.threads = 3});
  const Tensor x = ramp({1, 3, 40, 40});
  EXPECT_EQ(largest_difference(one.run({{"x", x}})[0], three.run({{"x", x}})[0]), 0.0f);
}

TEST(Session, CanBeRunInSlices) {
  Session session(conv_relu_model());
  session.begin({{"x", ramp({1, 3, 8, 8})}});
  EXPECT_EQ(session.done(), 0u);
  int slices = 1;
  while (!session.advance(0)) ++slices;
  EXPECT_EQ(slices, static_cast<int>(session.total()));
  EXPECT_EQ(session.outputs().size(), 1u);
}

// Conv between Q/DQ pairs, then an element-wise function, a max pool and a residual addition, all in 8 bits.
std::shared_ptr<Model> quantized_model() {
  GraphBuilder b;
  const ValueId x = b.input("x", {1, 4, 8, 8});
  const ValueId xq = b.fake_quantize("xq", x, 2.0f / 255, 128);
  const ValueId ws = b.constant("ws", Tensor::scalar(1.0f / 127));
  Tensor weights(DType::kInt8, {4, 4, 3, 3});
  const Tensor from = ramp({4, 4, 3, 3}, 120);
  for (size_t i = 0; i < weights.data<int8_t>().size(); ++i)
    weights.mutable_data<int8_t>()[i] = static_cast<int8_t>(from.data<float>()[i]);
  const ValueId w = b.add("DequantizeLinear", "w", {b.constant("w_int8", weights), ws});
  const ValueId y = b.add("Conv", "conv", {xq, w}, {{"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  const ValueId yq = b.fake_quantize("yq", b.add("Relu", "relu", {y}), 4.0f / 255, 0);
  const ValueId s = b.fake_quantize("sq", b.add("Sigmoid", "sigmoid", {yq}), 1.0f / 255, 0);
  const ValueId p =
      b.add("MaxPool", "pool", {s},
            {{"kernel_shape", std::vector<int64_t>{3, 3}}, {"pads", std::vector<int64_t>{1, 1, 1, 1}}});
  const ValueId pq = b.fake_quantize("pq", p, 1.0f / 255, 0);
  const ValueId a = b.fake_quantize("aq", b.add("Add", "add", {pq, yq}), 5.0f / 255, 0);
  b.output(a);
  return b.build();
}

TEST(Session, LowersQuantizedPatternsToIntegers) {
  Session session(quantized_model());
  session.run({{"x", ramp({1, 4, 8, 8})}});
  const std::vector<std::string> kernels = kernels_of(session);
  EXPECT_THAT(kernels, testing::Contains("Conv:int8"));
  EXPECT_THAT(kernels, testing::Contains("Sigmoid:table"));
  EXPECT_THAT(kernels, testing::Contains("MaxPool:uint8"));
  EXPECT_THAT(kernels, testing::Contains("Add:int8"));
  EXPECT_THAT(kernels, testing::Not(testing::Contains("Relu:float32")));
}

TEST(Session, IntegersAgreeWithFakeQuantizationWithinAStep) {
  const auto model = quantized_model();
  Session integers(model), floats(model, {.integer = false});
  const Tensor x = ramp({1, 4, 8, 8});
  EXPECT_LE(largest_difference(integers.run({{"x", x}})[0], floats.run({{"x", x}})[0]), 5.0f / 255 * 1.001f);
}

TEST(Session, FunctionsOfOneElementInARowAreOneTable) {
  GraphBuilder b;
  const ValueId x = b.fake_quantize("xq", b.input("x", {1, 4, 5, 6}), 1.0f / 40, 120);
  const ValueId swish = b.add("HardSwish", "swish", {x});
  const ValueId scale = b.constant("scale", Tensor::of<float>({1, 1, 1, 1}, std::vector<float>{-1.5f}));
  const ValueId scaled = b.add("Mul", "scaled", {scale, swish});
  const ValueId shift = b.constant("shift", Tensor::of<float>({1}, std::vector<float>{0.25f}));
  const ValueId y = b.add("LeakyRelu", "y", {b.add("Sub", "shifted", {scaled, shift})});
  b.output(b.fake_quantize("yq", y, 1.0f / 50, 200));
  // Numbers by channel are no function of the element alone.
  const ValueId by_channel = b.constant("by_channel", ramp({1, 4, 1, 1}));
  b.output(
      b.fake_quantize("zq", b.add("Mul", "z", {b.add("Tanh", "tanh", {x}), by_channel}), 1.0f / 50, 128));
  const auto model = b.build();

  Session integers(model), floats(model, {.integer = false});
  const std::vector<Feed> feeds = {{"x", ramp({1, 4, 5, 6})}};
  const auto got = integers.run(feeds), expected = floats.run(feeds);
  for (size_t i = 0; i < 2; ++i) EXPECT_LT(largest_difference(got[i], expected[i]), 1e-6f);
  const auto kernels = kernels_of(integers);
  EXPECT_THAT(kernels, testing::Contains("HardSwish:table"));
  EXPECT_THAT(kernels, testing::Not(testing::Contains(testing::StartsWith("Sub:"))));
  EXPECT_THAT(kernels, testing::Not(testing::Contains(testing::StartsWith("LeakyRelu:"))));
  EXPECT_THAT(kernels, testing::Contains(testing::StartsWith("Mul:")));
}

// HardSwish in pieces: what is rounded on the way is rounded in the table, too.
TEST(Session, FunctionsThatRoundOnTheWayAreOneTable) {
  for (const bool read_elsewhere : {false, true}) {
    GraphBuilder b;
    const ValueId x = b.fake_quantize("xq", b.input("x", {1, 4, 5, 6}), 1.0f / 40, 120);
    const ValueId three = b.add("DequantizeLinear", "three",
                                {b.constant("three_q", Tensor::scalar(uint8_t{255})),
                                 b.constant("three_s", Tensor::scalar(3.0f / 255)),
                                 b.constant("three_z", Tensor::scalar(uint8_t{0}))});
    const ValueId zero = b.constant("zero", Tensor::scalar(uint8_t{0}));
    const ValueId integers =
        b.add("QuantizeLinear", "gate_q",
              {b.add("Add", "sum", {x, three}), b.constant("s6", Tensor::scalar(6.0f / 255)), zero});
    const ValueId gate =
        b.add("DequantizeLinear", "gate", {integers, b.constant("s1", Tensor::scalar(1.0f / 255)), zero});
    const ValueId y = b.fake_quantize("yq", b.add("Mul", "y", {x, gate}), 1.0f / 50, 20);
    b.output(b.add("Relu", "end", {y}));
    if (read_elsewhere) b.output(b.add("Cast", "other", {integers}, {{"to", int64_t{6}}}));
    const auto model = b.build();
    Session integer(model), floats(model, {.integer = false});
    const std::vector<Feed> feeds = {{"x", ramp({1, 4, 5, 6}, 4)}};
    const auto got = integer.run(feeds), expected = floats.run(feeds);
    if (!read_elsewhere) EXPECT_EQ(got[0].floats(), expected[0].floats());
    EXPECT_LE(largest_difference(got[0], expected[0]), 1.0f / 50 * 1.001f);
    const auto kernels = kernels_of(integer);
    EXPECT_THAT(kernels, testing::Contains("Add:table"));
    const auto mul = testing::Contains(testing::StartsWith("Mul:"));
    if (read_elsewhere) {
      EXPECT_THAT(kernels, mul);
    } else {
      EXPECT_THAT(kernels, testing::Not(mul));
    }
  }
}

TEST(Session, AFedShapeBecomesPartOfThePlan) {
  GraphBuilder b;
  const ValueId x = b.input("x", {6, 4});
  const ValueId shape = b.input("shape", {2}, DType::kInt64);
  b.output(b.add("Reshape", "y", {x, shape}));
  Session session(b.build());
  const Tensor data = ramp({6, 4});
  EXPECT_EQ(session.run({{"x", data}, {"shape", Tensor::of<int64_t>({2}, {3, 8})}})[0].dims(), (Shape{3, 8}));
  EXPECT_EQ(session.run({{"x", data}, {"shape", Tensor::of<int64_t>({2}, {-1, 2})}})[0].dims(),
            (Shape{12, 2}));
}

TEST(Session, EvaluatesShapeArithmeticWhenPlanning) {
  GraphBuilder b;
  const ValueId x = b.input("x", {Dim::symbol("N"), 4, 3});
  const ValueId shape = b.add("Shape", "shape", {x});
  const ValueId first = b.add("Gather", "first", {shape, b.constant("zero", Tensor::of<int64_t>({1}, {0}))});
  const ValueId target =
      b.add("Concat", "target", {first, b.constant("rest", Tensor::of<int64_t>({1}, {-1}))},
            {{"axis", int64_t{0}}});
  b.output(b.add("Reshape", "y", {x, target}));
  Session session(b.build());
  EXPECT_EQ(session.run({{"x", ramp({5, 4, 3})}})[0].dims(), (Shape{5, 12}));
  EXPECT_EQ(session.total(), 0u);
}

TEST(Session, SaysWhatIsWrongWithAFeed) {
  Session session(conv_relu_model());
  EXPECT_EQ(code_of([&] { session.begin({}); }), ErrorCode::kInvalidFeed);
  EXPECT_EQ(code_of([&] { session.begin({{"other", ramp({1, 3, 4, 4})}}); }), ErrorCode::kInvalidFeed);
  EXPECT_EQ(code_of([&] { session.begin({{"x", Tensor(DType::kInt32, {1, 3, 4, 4})}}); }),
            ErrorCode::kInvalidFeed);
  EXPECT_EQ(code_of([&] { session.begin({{"x", ramp({1, 4, 4, 4})}}); }), ErrorCode::kShapeMismatch);
  EXPECT_EQ(code_of([&] { session.begin({{"x", ramp({3, 4, 4})}}); }), ErrorCode::kShapeMismatch);
  EXPECT_EQ(session.run({{"x", ramp({1, 3, 4, 4})}}).size(), 1u);  // still usable
}

TEST(Session, ListsEveryOperatorThatCannotRun) {
  GraphBuilder b;
  const ValueId x = b.input("x", {4});
  b.output(b.add("Frobnicate", "first", {b.add("Wobble", "second", {x}, {}, "com.example")}));
  try {
    Session session(b.build());
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kUnsupportedOperator);
    EXPECT_THAT(e.what(), testing::HasSubstr("ai.onnx.Frobnicate"));
    EXPECT_THAT(e.what(), testing::HasSubstr("com.example.Wobble"));
  }
}

TEST(Session, RefusesAPlanThatDoesNotFit) {
  Session session(conv_relu_model(), {.memory_limit = 1 << 20});
  EXPECT_EQ(code_of([&] { session.begin({{"x", ramp({1, 3, 400, 400})}}); }), ErrorCode::kOutOfMemory);
}

TEST(Session, AResultWithoutElementsTakesNoTables) {
  constexpr int64_t kWide = int64_t{1} << 38;
  const auto pads = [&](GraphBuilder& b) {
    return b.constant("pads", Tensor::of<int64_t>({4}, {0, 0, 0, kWide}));
  };
  GraphBuilder fed;
  fed.output(fed.add("Pad", "y", {fed.input("x", {Dim::symbol("n"), 4}), pads(fed)}));
  EXPECT_EQ(Session(fed.build()).run({{"x", Tensor(DType::kFloat32, {0, 4})}})[0].dims(),
            (Shape{0, 4 + kWide}));
  GraphBuilder folded;
  const ValueId none = folded.constant("none", Tensor(DType::kFloat32, {0, 4}));
  const ValueId x = folded.input("x", {Dim::symbol("n"), 4 + kWide});
  folded.output(
      folded.add("Concat", "y", {folded.add("Pad", "p", {none, pads(folded)}), x}, {{"axis", int64_t{0}}}));
  const auto model = runtime::prepared(folded.build());
  EXPECT_EQ(Session(model).run({{"x", Tensor(DType::kFloat32, {0, 4 + kWide})}})[0].size(), 0);
}

}  // namespace
}  // namespace zp
