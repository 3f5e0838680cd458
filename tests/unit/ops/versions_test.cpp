// What an operator meant in an opset other than 21, on models of one node. Where a value is not the
// specification's own arithmetic, it is ONNX Runtime's (1.32).
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "core/error.h"
#include "unit/ops/node_of_opset.h"

namespace zp {
namespace {

using namespace onnx::test;
using test::floats_of, test::NodeOfOpset, test::outputs_of;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

void expect_near(const std::vector<float>& got, const std::vector<float>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(want[i])) {
      EXPECT_TRUE(std::isnan(got[i])) << i;
    } else if (std::isinf(want[i])) {
      EXPECT_EQ(got[i], want[i]) << i;
    } else {
      EXPECT_NEAR(got[i], want[i], 1e-6) << i;
    }
  }
}

TEST(Versions, SeluRoundedItsDefaultsInOpset1) {
  const Tensor x = Tensor::of<float>({2}, {1, -1});
  const float e = std::exp(-1.0F) - 1;
  expect_near(floats_of({.opset = 1, .op = "Selu", .inputs = {x}}), {1.0507F, 1.0507F * 1.6732F * e});
  expect_near(floats_of({.opset = 6, .op = "Selu", .inputs = {x}}),
              {1.0507010F, 1.0507010F * 1.6732632F * e});
}

// In inference, nothing is dropped: the mask says so since opset 12; ONNX Runtime gives zeros before, and
// before opset 10 they have the type of the input.
TEST(Versions, TheMaskOfDropoutHasTheTypeOfItsOpset) {
  const Tensor x = Tensor::of<float>({2}, {1, std::numeric_limits<float>::quiet_NaN()});
  const auto mask = [&](int64_t opset, DType type) {
    return outputs_of(
        {.opset = opset, .op = "Dropout", .inputs = {x}, .outputs = {DType::kFloat32, type}})[1];
  };
  EXPECT_EQ(mask(7, DType::kFloat32).floats(), (std::vector<float>{0, 0}));
  EXPECT_EQ(mask(10, DType::kBool).integers(), (std::vector<int64_t>{0, 0}));
  EXPECT_EQ(mask(12, DType::kBool).integers(), (std::vector<int64_t>{1, 1}));
}

TEST(Versions, ThePaddingValueOfOpset2HasTheTypeOfTheData) {
  const Tensor x = Tensor::of<double>({1}, {3});
  const Tensor y = outputs_of({.opset = 2,
                               .op = "Pad",
                               .inputs = {x},
                               .attributes = {ints_attribute("pads", {1, 0}), float_attribute("value", 1.5F)},
                               .outputs = {DType::kFloat64}})[0];
  EXPECT_EQ(std::vector<double>(y.data<double>().begin(), y.data<double>().end()),
            (std::vector<double>{1.5, 3}));
}

TEST(Versions, SplitWantedEqualPartsBeforeOpset18) {
  const Tensor x = Tensor::of<float>({3}, {1, 2, 3});
  const std::vector<DType> two = {DType::kFloat32, DType::kFloat32};
  EXPECT_THROW(outputs_of({.opset = 13, .op = "Split", .inputs = {x}, .outputs = two}), Error);
  EXPECT_EQ(outputs_of({.opset = 18, .op = "Split", .inputs = {x}, .outputs = two})[1].floats(),
            (std::vector<float>{3}));
}

TEST(Versions, SplitHadSizesOfTheTypeOfTheDataInOpset1) {
  NodeOfOpset n{.opset = 1,
                .op = "Split",
                .inputs = {Tensor::of<float>({3}, {1, 2, 3})},
                .attributes = {int_attribute("axis", 0)},
                .constants = {tensor<float>("s", {2}, {1, 2})},
                .constant_names = {"s"},
                .outputs = {DType::kFloat32, DType::kFloat32}};
  EXPECT_EQ(outputs_of(n)[1].floats(), (std::vector<float>{2, 3}));
  n.attributes.clear();
  EXPECT_THROW(outputs_of(n), Error);
}

// An axis that shrinks takes the upper neighbour, one that grows the lower one.
TEST(Versions, Resize10LooksAtEachAxisForTheNearest) {
  const Tensor x = Tensor::of<float>({3, 2}, {1, 2, 3, 4, 5, 6});
  const NodeOfOpset n{.opset = 10,
                      .op = "Resize",
                      .inputs = {x},
                      .constants = {tensor<float>("s", {2}, {0.67F, 1.5F})},
                      .constant_names = {"s"}};
  EXPECT_EQ(floats_of(n), (std::vector<float>{1, 1, 2, 5, 5, 6}));
}

TEST(Versions, BatchNormalizationHadStatisticsOfElements) {
  const Tensor x = Tensor::of<float>({2, 1, 2}, {1, 2, 3, 4});
  const NodeOfOpset n{.opset = 7,
                      .op = "BatchNormalization",
                      .inputs = {x},
                      .attributes = {int_attribute("spatial", 0), float_attribute("epsilon", 0)},
                      .constants = {tensor<float>("s", {1, 2}, {1, 2}), tensor<float>("b", {1, 2}, {10, 20}),
                                    tensor<float>("m", {1, 2}, {1, 2}), tensor<float>("v", {1, 2}, {4, 1})},
                      .constant_names = {"s", "b", "m", "v"}};
  expect_near(floats_of(n), {10, 20, 11, 24});
}

