// Element types that models rarely have.
#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/cast.h"
#include "runtime/prepare.h"
#include "unit/ops/node_of_opset.h"
#include "unit/ops/one_node.h"

namespace zp::test {
namespace {

using testing::ElementsAre;

Tensor halves(const std::vector<float>& values) {
  Tensor t(DType::kFloat16, {static_cast<int64_t>(values.size())});
  for (size_t i = 0; i < values.size(); ++i)
    reinterpret_cast<uint16_t*>(t.mutable_raw())[i] = float_to_half(values[i]);
  return t;
}

TEST(ElementTypes, TopKOrdersAllNumbers) {
  const auto first_two = [](const Tensor& x) {
    return run({"TopK", {x, longs({1}, {2})}, {}, 2})[1].integers();
  };
  EXPECT_THAT(first_two(Tensor::of<double>({4}, {-1, 1 + 1e-12, -2, 1})), ElementsAre(1, 3));
  EXPECT_THAT(first_two(halves({-1, 0.5F, -0.25F, 0.75F})), ElementsAre(3, 1));
  EXPECT_THAT(
      first_two(Tensor::of<uint64_t>({3}, {5, std::numeric_limits<uint64_t>::max(), uint64_t{1} << 63})),
      ElementsAre(1, 2));
  EXPECT_THAT(first_two(Tensor::of<int16_t>({3}, {-5, 7, 3})), ElementsAre(1, 2));
}

TEST(ElementTypes, ScatterElementsReducesAllNumbers) {
  const auto scattered = [](const Tensor& data, const Tensor& updates, const char* reduction) {
    return run(
        {"ScatterElements", {data, longs({2}, {0, 0}), updates}, {{"reduction", std::string(reduction)}}})[0];
  };
  const Tensor y = scattered(Tensor::of<double>({2}, {1, 2}), Tensor::of<double>({2}, {0.5, 1e-9}), "add");
  EXPECT_EQ(y.data<double>()[0], 1.5 + 1e-9);
  EXPECT_THAT(
      scattered(Tensor::of<int8_t>({1}, {-100}), Tensor::of<int8_t>({2}, {-20, -20}), "add").integers(),
      ElementsAre(116));  // it wraps around
  EXPECT_THAT(
      scattered(Tensor::of<int8_t>({1}, {-100}), Tensor::of<int8_t>({2}, {-120, 5}), "min").integers(),
      ElementsAre(-120));
  EXPECT_THAT(scattered(Tensor::of<uint8_t>({1}, {20}), Tensor::of<uint8_t>({2}, {20, 2}), "mul").integers(),
              ElementsAre(32));
}

TEST(ElementTypes, ResizeCutsWhatItMakesOfIntegers) {
  const Tensor y = outputs_of({.opset = 11,
                               .op = "Resize",
                               .inputs = {Tensor::of<int32_t>({1, 1, 1, 2}, {0, 255})},
                               .attributes = {onnx::test::string_attribute("mode", "linear")},
                               .constants = {onnx::test::tensor<float>("r", {0}, {}),
                                             onnx::test::tensor<float>("s", {4}, {1, 1, 1, 2})},
                               .constant_names = {"r", "s"},
                               .outputs = {DType::kInt32}})[0];
  EXPECT_THAT(y.integers(), ElementsAre(0, 63, 191, 255));
}

// ---- small floats, and integers below a byte

Tensor as(DType type, const Shape& dims, const std::vector<float>& values) {
  return cast(Tensor::of<float>(dims, std::span<const float>(values)), type);
}

int64_t number(DType type) { return static_cast<int64_t>(type); }

TEST(SmallTypes, CastThereAndBack) {
  for (const DType type : {DType::kFloat8E4M3FN, DType::kFloat8E4M3FNUZ, DType::kFloat8E5M2,
                           DType::kFloat8E5M2FNUZ, DType::kFloat4E2M1}) {
    const Tensor x = floats({5}, {1.6F, -3, 0.25F, 6, 1e9F});
    const Tensor y = run({"Cast", {x}, {{"to", number(type)}}})[0];
    EXPECT_EQ(y.dtype(), type);
    EXPECT_TRUE(same_bits(y, as(type, {5}, {1.6F, -3, 0.25F, 6, 1e9F})));
    expect_floats(run({"Cast", {y}, {{"to", number(DType::kFloat32)}}})[0], {5}, y.floats());
  }
  EXPECT_THAT(run({"Cast", {longs({5}, {-2, 1, 5, -1, 0})}, {{"to", number(DType::kInt2)}}})[0].integers(),
              ElementsAre(-2, 1, 1, -1, 0));
  const Tensor power = run({"Cast",
                            {floats({2}, {5, 6})},
                            {{"to", number(DType::kFloat8E8M0)}, {"round_mode", std::string("nearest")}}})[0];
  EXPECT_THAT(power.floats(), ElementsAre(4, 8));
  EXPECT_TRUE(error_of({"Cast", {floats({1}, {5})}, {{"to", int64_t{257}}}}, Given::kFed));
}

TEST(SmallTypes, QuantizeAndDequantizeWithScalesOfAllKinds) {
  const std::vector<float> values{1, -2, 3, 4, 5, -6, 7, 8};
  for (const DType type : {DType::kFloat8E5M2, DType::kFloat4E2M1, DType::kInt2, DType::kUint2}) {
    for (const int64_t block : {0, 2}) {
      const Shape scales = block == 0 ? Shape{2} : Shape{2, 2};
      const std::vector<float> s = block == 0 ? std::vector<float>{2, 4} : std::vector<float>{1, 2, 4, 0.5F};
      const int64_t axis = block == 0 ? 0 : -1;
      const Tensor q =
          run({"QuantizeLinear",
               {floats({2, 4}, values), floats(scales, s), as(type, scales, std::vector<float>(s.size()))},
               {{"axis", axis}, {"block_size", block}}})[0];
      ASSERT_EQ(q.dtype(), type);
      std::vector<float> quotients, products;
      for (size_t i = 0; i < 8; ++i) {
        const float scale = block == 0 ? s[i / 4] : s[i / 2];
        float v = values[i] / scale;
        if (!is_float(type))
          v = std::clamp(std::nearbyint(v), type == DType::kInt2 ? -2.0F : 0.0F,
                         type == DType::kInt2 ? 1.0F : 3.0F);
        quotients.push_back(v);
        products.push_back(as(type, {1}, {v}).floats()[0] * scale);
      }
      EXPECT_TRUE(same_bits(q, as(type, {2, 4}, quotients))) << name_of(type);
      expect_floats(
          run({"DequantizeLinear", {q, floats(scales, s)}, {{"axis", axis}, {"block_size", block}}})[0],
          {2, 4}, products);
    }
  }
}

TEST(SmallTypes, ScalesMayBePowersOfTwo) {
  const Tensor q = as(DType::kFloat4E2M1, {1, 4}, {1, 2, -3, 6}),
               scale = as(DType::kFloat8E8M0, {1, 2}, {2, 0.5F});
  expect_floats(
      run({"DequantizeLinear",
           {q, scale},
           {{"axis", int64_t{1}}, {"block_size", int64_t{2}}, {"output_dtype", number(DType::kFloat32)}}})[0],
      {1, 4}, {2, 4, -1.5F, 3});
  EXPECT_TRUE(error_of({"DequantizeLinear", {q, scale}, {{"axis", int64_t{1}}, {"block_size", int64_t{2}}}},
                       Given::kConstant));
}

TEST(SmallTypes, PackedElementsMove) {
  const std::vector<float> values{1, -2, 3, 4, -5, 6};
  for (const DType type : {DType::kInt4, DType::kFloat4E2M1}) {
    const Tensor x = as(type, {2, 3}, values);
    EXPECT_THAT(run({"Transpose", {x}})[0].floats(), ElementsAre(1, 4, -2, x.floats()[4], 3, 6));
    EXPECT_THAT(run({"Reshape", {x, longs({1}, {6})}})[0].floats(), testing::ElementsAreArray(x.floats()));
    EXPECT_THAT(run({"Pad", {as(type, {1}, {2}), longs({2}, {1, 2}), as(type, {}, {-1})}})[0].floats(),
                ElementsAre(-1, 2, -1, -1));
    EXPECT_THAT(run({"ConstantOfShape", {longs({1}, {3})}, {{"value", as(type, {1}, {-2})}}})[0].floats(),
                ElementsAre(-2, -2, -2));
  }
}

// A packed value has one order of dimensions, whatever the operator behind its cast wants.
TEST(SmallTypes, PackedElementsStayInOrderBeforeAConvolution) {
  GraphBuilder net;
  std::vector<float> values(2 * 3 * 3);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 7) - 3;
  const ValueId x = net.input("x", {1, 2, 3, 3}, DType::kInt4);
  const ValueId f = net.add("Cast", "f", {x}, {{"to", number(DType::kFloat32)}});
  const ValueId w = net.constant("w", floats({1, 2, 1, 1}, {1, 10}));
  net.output(net.add("Conv", "y", {f, w}));
  const Tensor y = runtime::Session(net.build()).run({{"x", as(DType::kInt4, {1, 2, 3, 3}, values)}})[0];
  std::vector<float> wanted(9);
  for (size_t i = 0; i < 9; ++i) wanted[i] = values[i] + 10 * values[9 + i];
  expect_floats(y, {1, 1, 3, 3}, wanted);
}

TEST(SmallTypes, BitCastReadsTheSameBits) {
  const Tensor bits = run({"BitCast", {floats({2}, {1, -2})}, {{"to", number(DType::kInt32)}}})[0];
  EXPECT_THAT(bits.integers(), ElementsAre(0x3f800000, -0x40000000));
  EXPECT_THAT(run({"BitCast", {bits}, {{"to", number(DType::kFloat32)}}})[0].floats(), ElementsAre(1, -2));
  EXPECT_THAT(
      run({"BitCast", {Tensor::of<uint8_t>({2}, {0x38, 0x80})}, {{"to", number(DType::kFloat8E4M3FN)}}})[0]
          .floats(),
      ElementsAre(1, -0.0F));
  EXPECT_THAT(
      run({"BitCast", {Tensor::of<uint8_t>({2}, {2, 0})}, {{"to", number(DType::kBool)}}})[0].integers(),
      ElementsAre(1, 0));
  EXPECT_TRUE(error_of({"BitCast", {floats({1}, {1})}, {{"to", number(DType::kInt64)}}}, Given::kFed));
}

// What is computed in float32 has other bits than half precision.
TEST(SmallTypes, BitCastReadsTheBitsOfHalfPrecision) {
  GraphBuilder net;
  const ValueId x = net.input("x", {2}, DType::kFloat16);
  const ValueId y = net.add("Add", "sum", {x, x});
  net.output(net.add("BitCast", "y", {y}, {{"to", number(DType::kInt16)}}));
  const Tensor bits = runtime::Session(runtime::prepared(net.build())).run({{"x", halves({0.5F, -1})}})[0];
  EXPECT_THAT(bits.integers(), ElementsAre(0x3c00, -0x4000));
}

TEST(SmallTypes, SmallFloatsAreTestedForNaN) {
  const Tensor x = as(DType::kFloat8E5M2, {2}, {1, std::numeric_limits<float>::quiet_NaN()});
  EXPECT_THAT(run({"IsNaN", {x}})[0].integers(), ElementsAre(0, 1));
}

}  // namespace
}  // namespace zp::test
