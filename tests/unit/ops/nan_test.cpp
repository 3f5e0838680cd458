// What operators make of NaN and of infinities. The values are those of ONNX Runtime 1.32, where it gives the
// same for every size and place.
#include <gmock/gmock.h>

#include <limits>

#include "ops/rewrite.h"
#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

using testing::ElementsAre;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// A value at each place of a run that whole vectors and a rest make.
constexpr size_t kCount = 23;
std::vector<float> with(float value, size_t at, float others) {
  std::vector<float> v(kCount, others);
  v[at] = value;
  return v;
}
Tensor row(std::vector<float> values) {
  const auto count = static_cast<int64_t>(values.size());
  return floats({count}, std::move(values));
}

TEST(NaN, IsTheExtremeOfTwo) {
  for (const char* op : {"Max", "Min"}) {
    SCOPED_TRACE(op);
    for (size_t at = 0; at < kCount; ++at) {
      const Tensor nan = row(with(kNaN, at, 1)), ones = row(with(1, at, 1));
      expect_floats(run({op, {nan, ones}})[0], {23}, with(kNaN, at, 1));
      expect_floats(run({op, {ones, nan}})[0], {23}, with(kNaN, at, 1));
      expect_floats(run({op, {ones, ones, nan}})[0], {23}, with(kNaN, at, 1));
    }
    expect_floats(run({op, {row({kNaN, 1, 1}), row({1})}})[0], {3}, {kNaN, 1, 1});
    expect_floats(run({op, {row({1, 2, 3}), row({kNaN})}})[0], {3}, {kNaN, kNaN, kNaN});
    const Tensor doubles = run(
        {op, {Tensor::of<double>({2}, {double{kNaN}, 1}), Tensor::of<double>({2}, {1, double{kNaN}})}})[0];
    for (const double d : doubles.data<double>()) EXPECT_TRUE(d != d);
  }
  expect_floats(run({"Max", {row({-kInfinity, kInfinity}), row({kInfinity, -kInfinity})}})[0], {2},
                {kInfinity, kInfinity});
}

// Written as a Clip where the bound is a constant number, but not where it is NaN, which Clip takes for no
// bound.
TEST(NaN, IsNoBound) {
  GraphBuilder net;
  const ValueId x = net.input("x", symbolic(Shape{3}));
  net.output(net.add("Max", "max", {x, net.constant("bound", Tensor::scalar(kNaN))}));
  const auto model = net.build();
  simplify(model->graph);
  expect_floats(runtime::Session(model, {.threads = 1}).run({{"x", row({1, 2, 3})}})[0], {3},
                {kNaN, kNaN, kNaN});
  const Tensor values = row({kNaN, -kInfinity, -2, 2, kInfinity});
  const auto clip = [&](float lo, float hi) {
    GraphBuilder clips;
    const ValueId v = clips.input("x", symbolic(Shape{5}));
    clips.output(
        clips.add("Clip", "clip",
                  {v, clips.constant("lo", Tensor::scalar(lo)), clips.constant("hi", Tensor::scalar(hi))}));
    return runtime::Session(clips.build(), {.threads = 1}).run({{"x", values}})[0];
  };
  expect_floats(clip(-1, 1), {5}, {kNaN, -1, -1, 1, 1});
  expect_floats(clip(kNaN, 1), {5}, {kNaN, -kInfinity, -2, 1, 1});
  expect_floats(clip(-1, kNaN), {5}, {kNaN, -1, -1, 2, kInfinity});
  expect_floats(clip(1, -1), {5}, {kNaN, -1, -1, -1, -1});
  // Bounds that are fed, and of other types: as ONNX Runtime 1.32 has it.
  const Tensor lo = Tensor::scalar(-1.f), hi = Tensor::scalar(1.f), none = Tensor::scalar(kNaN);
  constexpr float kMost = std::numeric_limits<float>::max();
  expect_floats(run({"Clip", {values, none, hi}})[0], {5}, {kNaN, -kInfinity, -2, 1, 1});
  expect_floats(run({"Clip", {values, lo, none}})[0], {5}, {kNaN, -1, -1, 2, kInfinity});
  expect_floats(run({"Clip", {values, none, none}})[0], {5}, {kNaN, -kInfinity, -2, 2, kInfinity});
  expect_floats(run({"Clip", {values, hi, lo}})[0], {5}, {kNaN, -1, -1, -1, -1});
  expect_floats(run({"Clip", {values, none}})[0], {5}, {kNaN, -kInfinity, -2, 2, kMost});
  expect_floats(run({"Clip", {values, row({-kInfinity})}})[0], {5}, {kNaN, -kInfinity, -2, 2, kMost});
  expect_floats(run({"Clip", {values, Tensor(), none}})[0], {5}, {kNaN, -kMost, -2, 2, kInfinity});
  expect_floats(run({"Clip", {values, row({kNaN}), row({1})}})[0], {5}, {kNaN, -kInfinity, -2, 1, 1});
  const Tensor doubles = run({"Clip",
                              {Tensor::of<double>({3}, {-2, 2, double{kInfinity}}),
                               Tensor::scalar(double{kNaN}), Tensor::scalar(1.0)}})[0];
  EXPECT_THAT(doubles.data<double>(), ElementsAre(-2, 1, 1));
}

