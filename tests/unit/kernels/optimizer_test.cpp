// Steps of gradient descent beside their definitions, for lengths that leave parts of vectors.
#include "kernels/gradient/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace zp::kernels {
namespace {

std::vector<float> numbers(size_t count, uint32_t seed) {
  std::vector<float> v(count);
  for (float& x : v) {
    seed = seed * 1664525u + 1013904223u;
    x = static_cast<float>(seed >> 8) / static_cast<float>(1 << 23) - 1;
  }
  return v;
}

TEST(OptimizerKernels, Adam) {
  for (const size_t count : {1u, 3u, 4u, 7u, 1030u}) {
    std::vector<float> values = numbers(count, 1), first(count, 0.f), second(count, 0.f);
    std::vector<double> v(values.begin(), values.end()), m(count, 0), s(count, 0);
    for (int step = 1; step <= 5; ++step) {
      const std::vector<float> d = numbers(count, static_cast<uint32_t>(10 + step));
      const AdamStep how{.factor = 0.5f,
                         .rate = 0.01f,
                         .decay = 0.1f,
                         .first = 0.9f,
                         .second = 0.999f,
                         .first_bias = 1 - std::pow(0.9f, static_cast<float>(step)),
                         .second_bias = 1 - std::pow(0.999f, static_cast<float>(step)),
                         .epsilon = 1e-8f};
      adam_step(how, d.data(), values.data(), first.data(), second.data(), count);
      for (size_t i = 0; i < count; ++i) {
        const double g = 0.5 * d[i];
        m[i] = 0.9 * m[i] + 0.1 * g;
        s[i] = 0.999 * s[i] + 0.001 * g * g;
        const double move = m[i] / how.first_bias / (std::sqrt(s[i] / how.second_bias) + 1e-8);
        v[i] -= 0.01 * (move + 0.1 * v[i]);
      }
    }
    for (size_t i = 0; i < count; ++i) EXPECT_NEAR(values[i], v[i], 2e-5) << count << " " << i;
  }
}

TEST(OptimizerKernels, Momentum) {
  for (const size_t count : {1u, 5u, 1030u}) {
    std::vector<float> values = numbers(count, 1), moved(count, 0.f);
    std::vector<double> v(values.begin(), values.end()), m(count, 0);
    for (uint32_t step = 1; step <= 5; ++step) {
      const std::vector<float> d = numbers(count, 10 + step);
      momentum_step({.factor = 0.5f, .rate = 0.1f, .decay = 0.2f, .momentum = 0.9f}, d.data(), values.data(),
                    moved.data(), count);
      for (size_t i = 0; i < count; ++i) {
        m[i] = 0.9 * m[i] + 0.5 * d[i];
        v[i] -= 0.1 * (m[i] + 0.2 * v[i]);
      }
    }
    for (size_t i = 0; i < count; ++i) EXPECT_NEAR(values[i], v[i], 1e-5) << count << " " << i;
  }
}

TEST(OptimizerKernels, SquaredLength) {
  for (const size_t count : {0u, 1u, 6u, 1023u, 5001u}) {
    const std::vector<float> d = numbers(count, 3);
    double sum = 0;
    for (const float v : d) sum += double{v} * v;
    EXPECT_NEAR(squared_length(d.data(), count), sum, 1e-5 * (1 + sum));
  }
}

}  // namespace
}  // namespace zp::kernels
