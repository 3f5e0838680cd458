#include "kernels/elementwise/quantize.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/tensor.h"
#include "unit/kernels/elementwise_random.h"

namespace zp::kernels {
namespace {

constexpr DType kTypes[] = {DType::kUint8, DType::kInt8,  DType::kUint16,
                            DType::kInt16, DType::kUint4, DType::kInt4};

// ONNX's text, in double precision but for the one float division.
int64_t definition(float x, float scale, int32_t zero_point, DType type) {
  const IntegerRange range = integer_range(type);
  const double q = std::nearbyint(static_cast<double>(x / scale)) + zero_point;
  return static_cast<int64_t>(std::clamp<double>(q, range.min, range.max));
}

int32_t some_zero_point(DType type) { return is_signed_integer(type) ? -3 : 5; }

template <class Isa>
class QuantizeKernels : public testing::Test {};
TYPED_TEST_SUITE(QuantizeKernels, AllSets, SetName);

TYPED_TEST(QuantizeKernels, OneScale) {
  for (DType type : kTypes) {
    for (const float scale : {0.037f, 0.1f, 1.0f}) {  // 1: ties are rounded to even
      const size_t count = 101;
      Padded<float> x = random_floats(count, -20, 20);
      for (size_t i = 0; i < 40; ++i) x[i] = static_cast<float>(static_cast<int>(i) - 20) * 0.5f * scale;
      x[50] = 1e30f;
      x[51] = -1e30f;
      x[52] = std::numeric_limits<float>::infinity();
      Tensor q(type, {static_cast<int64_t>(count)});
      const int32_t zero = some_zero_point(type);
      quantize<TypeParam>(x.data(), scale, zero, type, q.mutable_raw(), 0, count);
      for (size_t i = 0; i < count; ++i) {
        ASSERT_EQ(q.integer_at(static_cast<int64_t>(i)), definition(x[i], scale, zero, type))
            << name_of(type) << " " << x[i] << " / " << scale;
      }
      std::vector<float> back(count);
      dequantize<TypeParam>(q.raw(), type, scale, zero, back.data(), 0, count);
      for (size_t i = 0; i < count; ++i) {
        const auto value = static_cast<float>(q.integer_at(static_cast<int64_t>(i)) - zero) * scale;
        ASSERT_EQ(back[i], value) << name_of(type);
      }
    }
  }
}

TYPED_TEST(QuantizeKernels, NotANumberBecomesTheLowest) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Padded<float> x(17);
  for (size_t i = 0; i < 17; ++i) x[i] = nan;
  std::vector<uint8_t> q(17, 9);
  quantize<TypeParam>(x.data(), 0.5f, 7, DType::kUint8, q.data(), 0, 17);
  EXPECT_EQ(q, std::vector<uint8_t>(17, 0));
}

TYPED_TEST(QuantizeKernels, PiecesStartAnywhere) {
  for (DType type : kTypes) {
    const size_t count = 61, cut = bits_of(type) < 8 ? 22 : 23;
    const Padded<float> x = random_floats(count, -9, 9);
    Tensor whole(type, {static_cast<int64_t>(count)}), parts = Tensor(type, {static_cast<int64_t>(count)});
    quantize<TypeParam>(x.data(), 0.1f, 0, type, whole.mutable_raw(), 0, count);
    quantize<TypeParam>(x.data(), 0.1f, 0, type, parts.mutable_raw(), 0, cut);
    quantize<TypeParam>(x.data() + cut, 0.1f, 0, type, parts.mutable_raw(), cut, count - cut);
    EXPECT_EQ(whole.integers(), parts.integers()) << name_of(type);
    std::vector<float> tail(count - 7);
    dequantize<TypeParam>(whole.raw(), type, 0.1f, 0, tail.data(), 7, count - 7);
    for (size_t i = 0; i < tail.size(); ++i) {
      EXPECT_EQ(tail[i], static_cast<float>(whole.integer_at(static_cast<int64_t>(i) + 7)) * 0.1f);
    }
  }
}

TYPED_TEST(QuantizeKernels, AScaleForEachElement) {
  for (DType type : kTypes) {
    const size_t count = 43;
    const Padded<float> x = random_floats(count, -5, 5), scales = random_floats(count, 0.01f, 0.2f, 2);
    Padded<int32_t> zeros(count);
    for (size_t i = 0; i < count; ++i) zeros[i] = static_cast<int32_t>(i % 7);
    for (const int32_t* zero :
         {static_cast<const int32_t*>(nullptr), static_cast<const int32_t*>(zeros.data())}) {
      Tensor q(type, {static_cast<int64_t>(count)});
      quantize_each<TypeParam>(x.data(), scales.data(), zero, type, q.mutable_raw(), 0, count);
      std::vector<float> back(count);
      dequantize_each<TypeParam>(q.raw(), type, scales.data(), zero, back.data(), 0, count);
      for (size_t i = 0; i < count; ++i) {
        const int32_t z = zero ? zero[i] : 0;
        const int64_t got = q.integer_at(static_cast<int64_t>(i));
        ASSERT_EQ(got, definition(x[i], scales[i], z, type)) << name_of(type);
        ASSERT_EQ(back[i], static_cast<float>(got - z) * scales[i]);
      }
    }
  }
}

TYPED_TEST(QuantizeKernels, Int32AsBiasesAre) {
  const int32_t q[] = {0, 1, -1, 123456789, INT32_MIN, INT32_MAX, 16777217, -5, 9};
  std::vector<float> y(9);
  dequantize<TypeParam>(q, DType::kInt32, 0.25f, 0, y.data(), 0, 9);
  for (size_t i = 0; i < 9; ++i) EXPECT_EQ(y[i], static_cast<float>(q[i]) * 0.25f);
}

TYPED_TEST(QuantizeKernels, ExtentHoldsZeroAndPassesOverNaN) {
  for (size_t count : {size_t{0}, size_t{1}, size_t{5}, size_t{33}}) {
    Padded<float> x = random_floats(count, 2, 9);
    Extent e = extent_with_zero<TypeParam>(x.data(), count);
    EXPECT_EQ(e.min, 0);
    EXPECT_EQ(e.max, count ? *std::max_element(x.data(), x.data() + count) : 0);
    for (size_t i = 0; i < count; ++i) x[i] = -x[i];
    if (count > 2) x[1] = std::numeric_limits<float>::quiet_NaN();
    e = extent_with_zero<TypeParam>(x.data(), count);
    EXPECT_EQ(e.max, 0);
    EXPECT_LE(e.min, count ? -2 : 0);
  }
}

TEST(DynamicScale, IsOnnxFormula) {
  const DynamicScale s = dynamic_scale({-1, 3});
  EXPECT_EQ(s.scale, 4.0f / 255.0f);
  EXPECT_EQ(s.zero_point, 64);  // 63.75 rounds up
  EXPECT_EQ(dynamic_scale({0, 10}).zero_point, 0);
  EXPECT_EQ(dynamic_scale({-10, 0}).zero_point, 255);
  EXPECT_EQ(dynamic_scale({0, 0}).scale, 1) << "a scale of zero would divide by it";
}

}  // namespace
}  // namespace zp::kernels