TEST(Clip, TakesOneNumberForABound) {
  for (const Given given : {Given::kFed, Given::kConstant}) {
    const auto error = error_of({"Clip", {row({1, 2, 3}), row({1, 2, 3})}}, given);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::kShapeMismatch) << error->what();
    EXPECT_EQ(error->details().node, "the Clip");
  }
}

// "numeric_limits::lowest() and max()", says the specification: a Clip without bounds limits infinities.
TEST(Infinity, IsLimitedByAClipWithoutBounds) {
  constexpr float kLargest = std::numeric_limits<float>::max();
  constexpr double kLargestDouble = std::numeric_limits<double>::max();
  const Tensor x = row({-kInfinity, -2, kInfinity});
  expect_floats(run({"Clip", {x}})[0], {3}, {-kLargest, -2, kLargest});
  expect_floats(run({"Clip", {x, Tensor::scalar(-1.f)}})[0], {3}, {-1, -1, kLargest});
  expect_floats(run({"Clip", {x, Tensor(), Tensor::scalar(1.f)}})[0], {3}, {-kLargest, -2, 1});
  expect_floats(run({"Clip", {x, Tensor::scalar(-kInfinity), Tensor::scalar(kInfinity)}})[0], {3},
                {-kInfinity, -2, kInfinity});
  const Tensor doubles = run({"Clip", {Tensor::of<double>({2}, {-double{kInfinity}, double{kInfinity}})}})[0];
  EXPECT_THAT(doubles.data<double>(), ElementsAre(-kLargestDouble, kLargestDouble));
  // Max has no such bound, and keeps it when it is written as a Clip.
  GraphBuilder net;
  const ValueId v = net.input("x", symbolic(Shape{3}));
  net.output(net.add("Max", "max", {v, net.constant("bound", Tensor::scalar(-1.f))}));
  const auto model = net.build();
  simplify(model->graph);
  ASSERT_EQ(model->graph.nodes[0].op_type, "Clip");
  expect_floats(runtime::Session(model, {.threads = 1}).run({{"x", x}})[0], {3}, {-1, -1, kInfinity});
}

