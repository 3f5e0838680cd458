// Operators that few models have: Hardmax, CumProd, Unique, ReverseSequence, EyeLike, Det, TensorScatter,
// Swish, SwiGLU, CausalConvWithState, CenterCropPad, and com.microsoft's. Values are those of ONNX and of
// ONNX Runtime 1.32.
#include <gmock/gmock.h>

#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string words_of(const OneNode& one, Given given = Given::kFed) {
  const auto error = error_of(one, given);
  return error ? error->what() : "no error";
}

std::vector<int64_t> integers(const Tensor& t) { return t.integers(); }

// ---- Hardmax

TEST(Hardmax, MarksTheFirstOfTheLargest) {
  const Tensor x = floats({2, 3}, {1, 3, 3, -2, -5, -2});
  expect_floats(run({"Hardmax", {x}})[0], {2, 3}, {0, 1, 0, 1, 0, 0});
  expect_floats(run({"Hardmax", {x}, {{"axis", int64_t{0}}}})[0], {2, 3}, {1, 1, 1, 0, 0, 0});
  expect_floats(run({"Hardmax", {floats({0, 3}, {})}})[0], {0, 3}, {});
  expect_floats(run({"Hardmax", {floats({3, 0}, {})}})[0], {3, 0}, {});
}

// Before opset 13 it looked at all dimensions from the axis on.
TEST(Hardmax, OfOldVersionsIsOfAMatrix) {
  const Tensor x = floats({2, 2, 2}, {1, 2, 4, 3, 8, 7, 6, 5});
  expect_floats(run({"Hardmax", {x}, {}, 1, 11})[0], {2, 2, 2}, {0, 0, 1, 0, 1, 0, 0, 0});
  expect_floats(run({"Hardmax", {x}, {{"axis", int64_t{0}}}, 1, 1})[0], {2, 2, 2}, {0, 0, 0, 0, 1, 0, 0, 0});
  expect_floats(run({"Hardmax", {x}, {{"axis", int64_t{2}}}, 1, 11})[0], {2, 2, 2}, {0, 1, 1, 0, 1, 0, 1, 0});
}

// ---- CumProd

TEST(CumProd, MultipliesAlongAnAxis) {
  const Tensor x = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto product = [&](int64_t axis, int64_t exclusive, int64_t reverse) {
    return run(
        {"CumProd", {x, Tensor::scalar(axis)}, {{"exclusive", exclusive}, {"reverse", reverse}}, 1, 26})[0];
  };
  expect_floats(product(1, 0, 0), {2, 3}, {1, 2, 6, 4, 20, 120});
  expect_floats(product(-1, 1, 0), {2, 3}, {1, 1, 2, 1, 4, 20});
  expect_floats(product(1, 0, 1), {2, 3}, {6, 6, 3, 120, 30, 6});
  expect_floats(product(0, 1, 1), {2, 3}, {4, 5, 6, 1, 1, 1});
  EXPECT_THAT(words_of({"CumProd", {x, Tensor::scalar(int64_t{2})}}), HasSubstr("axis 2"));
}

// ---- Unique

TEST(Unique, SortsElements) {
  const std::vector<Tensor> y = run({"Unique", {floats({2, 3}, {2, 1, 1, NAN, 2, NAN})}, {}, 4});
  expect_floats(y[0], {3}, {1, 2, NAN});
  EXPECT_THAT(integers(y[1]), ElementsAre(1, 0, 3));
  EXPECT_THAT(integers(y[2]), ElementsAre(1, 0, 0, 2, 1, 2));
  EXPECT_THAT(integers(y[3]), ElementsAre(2, 2, 2));
}

TEST(Unique, KeepsTheOrderInWhichTheyCome) {
  const std::vector<Tensor> y = run({"Unique", {longs({5}, {7, -3, 7, 0, -3})}, {{"sorted", int64_t{0}}}, 4});
  EXPECT_THAT(integers(y[0]), ElementsAre(7, -3, 0));
  EXPECT_THAT(integers(y[1]), ElementsAre(0, 1, 3));
  EXPECT_THAT(integers(y[2]), ElementsAre(0, 1, 0, 2, 1));
  EXPECT_THAT(integers(y[3]), ElementsAre(2, 2, 1));
}