// Reading it adds constants while it looks at shapes: what they refer to has to stay where it is.
TEST(Versions, GroupNormalizationHadAScaleForEachGroup) {
  const Tensor x = Tensor::of<float>({1, 4, 2}, {1, 3, 1, 3, 0, 4, 0, 4});
  const NodeOfOpset n{.opset = 18,
                      .op = "GroupNormalization",
                      .inputs = {x},
                      .attributes = {int_attribute("num_groups", 2), float_attribute("epsilon", 0)},
                      .constants = {tensor<float>("s", {2}, {1, 10}), tensor<float>("b", {2}, {0, 100})},
                      .constant_names = {"s", "b"}};
  expect_near(floats_of(n), {-1, 1, -1, 1, 90, 110, 90, 110});
  NodeOfOpset computed = n;
  computed.inputs = {x, Tensor::of<float>({2}, {1, 10}), Tensor::of<float>({2}, {0, 100})};
  computed.constants = {};
  computed.constant_names = {};
  expect_near(floats_of(computed), {-1, 1, -1, 1, 90, 110, 90, 110});
}

// ---- newer than what is written

TEST(Versions, Opset28RoundsQuotientsOfFloatsDown) {
  const Tensor a = Tensor::of<float>({8}, {-5.5F, 5.5F, -5.5F, 5.5F, 0, 3, -3, 4});
  const Tensor b = Tensor::of<float>({8}, {3, -3, -3, 3, -2, kInfinity, kInfinity, 0});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  expect_near(floats_of({.opset = 28, .op = "Mod", .inputs = {a, b}}),
              {0.5F, -0.5F, -2.5F, 2.5F, 0, 3, kInfinity, nan});
  EXPECT_THROW(outputs_of({.opset = 13, .op = "Mod", .inputs = {a, b}}), Error);
}

// Without a rest there is still a sign: the divisor's, and of fmod the dividend's.
TEST(Versions, AZeroRestHasASign) {
  const Tensor a = Tensor::of<float>({6}, {-0.0F, 0, -3, 3, -3, 3});
  const Tensor b = Tensor::of<float>({6}, {3, -3, 3, -3, -3, 3});
  const auto signs = [](const std::vector<float>& values) {
    std::vector<bool> negative;
    for (const float v : values) {
      EXPECT_EQ(v, 0);
      negative.push_back(std::signbit(v));
    }
    return negative;
  };
  EXPECT_EQ(signs(floats_of({.opset = 28, .op = "Mod", .inputs = {a, b}})),
            (std::vector<bool>{false, true, false, true, true, false}));
  EXPECT_EQ(signs(floats_of({.opset = 28,
                             .op = "Mod",
                             .inputs = {a, b},
                             .attributes = {onnx::test::int_attribute("fmod", 1)}})),
            (std::vector<bool>{true, false, true, false, true, false}));
}

TEST(Versions, Opset28OrdersTheBlocksOfSpaceToDepth) {
  const Tensor x = Tensor::of<float>({1, 2, 2, 2}, {1, 2, 3, 4, 5, 6, 7, 8});
  const auto with_mode = [&](const char* mode) {
    return floats_of({.opset = 28,
                      .op = "SpaceToDepth",
                      .inputs = {x},
                      .attributes = {int_attribute("blocksize", 2), string_attribute("mode", mode)}});
  };
  EXPECT_EQ(with_mode("DCR"), (std::vector<float>{1, 5, 2, 6, 3, 7, 4, 8}));
  EXPECT_EQ(with_mode("CRD"), (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST(Versions, Opset23GivesTheOutputOfDequantizeLinearAType) {
  Tensor q(DType::kInt8, {2});
  q.mutable_data<int8_t>()[0] = -4;
  q.mutable_data<int8_t>()[1] = 6;
  const Tensor y =
      outputs_of({.opset = 23,
                  .op = "DequantizeLinear",
                  .inputs = {q},
                  .attributes = {int_attribute("output_dtype", static_cast<int64_t>(DType::kFloat16))},
                  .constants = {tensor<float>("s", {}, {0.25F})},
                  .constant_names = {"s"},
                  .outputs = {DType::kFloat16}})[0];
  EXPECT_EQ(y.dtype(), DType::kFloat16);
  EXPECT_EQ(y.floats(), (std::vector<float>{-1, 1.5F}));
}

TEST(Versions, QuantizeLinearTakesIntegersAndHalves) {
  const auto quantized = [](int64_t opset, const Tensor& x) {
    return outputs_of({.opset = opset,
                       .op = "QuantizeLinear",
                       .inputs = {x},
                       .constants = {tensor<float>("s", {}, {2}), tensor<uint8_t>("z", {}, {100})},
                       .constant_names = {"s", "z"},
                       .outputs = {DType::kUint8}})[0]
        .integers();
  };
  EXPECT_EQ(quantized(13, Tensor::of<int32_t>({3}, {-10, 7, 1000})), (std::vector<int64_t>{95, 104, 255}));
  Tensor half(DType::kFloat16, {2});
  reinterpret_cast<uint16_t*>(half.mutable_raw())[0] = float_to_half(-10);
  reinterpret_cast<uint16_t*>(half.mutable_raw())[1] = float_to_half(7);
  EXPECT_EQ(quantized(23, half), (std::vector<int64_t>{95, 104}));
}

TEST(Versions, Opset27CountsInHalfPrecision) {
  const auto half = [](std::string_view name, float v) {
    return raw_tensor(name, DType::kFloat16, {}, raw_bytes({float_to_half(v)}));
  };
  const Tensor y = outputs_of({.opset = 27,
                               .op = "Range",
                               .inputs = {},
                               .constants = {half("s", 1), half("l", 3), half("d", 0.75F)},
                               .constant_names = {"s", "l", "d"},
                               .outputs = {DType::kFloat16}})[0];
  EXPECT_EQ(y.floats(), (std::vector<float>{1, 1.75F, 2.5F}));
}

}  // namespace
}  // namespace zp