TEST(NaN, OfOneElement) {
  const std::vector<float> x = {kNaN, kInfinity, -kInfinity, 0, -2, 2.5f, kNaN};
  const auto expect = [&](const OneNode& one, const std::vector<float>& wanted, float tolerance = 0) {
    SCOPED_TRACE(one.op);
    OneNode node = one;
    node.inputs = {row(x)};
    expect_floats(run(node)[0], {7}, wanted, tolerance);
  };
  expect({"Sign", {}}, {kNaN, 1, -1, 0, -1, 1, kNaN});
  expect({"Relu", {}}, {kNaN, kInfinity, 0, 0, 0, 2.5f, kNaN});
  expect({"LeakyRelu", {}, {{"alpha", 0.5f}}}, {kNaN, kInfinity, -kInfinity, 0, -1, 2.5f, kNaN});
  expect({"Round", {}}, {kNaN, kInfinity, -kInfinity, 0, -2, 2, kNaN});
  expect({"HardSigmoid", {}}, {kNaN, 1, 0, 0.5f, 0.1f, 1, kNaN}, 1e-6f);
  expect({"ThresholdedRelu", {}}, {0, kInfinity, 0, 0, 0, 2.5f, 0});
  expect({"Shrink", {}}, {0, kInfinity, -kInfinity, 0, -2, 2.5f, 0});
  for (const char* op :
       {"Abs", "Exp", "Elu", "Sigmoid", "Tanh", "Erf", "Sqrt", "Log", "Softplus", "Selu", "Celu"}) {
    const Tensor y = run({op, {row(x)}})[0];
    EXPECT_TRUE(std::isnan(y.data<float>()[0]) && std::isnan(y.data<float>()[6])) << op;
  }
  expect_floats(run({"Pow", {row({-kInfinity, 4, kNaN}), row({0.5f})}})[0], {3}, {kInfinity, 2, kNaN});
  const Tensor doubles = run({"Sign", {Tensor::of<double>({2}, {double{kNaN}, -3})}})[0];
  EXPECT_TRUE(std::isnan(doubles.data<double>()[0]));
  EXPECT_EQ(doubles.data<double>()[1], -1);
}

TEST(NaN, IsEqualToNothing) {
  const Tensor a = row({kNaN, kNaN, 1}), b = row({kNaN, 1, 1});
  for (const char* op : {"Equal", "LessOrEqual", "GreaterOrEqual"})
    EXPECT_THAT(run({op, {a, b}})[0].data<bool>(), ElementsAre(false, false, true)) << op;
  for (const char* op : {"Less", "Greater"})
    EXPECT_THAT(run({op, {a, b}})[0].data<bool>(), ElementsAre(false, false, false)) << op;
}

// The walk starts with the first element: a NaN there stays, one further on is passed over. (So does ONNX
// Runtime but where it has vectors: there a NaN may also take a number with it, and 1 comes out of 1, NaN,
// -2, 3.)
TEST(NaN, IsAnExtremeIfItIsTheFirst) {
  for (const bool max : {true, false}) {
    const std::string reduce = max ? "ReduceMax" : "ReduceMin", arg = max ? "ArgMax" : "ArgMin";
    SCOPED_TRACE(reduce);
    std::vector<float> values(kCount);
    for (size_t i = 0; i < kCount; ++i) values[i] = static_cast<float>(i + 1);
    for (size_t at = 0; at < kCount; ++at) {
      std::vector<float> v = values;
      v[at] = kNaN;
      const size_t best = max ? (at == kCount - 1 ? kCount - 2 : kCount - 1) : at == 0 ? 1 : 0;
      const float wanted = at == 0 ? kNaN : values[best];
      const int64_t index = at == 0 ? 0 : static_cast<int64_t>(best);
      expect_floats(run({reduce, {row(v)}, {{"keepdims", int64_t{0}}}})[0], {}, {wanted});
      EXPECT_EQ(run({arg, {row(v)}})[0].data<int64_t>()[0], index) << at;
      // Along the outer dimension, the same in each of seven columns.
      std::vector<float> columns;
      for (const float x : v) columns.insert(columns.end(), 7, x);
      const Tensor wide = floats({static_cast<int64_t>(kCount), 7}, columns);
      expect_floats(run({reduce, {wide, longs({1}, {0})}, {{"keepdims", int64_t{0}}}})[0], {7},
                    std::vector<float>(7, wanted));
      std::vector<double> wide_type(v.begin(), v.end());
      const Tensor doubles =
          Tensor::of<double>({static_cast<int64_t>(kCount)}, std::span<const double>(wide_type));
      const double found = run({reduce, {doubles}, {{"keepdims", int64_t{0}}}})[0].data<double>()[0];
      EXPECT_TRUE(at == 0 ? std::isnan(found) : found == double{wanted});
    }
  }
  for (const char* op :
       {"ReduceSum", "ReduceMean", "ReduceL1", "ReduceL2", "ReduceProd", "ReduceLogSumExp"}) {
    const Tensor y = run({op, {row(with(kNaN, 9, 1))}})[0];
    EXPECT_TRUE(std::isnan(y.data<float>()[0])) << op;
  }
}

