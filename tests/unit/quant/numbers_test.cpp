#include "quant/numbers.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace zp::quant {
namespace {

TEST(ChooseParams, AsymmetricFollowsTheDefinition) {
  // scale = (3 - -1) / 255; zero point = round(0 - -1 / scale) = round(63.75).
  const QParams p = choose_params({-1, 3}, DType::kUint8, false);
  EXPECT_EQ(p.scale, static_cast<float>(4.0 / 255));
  EXPECT_EQ(p.zero_point, 64);
  const QParams s = choose_params({-1, 3}, DType::kInt8, false);
  EXPECT_EQ(s.scale, static_cast<float>(4.0 / 255));
  EXPECT_EQ(s.zero_point, -64);  // -128 + 63.75, rounded to even neighbours: -64.25
}

TEST(ChooseParams, TheRangeIsWidenedToHoldZero) {
  const QParams above = choose_params({2, 5}, DType::kUint8, false);
  EXPECT_EQ(above.scale, static_cast<float>(5.0 / 255));
  EXPECT_EQ(above.zero_point, 0);
  const QParams below = choose_params({-5, -2}, DType::kUint8, false);
  EXPECT_EQ(below.scale, static_cast<float>(5.0 / 255));
  EXPECT_EQ(below.zero_point, 255);
}

TEST(ChooseParams, SymmetricHasItsZeroInTheMiddle) {
  EXPECT_EQ(choose_params({-1, 3}, DType::kInt8, true),
            (QParams{DType::kInt8, static_cast<float>(3.0 / 127), 0}));
  EXPECT_EQ(choose_params({-4, 3}, DType::kUint8, true),
            (QParams{DType::kUint8, static_cast<float>(4.0 / 127), 128}));
  EXPECT_EQ(choose_params({-4, 3}, DType::kInt16, true),
            (QParams{DType::kInt16, static_cast<float>(4.0 / 32767), 0}));
  EXPECT_EQ(choose_params({-4, 3}, DType::kUint16, true),
            (QParams{DType::kUint16, static_cast<float>(4.0 / 32767), 32768}));
}

TEST(ChooseParams, NeverAScaleOfZero) {
  for (const bool symmetric : {false, true}) {
    EXPECT_GT(choose_params({0, 0}, DType::kUint8, symmetric).scale, 0);
    EXPECT_GE(choose_params({0, 1e-45f}, DType::kInt8, symmetric).scale, std::numeric_limits<float>::min());
  }
}

TEST(Quantize, RoundsHalfToEvenThenAddsTheZeroPointThenSaturates) {
  const QParams p{DType::kUint8, 0.5f, 10};
  const Tensor x = Tensor::of<float>({8}, {0.25f, 0.75f, 1.25f, -0.25f, -4.9f, -100.f, 122.5f, 1e9f});
  const Tensor q = quantize(x, p);
  const std::vector<int64_t> expected{10, 12, 12, 10, 0, 0, 255, 255};
  EXPECT_EQ(q.integers(), expected);
  std::vector<float> back(8);
  dequantize(q.raw(), 8, p, back.data());
  EXPECT_EQ(back, (std::vector<float>{0, 1, 1, 0, -5, -5, 122.5, 122.5}));
  EXPECT_EQ(covered(p), (Range{-5, 122.5}));
}

TEST(RangeOf, SeesEveryElementAndWhatIsNotFinite) {
  std::vector<float> x(37, 0.5f);
  x[36] = 7;
  x[9] = -3;
  bool finite = false;
  EXPECT_EQ(range_of(x, &finite), (Range{-3, 7}));
  EXPECT_TRUE(finite);
  for (size_t at : {size_t{0}, size_t{20}, size_t{36}}) {
    for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      std::vector<float> y = x;
      y[at] = bad;
      range_of(y, &finite);
      EXPECT_FALSE(finite) << at;
    }
  }
  EXPECT_EQ(range_of(std::span<const float>(), &finite), (Range{0, 0}));
}