TEST(Unique, ComparesSlices) {
  const Tensor x = floats({3, 2}, {1, 0, 0, 5, 1, 0});
  const std::vector<Tensor> rows = run({"Unique", {x}, {{"axis", int64_t{0}}}, 4});
  expect_floats(rows[0], {2, 2}, {0, 5, 1, 0});
  EXPECT_THAT(integers(rows[1]), ElementsAre(1, 0));
  EXPECT_THAT(integers(rows[2]), ElementsAre(1, 0, 1));
  EXPECT_THAT(integers(rows[3]), ElementsAre(1, 2));
  const std::vector<Tensor> columns = run({"Unique", {x}, {{"axis", int64_t{-1}}}, 1});
  expect_floats(columns[0], {3, 2}, {0, 1, 5, 0, 0, 1});
}

TEST(Unique, OfStringsAndOfNothing) {
  const Tensor words = Tensor::of_strings({4}, {"b", "a", "", "b"});
  const std::vector<Tensor> y = run({"Unique", {words}, {}, 4});
  EXPECT_THAT(y[0].strings(), ElementsAre("", "a", "b"));
  EXPECT_THAT(integers(y[2]), ElementsAre(2, 1, 0, 2));
  expect_floats(run({"Unique", {floats({0}, {})}, {}, 4})[0], {0}, {});
  // Slices of nothing are all alike.
  expect_floats(run({"Unique", {floats({3, 0}, {})}, {{"axis", int64_t{0}}}, 4})[0], {1, 0}, {});
  expect_floats(run({"Unique", {floats({3, 0}, {})}, {{"axis", int64_t{1}}}, 4})[0], {3, 0}, {});
  EXPECT_THAT(words_of({"Unique", {floats({2}, {1, 2})}, {{"axis", int64_t{1}}}}), HasSubstr("axis 1"));
}

TEST(Unique, OfMicrosoftKeepsTheOrder) {
  const std::vector<Tensor> y =
      run({"Unique", {floats({5}, {3, 1, 3, 2, 1})}, {}, 3, 1, std::string(kMicrosoft)});
  expect_floats(y[0], {3}, {3, 1, 2});
  EXPECT_THAT(integers(y[1]), ElementsAre(0, 1, 0, 2, 1));
  EXPECT_THAT(integers(y[2]), ElementsAre(2, 2, 1));
}

// ---- ReverseSequence

TEST(ReverseSequence, TurnsTheFirstStepsAround) {
  const Tensor x = floats({3, 2}, {1, 2, 3, 4, 5, 6});
  const GraphBuilder::Attributes rows{{"time_axis", int64_t{1}}, {"batch_axis", int64_t{0}}};
  expect_floats(run({"ReverseSequence", {x, longs({2}, {2, 3})}})[0], {3, 2}, {3, 6, 1, 4, 5, 2});
  expect_floats(run({"ReverseSequence", {x, longs({3}, {0, 1, 2})}, rows})[0], {3, 2}, {1, 2, 3, 4, 6, 5});
  const Tensor words = Tensor::of_strings({1, 3}, {"a", "b", "c"});
  EXPECT_THAT(run({"ReverseSequence", {words, longs({1}, {2})}, rows})[0].strings(),
              ElementsAre("b", "a", "c"));
}

TEST(ReverseSequence, RefusesLengthsThatDoNotFit) {
  const Tensor x = floats({3, 2}, {1, 2, 3, 4, 5, 6});
  for (const int64_t length : {int64_t{-1}, int64_t{4}}) {
    const auto error = error_of({"ReverseSequence", {x, longs({2}, {1, length})}}, Given::kFed);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::kIndexOutOfRange);
    EXPECT_THAT(error->what(), HasSubstr("a length of " + std::to_string(length)));
  }
  EXPECT_THAT(words_of({"ReverseSequence", {x, longs({3}, {1, 1, 1})}}), HasSubstr("one length"));
  EXPECT_THAT(words_of({"ReverseSequence", {x, longs({2}, {1, 1})}, {{"time_axis", int64_t{2}}}}),
              HasSubstr("time_axis 2"));
}

// ---- EyeLike

TEST(EyeLike, HasOnesOnADiagonal) {
  const Tensor x = ramp({2, 3});
  const auto eye = [&](int64_t k) { return run({"EyeLike", {x}, {{"k", k}}})[0]; };
  expect_floats(eye(0), {2, 3}, {1, 0, 0, 0, 1, 0});
  expect_floats(eye(1), {2, 3}, {0, 1, 0, 0, 0, 1});
  expect_floats(eye(-1), {2, 3}, {0, 0, 0, 1, 0, 0});
  expect_floats(eye(3), {2, 3}, {0, 0, 0, 0, 0, 0});
  expect_floats(eye(-2), {2, 3}, {0, 0, 0, 0, 0, 0});
  expect_floats(eye(std::numeric_limits<int64_t>::min()), {2, 3}, {0, 0, 0, 0, 0, 0});
  const Tensor y = run({"EyeLike", {x}, {{"dtype", static_cast<int64_t>(DType::kInt32)}}})[0];
  EXPECT_EQ(y.dtype(), DType::kInt32);
  EXPECT_THAT(integers(y), ElementsAre(1, 0, 0, 0, 1, 0));
  EXPECT_THAT(words_of({"EyeLike", {x}, {{"dtype", int64_t{8}}}}), HasSubstr("dtype 8"));
  EXPECT_THAT(words_of({"EyeLike", {x}, {{"dtype", int64_t{257}}}}), HasSubstr("dtype 257"));
  EXPECT_THAT(words_of({"EyeLike", {ramp({3})}}), HasSubstr("matrix"));
}