// Pooling walks through its window in the same way, with and without indices. (ONNX Runtime does with them;
// without them it forgets what came before a NaN.)
TEST(NaN, InAWindow) {
  const std::vector<int64_t> kernel{2, 2};
  for (const int64_t channels : {1, 3, 16, 21}) {
    for (int64_t at = 0; at < 4; ++at) {
      std::vector<float> x, wanted;
      std::vector<int64_t> places;
      for (int64_t c = 0; c < channels; ++c) {
        for (int64_t i = 0; i < 4; ++i) x.push_back(i == at ? kNaN : static_cast<float>(i));
        wanted.push_back(at == 0 ? kNaN : at == 3 ? 2 : 3);
        places.push_back(4 * c + (at == 0 ? 0 : at == 3 ? 2 : 3));
      }
      const Tensor image = floats({1, channels, 2, 2}, x);
      const GraphBuilder::Attributes window{{"kernel_shape", kernel}};
      expect_floats(run({"MaxPool", {image}, window})[0], {1, channels, 1, 1}, wanted);
      expect_floats(run({"GlobalMaxPool", {image}})[0], {1, channels, 1, 1}, wanted);
      const std::vector<Tensor> both = run({"MaxPool", {image}, window, 2});
      expect_floats(both[0], {1, channels, 1, 1}, wanted);
      EXPECT_THAT(both[1].data<int64_t>(), testing::ElementsAreArray(places));
    }
  }
  // Pads are -infinity, as the operator's text says. (ONNX Runtime puts the lowest float there.)
  const Tensor lowest = floats({1, 1, 2, 2}, std::vector<float>(4, -kInfinity));
  expect_floats(
      run({"MaxPool", {lowest}, {{"kernel_shape", kernel}, {"pads", std::vector<int64_t>{1, 1, 0, 0}}}})[0],
      {1, 1, 2, 2}, std::vector<float>(4, -kInfinity));
}

TEST(NaN, IsTheLargestOfTopK) {
  const auto top = [](std::vector<float> x, int64_t k, int64_t largest) {
    return run({"TopK", {row(std::move(x)), longs({1}, {k})}, {{"largest", largest}}, 2});
  };
  std::vector<Tensor> found = top({1, kNaN, 5, kNaN, 2, 8, kNaN, 0}, 4, 1);
  expect_floats(found[0], {4}, {kNaN, kNaN, kNaN, 8});
  EXPECT_THAT(found[1].data<int64_t>(), ElementsAre(1, 3, 6, 5));
  found = top({1, kNaN, 5, kNaN, 2, 8, kNaN, 0}, 7, 0);
  expect_floats(found[0], {7}, {0, 1, 2, 5, 8, kNaN, kNaN});
  EXPECT_THAT(found[1].data<int64_t>(), ElementsAre(7, 0, 4, 2, 5, 1, 3));
  found = top({kInfinity, -kInfinity, kNaN, 0}, 2, 1);
  expect_floats(found[0], {2}, {kNaN, kInfinity});
}