TEST(QuantizeWeight, PerChannel) {
  const Tensor w = Tensor::of<float>({2, 3}, {1, -2, 0.5f, 0.25f, 0.5f, -1});
  const QuantizedWeight q = quantize_weight(w, {.grouping = {.axis = 0}});
  ASSERT_EQ(q.scale.dims(), (Shape{2}));
  EXPECT_EQ(q.scale.floats()[0], static_cast<float>(2.0 / 127));
  EXPECT_EQ(q.scale.floats()[1], static_cast<float>(1.0 / 127));
  EXPECT_EQ(q.integers.integers(), (std::vector<int64_t>{64, -127, 32, 32, 64, -127}));  // 63.5 and 31.75
  EXPECT_FALSE(q.zero_point.defined());
  EXPECT_EQ(q.range, (Range{-2, 1}));
  EXPECT_GT(q.sqnr_db, 40);
  // Along the other axis: three scales, and each column's largest becomes 127.
  const QuantizedWeight columns = quantize_weight(w, {.grouping = {.axis = 1}});
  EXPECT_EQ(columns.scale.dims(), (Shape{3}));
  EXPECT_EQ(columns.integers.integer_at(0), 127);
  EXPECT_EQ(columns.integers.integer_at(1), -127);
}

TEST(QuantizeWeight, AsymmetricKeepsZeroExact) {
  const Tensor w = Tensor::of<float>({4}, {0, 1, 2, 3});
  const QuantizedWeight q = quantize_weight(w, {.dtype = DType::kUint8, .symmetric = false, .grouping = {}});
  EXPECT_EQ(q.scale.floats()[0], static_cast<float>(3.0 / 255));
  EXPECT_FALSE(q.zero_point.defined());  // it is 0
  EXPECT_EQ(q.integers.integers(), (std::vector<int64_t>{0, 85, 170, 255}));
  const QuantizedWeight s = quantize_weight(w, {.dtype = DType::kInt8, .symmetric = false, .grouping = {}});
  ASSERT_TRUE(s.zero_point.defined());
  EXPECT_EQ(s.zero_point.integer_at(0), -128);
  EXPECT_EQ(dequantize_weight(s, {}).floats()[0], 0.f);
}

// Of few weights the one that symmetric steps are made for, exact, can be most of them.
TEST(QuantizeWeight, AsymmetricEightBitsLoseNoMoreThanSymmetricOnes) {
  size_t gained = 0;
  uint32_t state = 1;
  const auto next = [&] {
    state = state * 1664525u + 1013904223u;
    return static_cast<float>(state >> 8) / static_cast<float>(1 << 23) - 1;
  };
  for (int trial = 0; trial < 40; ++trial) {
    Tensor w(DType::kFloat32, {4, trial % 2 ? 2 : 64});
    const float shift = next();
    for (float& v : w.mutable_data<float>()) v = next() + shift;
    for (const DType type : {DType::kUint8, DType::kInt8}) {
      const double even =
          quantize_weight(w, {.dtype = type, .symmetric = true, .grouping = {.axis = 0}}).sqnr_db;
      const QuantizedWeight q =
          quantize_weight(w, {.dtype = type, .symmetric = false, .grouping = {.axis = 0}});
      EXPECT_GE(q.sqnr_db, even);
      gained += q.sqnr_db > even + 1;
    }
  }
  EXPECT_GT(gained, 20u);
  // Both are multiples of the largest / 127, and only the one is of what lies between them / 255.
  const Tensor few = Tensor::of<float>({2}, {127, -50});
  const QuantizedWeight q =
      quantize_weight(few, {.dtype = DType::kUint8, .symmetric = false, .grouping = {}});
  EXPECT_EQ(q.zero_point.integer_at(0), 128);
  EXPECT_EQ(q.integers.integers(), (std::vector<int64_t>{255, 78}));
}

