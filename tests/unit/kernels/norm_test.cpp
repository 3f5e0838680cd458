#include "kernels/reduction/norm.h"

#include <cmath>

#include "unit/kernels/elementwise_random.h"

namespace zp::kernels {
namespace {

template <class Isa>
class NormKernels : public testing::Test {};
TYPED_TEST_SUITE(NormKernels, AllSets, SetName);

TYPED_TEST(NormKernels, RowsByTheDefinition) {
  for (size_t length : {1, 3, 4, 8, 13, 384}) {
    for (const bool root_mean_square : {false, true}) {
      // Far from zero, where a one-pass variance loses everything.
      Padded<float> x = random_floats(length, 100, 101);
      const Padded<float> scale = random_floats(length, 0.5f, 2, 2), bias = random_floats(length, -1, 1, 3);
      double mean = 0, variance = 0;
      for (size_t i = 0; i < length; ++i) mean += x[i];
      mean = root_mean_square ? 0 : mean / static_cast<double>(length);
      for (size_t i = 0; i < length; ++i) variance += (x[i] - mean) * (x[i] - mean);
      variance /= static_cast<double>(length);
      const double inverse = 1 / std::sqrt(variance + 1e-5);
      for (const float* b : {static_cast<const float*>(nullptr), bias.data()}) {
        std::vector<float> y(length);
        const RowStatistics s =
            normalize_row<TypeParam>(x.data(), y.data(), length, scale.data(), b, 1e-5f, root_mean_square);
        // The mean itself is rounded to a float: 1e-5 at 100, and so is every partial sum.
        EXPECT_NEAR(s.mean, mean, 1e-4);
        EXPECT_NEAR(s.inverse_deviation / inverse, 1, 1e-3);
        for (size_t i = 0; i < length; ++i) {
          ASSERT_NEAR(y[i], (x[i] - mean) * inverse * scale[i] + (b ? b[i] : 0), 2e-3 + 1e-4 * inverse);
        }
      }
    }
  }
}

TYPED_TEST(NormKernels, ScaleRows) {
  Padded<float> x = random_floats(11, -3, 3);
  std::vector<float> y(11);
  scale_row<TypeParam>(x.data(), y.data(), 11, 2.5f, -1);
  for (size_t i = 0; i < 11; ++i) EXPECT_EQ(y[i], x[i] * 2.5f + -1);
}

}  // namespace
}  // namespace zp::kernels
