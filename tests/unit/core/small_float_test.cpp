#include "core/small_float.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/elements.h"

namespace zp {
namespace {

constexpr DType kSigned[] = {DType::kFloat8E4M3FN, DType::kFloat8E4M3FNUZ, DType::kFloat8E5M2,
                             DType::kFloat8E5M2FNUZ, DType::kFloat4E2M1};
constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

TEST(SmallFloat, EveryNumberIsItself) {
  for (const DType type : kSigned) {
    int numbers = 0;
    for (int code = 0; code < 1 << bits_of(type); ++code) {
      const float value = decoded(type, code);
      if (std::isnan(value)) continue;
      ++numbers;
      EXPECT_EQ(encoded(type, value, {.saturate = false}), code) << name_of(type);
    }
    EXPECT_EQ(numbers, type == DType::kFloat8E4M3FN ? 254
                       : type == DType::kFloat8E5M2 ? 250
                       : type == DType::kFloat4E2M1 ? 16
                                                    : 255)
        << name_of(type);
  }
  for (int code = 0; code < 255; ++code)
    EXPECT_EQ(decoded(DType::kFloat8E8M0, code), std::ldexp(1.0f, code - 127));
  EXPECT_TRUE(std::isnan(decoded(DType::kFloat8E8M0, 255)));
}

TEST(SmallFloat, BetweenTwoNumbersIsTheNearestAndThenTheEven) {
  for (const DType type : kSigned) {
    for (int code = 0; code + 1 < 1 << (bits_of(type) - 1); ++code) {
      const double low = decoded(type, code), high = decoded(type, code + 1);
      if (!std::isfinite(low) || !std::isfinite(high)) continue;
      const double middle = (low + high) / 2;
      EXPECT_EQ(encoded(type, middle, {}), code % 2 == 0 ? code : code + 1) << name_of(type);
      EXPECT_EQ(encoded(type, std::nextafter(middle, 0), {}), code) << name_of(type);
      EXPECT_EQ(encoded(type, std::nextafter(middle, 1e30), {}), code + 1) << name_of(type);
    }
  }
}

// The table of ONNX's Cast.
TEST(SmallFloat, WhatIsTooLargeSaturatesOrNot) {
  struct Row {
    DType type;
    float largest;
    int beyond, nan;  // without saturating
  };
  for (const auto& [type, largest, beyond, nan] : {Row{DType::kFloat8E4M3FN, 448, 0x7f, 0x7f},
                                                   {DType::kFloat8E4M3FNUZ, 240, 0x80, 0x80},
                                                   {DType::kFloat8E5M2, 57344, 0x7c, 0x7e},
                                                   {DType::kFloat8E5M2FNUZ, 57344, 0x80, 0x80}}) {
    for (const float x : {kInfinity, 1e30f, 2 * largest}) {
      EXPECT_EQ(decoded(type, encoded(type, x, {})), largest) << name_of(type);
      EXPECT_EQ(decoded(type, encoded(type, -x, {})), -largest) << name_of(type);
      EXPECT_EQ(encoded(type, x, {.saturate = false}), beyond) << name_of(type);
      EXPECT_EQ(encoded(type, -x, {.saturate = false}), beyond | 0x80) << name_of(type);
    }
    EXPECT_EQ(encoded(type, kNaN, {}), nan) << name_of(type);
    EXPECT_EQ(encoded(type, -0.0, {}), nan == 0x80 ? 0 : 0x80) << name_of(type);
    EXPECT_EQ(encoded(type, -1e-30, {}), nan == 0x80 ? 0 : 0x80) << name_of(type);
  }
  for (const bool saturate : {true, false}) EXPECT_EQ(encoded(DType::kFloat4E2M1, 100, {saturate}), 7);
}

TEST(SmallFloat, PowersOfTwoRoundAsAsked) {
  const auto power = [](double x, Fit fit) {
    return decoded(DType::kFloat8E8M0, encoded(DType::kFloat8E8M0, x, fit));
  };
  EXPECT_EQ(power(5, {}), 8);
  EXPECT_EQ(power(5, {.round = Fit::Round::kDown}), 4);
  EXPECT_EQ(power(5, {.round = Fit::Round::kNearest}), 4);
  EXPECT_EQ(power(6, {.round = Fit::Round::kNearest}), 8);
  EXPECT_EQ(power(4, {}), 4);
  EXPECT_EQ(power(0, {}), 0x1p-127f);
  EXPECT_EQ(power(kInfinity, {}), 0x1p127f);
  EXPECT_EQ(power(3e38, {}), 0x1p127f);
  EXPECT_TRUE(std::isnan(power(kInfinity, {.saturate = false})));
  EXPECT_TRUE(std::isnan(power(3e38, {.saturate = false})));
  EXPECT_TRUE(std::isnan(power(0, {.saturate = false})));
  EXPECT_TRUE(std::isnan(power(kNaN, {})));
}

TEST(SmallFloat, PackedElementsAreReadAndWritten) {
  const double values[] = {-6, 0.5, 3, 1.5, 4};
  std::byte bytes[3];
  store_elements(values, bytes, DType::kFloat4E2M1, 0, 5);
  EXPECT_EQ(std::to_integer<int>(bytes[0]), 0x1f);
  EXPECT_EQ(std::to_integer<int>(bytes[2]), 0x06);
  double back[4];
  load_elements(bytes, DType::kFloat4E2M1, 1, 4, back);
  for (int i = 0; i < 4; ++i) EXPECT_EQ(back[i], values[i + 1]);

  const int64_t twos[] = {-2, 1, 0, -1, 1};
  store_elements(twos, bytes, DType::kInt2, 0, 5);
  EXPECT_EQ(std::to_integer<int>(bytes[0]), 0b11'00'01'10);
  EXPECT_EQ(std::to_integer<int>(bytes[1]), 1);
  int64_t signs[3];
  load_elements(bytes, DType::kInt2, 2, 3, signs);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(signs[i], twos[i + 2]);
  load_elements(bytes, DType::kUint2, 0, 3, signs);
  EXPECT_EQ(signs[0], 2);
}

}  // namespace
}  // namespace zp