TEST(QuantizeWeight, ReducedRangeCannotOverflowPairSums) {
  Tensor w(DType::kFloat32, {64});
  for (int i = 0; i < 64; ++i)
    w.mutable_data<float>()[static_cast<size_t>(i)] = std::sin(static_cast<float>(i)) * 3;
  for (const bool symmetric : {true, false}) {
    const QuantizedWeight q = quantize_weight(
        w, {.dtype = DType::kInt8, .symmetric = symmetric, .reduce_range = true, .grouping = {}});
    for (int64_t v : q.integers.integers()) EXPECT_LE(255 * 2 * std::abs(v), 32767);
  }
}

TEST(QuantizeWeight, AChannelOfZerosIsExactAndHasTheScaleOfTheOthers) {
  const Tensor w = Tensor::of<float>({2, 2}, {0, 0, 1, -1});
  const QuantizedWeight q = quantize_weight(w, {.grouping = {.axis = 0}});
  EXPECT_EQ(q.scale.floats()[0], q.scale.floats()[1]);
  EXPECT_TRUE(std::isinf(q.sqnr_db) || q.sqnr_db > 40);
  const QuantizedWeight none = quantize_weight(Tensor(DType::kFloat32, {2, 2}), {.grouping = {.axis = 0}});
  EXPECT_GT(none.scale.floats()[0], 0);
  EXPECT_TRUE(std::isinf(none.sqnr_db));
}

TEST(QuantizeWeight, FourBitBlocks) {
  // Blocks of 16 along axis 0 of [20, 2]: two blocks, the last one short.
  Tensor w(DType::kFloat32, {20, 2});
  for (int k = 0; k < 20; ++k) {
    w.mutable_data<float>()[static_cast<size_t>(2 * k)] = static_cast<float>(k % 15 - 7);
    w.mutable_data<float>()[static_cast<size_t>(2 * k + 1)] = 100 * static_cast<float>(k % 15 - 7);
  }
  const Grouping blocks{.axis = 0, .block_size = 16};
  const QuantizedWeight q = quantize_weight(w, {.dtype = DType::kInt4, .grouping = blocks});
  EXPECT_EQ(q.scale.dims(), (Shape{2, 2}));
  EXPECT_EQ(q.integers.dtype(), DType::kInt4);
  EXPECT_EQ(q.integers.bytes(), 20u);
  // The first block, -7...7 in steps of 1 (and of 100), is exact at max / 7.
  EXPECT_EQ(q.scale.floats()[0], 1.f);
  EXPECT_EQ(q.scale.floats()[1], 100.f);
  const std::vector<float> back = dequantize_weight(q, blocks).floats(), x = w.floats();
  EXPECT_TRUE(std::equal(back.begin(), back.begin() + 32, x.begin()));
  // The last has -6...-3: whatever scale it got, nothing is off by more than half a step.
  EXPECT_NE(q.scale.floats()[2], 1.f);
  for (size_t i = 32; i < 40; ++i) EXPECT_LE(std::fabs(back[i] - x[i]), q.scale.floats()[2 + i % 2] * 0.51f);
}

TEST(QuantizeWeight, FourBitsUseMinusEightWhereItHelps) {
  const Tensor w = Tensor::of<float>({16}, {-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7});
  const QuantizedWeight q = quantize_weight(w, {.dtype = DType::kInt4, .grouping = {}});
  EXPECT_EQ(q.scale.floats()[0], 1.f);
  EXPECT_EQ(q.integers.integer_at(0), -8);
  const QuantizedWeight u = quantize_weight(w, {.dtype = DType::kUint4, .grouping = {}});
  EXPECT_EQ(u.zero_point.integer_at(0), 8);
  EXPECT_EQ(u.integers.integer_at(0), 0);
  EXPECT_EQ(u.integers.integer_at(15), 15);
  EXPECT_TRUE(std::isinf(u.sqnr_db));
}