// ---- Det, Inverse

TEST(Det, OfMatrices) {
  expect_floats(run({"Det", {floats({2, 2, 2}, {1, 2, 3, 4, 0, 1, 1, 0})}})[0], {2}, {-2, -1}, 1e-6f);
  expect_floats(run({"Det", {floats({3, 3}, {2, 0, 1, 1, 3, 2, 1, 1, 1})}})[0], {}, {0}, 1e-6f);
  expect_floats(run({"Det", {floats({1, 1}, {-3})}})[0], {}, {-3});
  expect_floats(run({"Det", {floats({0, 2, 2}, {})}})[0], {0}, {});
  EXPECT_THAT(words_of({"Det", {ramp({2, 3})}}), HasSubstr("no square matrix"));
  EXPECT_THAT(words_of({"Det", {ramp({3})}}), HasSubstr("no square matrix"));
}

TEST(Inverse, OfMatrices) {
  const Tensor x = floats({2, 2, 2}, {0, 2, 4, 0, 1, 2, 3, 4});
  expect_floats(run({"Inverse", {x}, {}, 1, 1, std::string(kMicrosoft)})[0], {2, 2, 2},
                {0, 0.25f, 0.5f, 0, -2, 1, 1.5f, -0.5f}, 1e-6f);
}

// ---- TensorScatter

TEST(TensorScatter, WritesSteps) {
  const Tensor cache = floats({2, 3, 1}, {1, 2, 3, 4, 5, 6}), update = floats({2, 2, 1}, {-1, -2, -3, -4});
  const auto scatter = [&](const char* mode, std::vector<int64_t> from) {
    return OneNode{
        "TensorScatter", {cache, update, longs({2}, std::move(from))}, {{"mode", std::string(mode)}}};
  };
  expect_floats(run(scatter("linear", {1, 0}))[0], {2, 3, 1}, {1, -1, -2, -3, -4, 6});
  expect_floats(run(scatter("circular", {2, 4}))[0], {2, 3, 1}, {-2, 2, -1, 4, -3, -4});
  expect_floats(run({"TensorScatter", {cache, update}})[0], {2, 3, 1}, {-1, -2, 3, -3, -4, 6});
  for (const int64_t from : {int64_t{2}, int64_t{-1}}) {
    const auto error = error_of(scatter("linear", {0, from}), Given::kFed);
    ASSERT_TRUE(error);
    EXPECT_EQ(error->code(), ErrorCode::kIndexOutOfRange);
    EXPECT_THAT(error->what(), HasSubstr("from " + std::to_string(from)));
  }
  EXPECT_THAT(words_of(scatter("round", {0, 0})), HasSubstr("mode is 'round'"));
  EXPECT_THAT(words_of({"TensorScatter", {cache, update}, {{"axis", int64_t{0}}}}), HasSubstr("batch"));
  EXPECT_THAT(words_of({"TensorScatter", {update, cache}}), HasSubstr("does not fit a cache"));
}

// ---- Swish, SwiGLU

TEST(Swish, IsTheInputTimesASigmoid) {
  const Tensor x = floats({3}, {-1, 0, 2});
  expect_floats(run({"Swish", {x}, {}, 1, 24})[0], {3}, {-0.26894143f, 0, 1.7615942f}, 1e-6f);
  expect_floats(run({"Swish", {x}, {{"alpha", 0.5f}}, 1, 24})[0], {3}, {-0.37754068f, 0, 1.4621172f}, 1e-6f);
  const Tensor b = floats({3}, {2, 3, -1});
  expect_floats(run({"SwiGLU", {x, b}, {}, 1, 28})[0], {3}, {-0.53788286f, 0, -1.7615942f}, 1e-6f);
  EXPECT_THAT(words_of({"SwiGLU", {x, floats({1}, {1})}, {}, 1, 28}), HasSubstr("one shape"));
}

// ---- CausalConvWithState

