#include "kernels/reduction/softmax.h"

#include <cmath>
#include <limits>

#include "unit/kernels/elementwise_random.h"

namespace zp::kernels {
namespace {

std::vector<double> definition(const float* x, size_t length, size_t stride, bool logarithm) {
  double max = -std::numeric_limits<double>::infinity(), sum = 0;
  for (size_t i = 0; i < length; ++i) max = std::max<double>(max, x[i * stride]);
  for (size_t i = 0; i < length; ++i) sum += std::exp(x[i * stride] - max);
  std::vector<double> y(length);
  for (size_t i = 0; i < length; ++i) {
    const double shifted = x[i * stride] - max;
    y[i] = logarithm ? shifted - std::log(sum) : std::exp(shifted) / sum;
  }
  return y;
}

template <class Isa>
class SoftmaxKernels : public testing::Test {};
TYPED_TEST_SUITE(SoftmaxKernels, AllSets, SetName);

TYPED_TEST(SoftmaxKernels, Rows) {
  for (const bool logarithm : {false, true}) {
    for (size_t length : {1, 2, 3, 4, 7, 16, 101, 1000}) {
      Padded<float> x = random_floats(length, -30, 30);
      const std::vector<double> want = definition(x.data(), length, 1, logarithm);
      std::vector<float> y(length);
      softmax_row<TypeParam>(x.data(), y.data(), length, logarithm);
      for (size_t i = 0; i < length; ++i)
        ASSERT_NEAR(y[i], want[i], 1e-6 * std::max(1.0, std::fabs(want[i])));
      softmax_row<TypeParam>(x.data(), x.data(), length, logarithm);
      for (size_t i = 0; i < length; ++i) ASSERT_EQ(x[i], y[i]) << "in place";
    }
  }
}

TYPED_TEST(SoftmaxKernels, Strided) {
  for (const bool logarithm : {false, true}) {
    for (size_t stride : {1, 3, 4, 9, 32}) {
      const size_t length = 6;
      const Padded<float> x = random_floats(length * stride, -10, 10);
      std::vector<float> y(length * stride), scratch(2 * stride);
      softmax_strided<TypeParam>(x.data(), y.data(), length, stride, logarithm, scratch.data());
      for (size_t s = 0; s < stride; ++s) {
        const std::vector<double> want = definition(x.data() + s, length, stride, logarithm);
        for (size_t i = 0; i < length; ++i) {
          ASSERT_NEAR(y[i * stride + s], want[i], 1e-6 * std::max(1.0, std::fabs(want[i])));
        }
      }
    }
  }
}

TYPED_TEST(SoftmaxKernels, LargeNumbersDoNotOverflowAndMinusInfinityIsNothing) {
  Padded<float> x(5);
  x[0] = 3e38f;
  x[1] = 3e38f;
  x[2] = -std::numeric_limits<float>::infinity();
  x[3] = -3e38f;
  x[4] = 0;
  std::vector<float> y(5);
  softmax_row<TypeParam>(x.data(), y.data(), 5, false);
  EXPECT_EQ(y, (std::vector<float>{0.5f, 0.5f, 0, 0, 0}));
}

}  // namespace
}  // namespace zp::kernels