TEST(QuantizeWeight, AsymmetricFourBits) {
  const Tensor w = Tensor::of<float>({16}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15});
  const QuantizedWeight q = quantize_weight(w, {.dtype = DType::kUint4, .symmetric = false, .grouping = {}});
  EXPECT_EQ(q.scale.floats()[0], 1.f);
  EXPECT_TRUE(std::isinf(q.sqnr_db));
}

TEST(QuantizeWeight, AsymmetricFewBitsFindTheRangeThatLosesLeast) {
  // Values of a bell, and one far outside.
  Tensor w(DType::kFloat32, {64});
  for (size_t i = 0; i < 64; ++i)
    w.mutable_data<float>()[i] = std::sin(static_cast<float>(i)) * static_cast<float>(i % 8) / 8;
  w.mutable_data<float>()[9] = 2;
  for (const DType type : {DType::kInt4, DType::kUint4, DType::kInt2, DType::kUint2}) {
    const QuantizedWeight q = quantize_weight(w, {.dtype = type, .symmetric = false, .grouping = {}});
    // From the smallest to the largest value, as 8 bits have it:
    const IntegerRange codes = integer_range(type);
    const Range range = range_of(w.data<float>());
    const float scale = (range.max - range.min) / static_cast<float>(codes.max - codes.min);
    const float zero = std::nearbyint(static_cast<float>(codes.min) - range.min / scale);
    double signal = 0, noise = 0;
    for (const float x : w.data<float>()) {
      const float back = (std::clamp(std::nearbyint(x / scale) + zero, static_cast<float>(codes.min),
                                     static_cast<float>(codes.max)) -
                          zero) *
                         scale;
      signal += static_cast<double>(x * x), noise += static_cast<double>((x - back) * (x - back));
    }
    EXPECT_GT(q.sqnr_db, 10 * std::log10(signal / noise) + (bits_of(type) == 2 ? 0.5 : 0)) << name_of(type);
  }
}

TEST(QuantizeWeight, TwoBitsAreFourValuesOfAFourBitTensor) {
  for (const bool is_signed : {false, true}) {
    const DType type = is_signed ? DType::kInt2 : DType::kUint2;
    const Tensor w = Tensor::of<float>({4}, {-2, -1, 0, 1});
    for (const bool symmetric : {false, true}) {
      const QuantizedWeight q = quantize_weight(w, {.dtype = type, .symmetric = symmetric, .grouping = {}});
      EXPECT_EQ(q.integers.dtype(), is_signed ? DType::kInt4 : DType::kUint4);
      const int64_t least = is_signed ? -2 : 0;
      EXPECT_EQ(q.integers.integers(), (std::vector<int64_t>{least, least + 1, least + 2, least + 3}));
      EXPECT_EQ(q.scale.floats()[0], 1.f);
      EXPECT_TRUE(std::isinf(q.sqnr_db));
    }
  }
}

TEST(QuantizeWeight, ScalesCanBeHeldUp) {
  const Tensor w = Tensor::of<float>({2, 1}, {1e-6f, 1});
  const QuantizedWeight q = quantize_weight(w, {.grouping = {.axis = 0}, .min_scale = {0.25f, 0}});
  EXPECT_EQ(q.scale.floats()[0], 0.25f);
  EXPECT_EQ(q.scale.floats()[1], static_cast<float>(1.0 / 127));
}

TEST(PackIntegers, LowNibbleFirst) {
  const int32_t values[] = {1, -2, 7};
  const Tensor t = pack_integers(DType::kInt4, {3}, values);
  EXPECT_EQ(t.bytes(), 2u);
  EXPECT_EQ(static_cast<int>(t.raw()[0]), 0xe1);
  EXPECT_EQ(static_cast<int>(t.raw()[1]), 0x07);  // the last high nibble is empty
  EXPECT_EQ(t.integers(), (std::vector<int64_t>{1, -2, 7}));
}

}  // namespace
}  // namespace zp::quant