TEST(NaN, Quantized) {
  const std::vector<float> x = {kNaN, kInfinity, -kInfinity, 0, 3, kNaN, 1e30f, -1e30f, kNaN};
  const auto integers = [](const Tensor& t) { return t.integers(); };
  EXPECT_THAT(
      integers(run({"QuantizeLinear", {row(x), Tensor::scalar(0.5f), Tensor::scalar(uint8_t{10})}})[0]),
      ElementsAre(0, 255, 0, 10, 16, 0, 255, 0, 0));
  EXPECT_THAT(
      integers(run({"QuantizeLinear", {row(x), Tensor::scalar(0.5f), Tensor::scalar(int8_t{-3})}})[0]),
      ElementsAre(-128, 127, -128, -3, 3, -128, 127, -128, -128));
  const auto dynamic = [&](std::vector<float> values) {
    return run({"DynamicQuantizeLinear", {row(std::move(values))}, {}, 3});
  };
  std::vector<Tensor> found = dynamic({1, kNaN, 2});
  EXPECT_THAT(integers(found[0]), ElementsAre(127, 0, 255));
  EXPECT_FLOAT_EQ(found[1].data<float>()[0], 2 / 255.0f);
  found = dynamic({-kInfinity, 1, 2});
  EXPECT_THAT(integers(found[0]), ElementsAre(0, 255, 255));
  EXPECT_EQ(found[1].data<float>()[0], kInfinity);
  EXPECT_EQ(found[2].integer_at(0), 255);
  found = dynamic({kInfinity, 1, 2});
  EXPECT_THAT(integers(found[0]), ElementsAre(0, 0, 0));
  EXPECT_EQ(found[2].integer_at(0), 0);
  found = dynamic({kNaN, kNaN});
  EXPECT_THAT(integers(found[0]), ElementsAre(0, 0));
  EXPECT_EQ(found[1].data<float>()[0], 1);
}

// A function between quantized edges becomes a table, made of the function's floats.
TEST(NaN, InATable) {
  for (const DType type : {DType::kUint8, DType::kInt8}) {
    GraphBuilder net;
    const int zero = type == DType::kUint8 ? 128 : 0;
    const ValueId x = net.fake_quantize("x_dq", net.input("x", symbolic(Shape{4})), 1.0f, zero, type);
    net.output(net.fake_quantize("y", net.add("Log", "log", {x}), 0.1f, zero, type));
    const auto model = net.build();
    const std::vector<runtime::Feed> feeds{{"x", row({-1, 0, 1, 2})}};
    // The logarithm of -1 is NaN, which QuantizeLinear makes the lowest integer; of 0 it is -infinity.
    const std::vector<float> wanted{-12.8f, -12.8f, 0, 0.7f};
    expect_floats(runtime::Session(model, {.threads = 1, .integer = true}).run(feeds)[0], {4}, wanted, 1e-5f);
    expect_floats(runtime::Session(model, {.threads = 1, .integer = false}).run(feeds)[0], {4}, wanted,
                  1e-5f);
  }
}

TEST(Cast, OfWhatTheTypeCannotHold) {
  const Tensor x = row(
      {kNaN, kInfinity, -kInfinity, 3e9f, -3e9f, 2.5f, -2.5f, 300.7f, -300.7f, 70000.5f, -1, 5e9f, -0.5f});
  const auto cast = [&](DType to) {
    return run({"Cast", {x}, {{"to", static_cast<int64_t>(to)}}})[0].integers();
  };
  constexpr int64_t kLow = INT32_MIN;
  EXPECT_THAT(cast(DType::kUint8), ElementsAre(0, 0, 0, 0, 0, 2, 254, 44, 212, 112, 255, 0, 0));
  EXPECT_THAT(cast(DType::kInt8), ElementsAre(0, 0, 0, 0, 0, 2, -2, 44, -44, 112, -1, 0, 0));
  EXPECT_THAT(cast(DType::kInt16), ElementsAre(0, 0, 0, 0, 0, 2, -2, 300, -300, 4464, -1, 0, 0));
  EXPECT_THAT(cast(DType::kInt32),
              ElementsAre(kLow, kLow, kLow, kLow, kLow, 2, -2, 300, -300, 70000, -1, kLow, 0));
  EXPECT_THAT(cast(DType::kUint32), ElementsAre(2147483648, 0, 2147483648, 3000000000, 2147483648, 2,
                                                4294967294, 300, 4294966996, 70000, 4294967295, 0, 0));
  EXPECT_THAT(cast(DType::kInt64), ElementsAre(INT64_MIN, INT64_MIN, INT64_MIN, 3000000000, -3000000000, 2,
                                               -2, 300, -300, 70000, -1, 5000000000, 0));
  EXPECT_THAT(cast(DType::kUint64), ElementsAre(INT64_MIN, 0, INT64_MIN, 3000000000, -3000000000, 2, -2, 300,
                                                -300, 70000, -1, 5000000000, 0));
}

}  // namespace
}  // namespace zp::test