TEST(CausalConvWithState, SeesWhatCameBefore) {
  const Tensor x = floats({1, 2, 3}, {1, 2, 3, 4, 5, 6}), w = floats({2, 1, 2}, {10, 1, 0, 2}),
               bias = floats({2}, {0.5f, 0}), past = floats({1, 2, 1}, {7, 8});
  std::vector<Tensor> y = run({"CausalConvWithState", {x, w}, {}, 2, 27});
  expect_floats(y[0], {1, 2, 3}, {1, 12, 23, 8, 10, 12});
  expect_floats(y[1], {1, 2, 1}, {3, 6});
  y = run({"CausalConvWithState", {x, w, bias, past}, {}, 2, 27});
  expect_floats(y[0], {1, 2, 3}, {71.5f, 12.5f, 23.5f, 8, 10, 12});
  y = run({"CausalConvWithState", {x, w, Tensor(), past}, {{"activation", std::string("silu")}}, 1, 27});
  expect_floats(y[0], {1, 2, 3}, {71, 11.999926f, 23, 7.997317f, 9.999546f, 11.999926f}, 1e-4f);
  // A state that is longer than the input, and one of nothing.
  y = run({"CausalConvWithState", {floats({1, 1, 1}, {5}), floats({1, 1, 3}, {1, 2, 3})}, {}, 2, 27});
  expect_floats(y[0], {1, 1, 1}, {15});
  expect_floats(y[1], {1, 1, 2}, {0, 5});
  y = run({"CausalConvWithState", {floats({1, 1, 2}, {5, 6}), floats({1, 1, 1}, {2})}, {}, 2, 27});
  expect_floats(y[0], {1, 1, 2}, {10, 12});
  expect_floats(y[1], {1, 1, 0}, {});
  EXPECT_THAT(words_of({"CausalConvWithState", {x, w}, {{"activation", std::string("relu")}}, 2, 27}),
              HasSubstr("activation is 'relu'"));
  EXPECT_THAT(words_of({"CausalConvWithState", {x, w, Tensor(), ramp({1, 2, 2})}, {}, 2, 27}),
              HasSubstr("a state of 2 steps"));
}

// ---- CenterCropPad

TEST(CenterCropPad, CutsAndPadsAroundTheMiddle) {
  const Tensor x = floats({2, 3}, {1, 2, 3, 4, 5, 6});
  expect_floats(run({"CenterCropPad", {x, longs({2}, {1, 4})}})[0], {1, 4}, {1, 2, 3, 0});
  expect_floats(run({"CenterCropPad", {x, longs({2}, {3, 2})}})[0], {3, 2}, {1, 2, 4, 5, 0, 0});
  expect_floats(
      run({"CenterCropPad", {x, Tensor::of<int32_t>({1}, {5})}, {{"axes", std::vector<int64_t>{-1}}}})[0],
      {2, 5}, {0, 1, 2, 3, 0, 0, 4, 5, 6, 0});
  EXPECT_THAT(words_of({"CenterCropPad", {x, longs({1}, {3})}}), HasSubstr("1 lengths for 2 dimensions"));
}

// ---- com.microsoft

TEST(MicrosoftForms, AreThoseOfOnnx) {
  const std::string domain(kMicrosoft);
  const Tensor x = floats({2, 2}, {1, 2, 3, 4});
  expect_floats(run({"ExpandDims", {x, Tensor::scalar(int32_t{-1})}, {}, 1, 1, domain})[0], {2, 2, 1},
                {1, 2, 3, 4});
  expect_floats(run({"Trilu", {x}, {{"upper", int64_t{0}}}, 1, 1, domain})[0], {2, 2}, {1, 0, 3, 4});
  expect_floats(
      run({"GridSample", {floats({1, 1, 1, 2}, {1, 3}), floats({1, 1, 1, 2}, {0, 0})}, {}, 1, 1, domain})[0],
      {1, 1, 1, 1}, {2});
  expect_floats(run({"NhwcConv",
                     {floats({1, 1, 2, 2}, {1, 2, 3, 4}), floats({1, 1, 2, 2}, {1, 10, 100, 1000})},
                     {},
                     1,
                     1,
                     domain})[0],
                {1, 1, 1, 1}, {4321});
  expect_floats(run({"BiasAdd", {x, floats({2}, {10, 20}), x}, {}, 1, 1, domain})[0], {2, 2},
                {12, 24, 16, 28});
  expect_floats(run({"BiasSplitGelu", {x, floats({2}, {1, -2})}, {}, 1, 1, domain})[0], {2, 1},
                {0, 4 * 1.9544997f}, 1e-5f);
}

}  // namespace
}  // namespace zp::test
