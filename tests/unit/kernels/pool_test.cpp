#include "kernels/reduction/pool.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

namespace zp::kernels {
namespace {

template <class T>
std::vector<T> random_values(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<T> v(static_cast<size_t>(count) + 64 / sizeof(T));  // kernels read a little further
  for (T& x : v)
    x = static_cast<T>(static_cast<int>(random() % 256) - (std::is_same_v<T, uint8_t> ? 0 : 128));
  return v;
}

int64_t in_elements(const PoolGeometry& g) { return g.batch * g.in[0] * g.in[1] * g.in[2] * g.channels; }

// Calls f(input element) for the taps of an output pixel and channel that are inside; gives the number of
// taps that a mean counts.
template <class F>
int64_t for_each_tap(const PoolGeometry& g, int64_t pixel, int64_t channel, F&& f) {
  int64_t o[3], rest = pixel, counted = 0;
  for (size_t d = 3; d-- > 0; rest /= g.out[d]) o[d] = rest % g.out[d];
  for (int64_t a = 0; a < g.kernel[0]; ++a) {
    for (int64_t b = 0; b < g.kernel[1]; ++b) {
      for (int64_t c = 0; c < g.kernel[2]; ++c) {
        const int64_t k[3] = {a, b, c};
        int64_t at = rest;
        bool inside = true, in_pads = true;
        for (size_t d = 0; d < 3; ++d) {
          const int64_t p = o[d] * g.stride[d] - g.pad_begin[d] + k[d] * g.dilation[d];
          inside = inside && p >= 0 && p < g.in[d];
          in_pads = in_pads && p < g.in[d] + g.pad_end[d];
          at = at * g.in[d] + p;
        }
        if (inside) f(at * g.channels + channel);
        counted += inside || (g.count_pads && in_pads);
      }
    }
  }
  return counted;
}

std::vector<PoolGeometry> geometries() {
  PoolGeometry plain{.batch = 2,
                     .channels = 21,
                     .in = {1, 7, 9},
                     .out = {1, 3, 4},
                     .kernel = {1, 3, 3},
                     .stride = {1, 2, 2}};
  PoolGeometry padded = plain;
  padded.pad_begin = {0, 1, 1};
  padded.pad_end = {0, 1, 1};
  padded.out = {1, 4, 5};
  PoolGeometry counted = padded;
  counted.count_pads = true;
  PoolGeometry ceiled = counted;  // the last windows hang over the pads
  ceiled.in = {1, 8, 10};
  ceiled.out = {1, 5, 6};
  PoolGeometry dilated = plain;
  dilated.dilation = {1, 2, 3};
  dilated.stride = {1, 1, 1};
  dilated.out = {1, 3, 3};
  dilated.channels = 64;
  PoolGeometry line{.batch = 1, .channels = 5, .in = {1, 1, 300}, .out = {1, 1, 1}, .kernel = {1, 1, 300}};
  PoolGeometry volume{.batch = 1, .channels = 34, .in = {3, 4, 5}, .out = {2, 2, 2}, .kernel = {2, 3, 4}};
  PoolGeometry single{
      .batch = 3, .channels = 1, .in = {1, 6, 6}, .out = {1, 3, 3}, .kernel = {1, 2, 2}, .stride = {1, 2, 2}};
  return {plain, padded, counted, ceiled, dilated, line, volume, single};
}

PoolRange all(const PoolGeometry& g) { return {0, g.pixels(), 0, g.channels}; }

template <class Isa, class T>
void check_max(const PoolGeometry& g) {
  const std::vector<T> in = random_values<T>(in_elements(g), 1);
  std::vector<T> out(static_cast<size_t>(g.pixels() * g.channels), T{99});
  max_pool<Isa>(in.data(), out.data(), g, all(g));
  for (int64_t p = 0; p < g.pixels(); ++p) {
    for (int64_t c = 0; c < g.channels; ++c) {
      T best = std::numeric_limits<T>::lowest();
      for_each_tap(g, p, c, [&](int64_t i) { best = std::max(best, in[static_cast<size_t>(i)]); });
      ASSERT_EQ(out[static_cast<size_t>(p * g.channels + c)], best)
          << Isa::kName << " pixel " << p << " channel " << c;
    }
  }
}

TEST(Pool, MaximumIsTheLargestTapInsideTheInput) {
  for (const PoolGeometry& g : geometries()) {
    AllIsas::for_each([&]<class Isa>(Isa) { check_max<Isa, float>(g); });
    AllIsas::for_each([&]<class Isa>(Isa) { check_max<Isa, uint8_t>(g); });
    AllIsas::for_each([&]<class Isa>(Isa) { check_max<Isa, int8_t>(g); });
  }
}

TEST(Pool, AWindowOfPadsAloneGivesTheLowestValue) {
  const PoolGeometry g{
      .channels = 2, .in = {1, 1, 1}, .out = {1, 1, 3}, .pad_begin = {0, 0, 1}, .pad_end = {0, 0, 1}};
  const std::vector<float> in = random_values<float>(2, 3);
  std::vector<float> out(6);
  max_pool<Simd128>(in.data(), out.data(), g, all(g));
  EXPECT_EQ(out[0], -std::numeric_limits<float>::infinity());
  EXPECT_EQ(out[2], in[0]);
  const std::vector<int8_t> bytes(66, 5);
  std::vector<int8_t> small(6);
  max_pool<Scalar>(bytes.data(), small.data(), g, all(g));
  EXPECT_EQ(small[5], -128);
}

template <class Isa, class In, class Out>
void mean_of(const std::vector<In>& in, std::vector<Out>& out, const PoolGeometry& g,
             const PoolQuantization& q, const PoolRange& range) {
  average_pool_quantized<Isa>(in.data(), dtype_of<In>(), out.data(), dtype_of<Out>(), g, q, range);
}

TEST(Pool, MeanOfFloatsIsTheSameInEveryInstructionSet) {
  for (const PoolGeometry& g : geometries()) {
    const std::vector<float> in = random_values<float>(in_elements(g), 5);
    std::vector<float> scalar(static_cast<size_t>(g.pixels() * g.channels)), vector = scalar;
    average_pool<Scalar>(in.data(), scalar.data(), g, all(g));
    average_pool<Simd128>(in.data(), vector.data(), g, all(g));
    ASSERT_EQ(scalar, vector);
    for (int64_t p = 0; p < g.pixels(); ++p) {
      for (int64_t c = 0; c < g.channels; ++c) {
        double sum = 0;
        const int64_t count =
            for_each_tap(g, p, c, [&](int64_t i) { sum += static_cast<double>(in[static_cast<size_t>(i)]); });
        ASSERT_NEAR(static_cast<double>(scalar[static_cast<size_t>(p * g.channels + c)]),
                    sum / static_cast<double>(count), 1e-4);
      }
    }
  }
}

template <class In, class Out>
void check_quantized(const PoolGeometry& g, const PoolQuantization& q) {
  const std::vector<In> in = random_values<In>(in_elements(g), 7);
  std::vector<Out> scalar(static_cast<size_t>(g.pixels() * g.channels)), vector = scalar;
  mean_of<Scalar>(in, scalar, g, q, all(g));
  mean_of<Simd128>(in, vector, g, q, all(g));
  ASSERT_EQ(scalar, vector);
  for (int64_t p = 0; p < g.pixels(); ++p) {
    for (int64_t c = 0; c < g.channels; ++c) {
      int64_t sum = 0;
      const int64_t count =
          for_each_tap(g, p, c, [&](int64_t i) { sum += in[static_cast<size_t>(i)] - q.in_zero_point; });
      const double real =
          static_cast<double>(sum) * static_cast<double>(q.in_scale) / static_cast<double>(count);
      const auto got = static_cast<double>(scalar[static_cast<size_t>(p * g.channels + c)]);
      if (std::is_same_v<Out, float>) {
        ASSERT_NEAR(got, real, 1e-5 * (1 + std::fabs(real)));
      } else {
        const double want =
            std::clamp(std::nearbyint(real / static_cast<double>(q.out_scale)) + q.output.zero_point,
                       static_cast<double>(q.output.lo), static_cast<double>(q.output.hi));
        ASSERT_NEAR(got, want, 1) << "only a value between two integers may go the other way";
      }
    }
  }
}

TEST(Pool, MeanOfIntegersHasTheSameBitsInEveryInstructionSet) {
  for (const PoolGeometry& g : geometries()) {
    check_quantized<uint8_t, uint8_t>(g, {0.02F, 117, 0.011F, {3, 0, 255}});
    check_quantized<uint8_t, int8_t>(g, {0.02F, 0, 0.03F, {-5, -128, 127}});
    check_quantized<int8_t, int8_t>(g, {0.5F, -7, 0.4F, {9, -128, 127}});
    check_quantized<int8_t, uint8_t>(g, {0.5F, 0, 0.2F, {128, 0, 255}});
    check_quantized<uint8_t, float>(g, {0.02F, 117, 1, {}});
    check_quantized<int8_t, float>(g, {0.02F, -3, 1, {}});
  }
}

TEST(Pool, HalvesGoToTheEvenInteger) {
  // Means of 0.5, 1.5, 2.5 and 3.5 with equal scales.
  const PoolGeometry g{.channels = 4, .in = {1, 1, 2}, .out = {1, 1, 1}, .kernel = {1, 1, 2}};
  std::vector<uint8_t> in(72, 0);
  const uint8_t taps[] = {0, 1, 2, 3, 1, 2, 3, 4};
  std::copy(std::begin(taps), std::end(taps), in.begin());
  std::vector<uint8_t> out(4);
  const PoolQuantization q{1, 0, 1, {0, 0, 255}};
  mean_of<Scalar>(in, out, g, q, all(g));
  EXPECT_EQ(out, (std::vector<uint8_t>{0, 2, 2, 4}));
  mean_of<Simd128>(in, out, g, q, all(g));
  EXPECT_EQ(out, (std::vector<uint8_t>{0, 2, 2, 4}));
}

TEST(Pool, RangesMakeTheirOwnPartOnly) {
  const PoolGeometry g = geometries()[1];
  const std::vector<float> in = random_values<float>(in_elements(g), 9);
  std::vector<float> whole(static_cast<size_t>(g.pixels() * g.channels)), parts(whole.size(), 1e9F);
  average_pool<Simd128>(in.data(), whole.data(), g, all(g));
  for (int64_t pixel = g.pixels(); pixel-- > 0;)
    for (int64_t c = 0; c < g.channels; c += 5)
      average_pool<Simd128>(in.data(), parts.data(), g, {pixel, pixel + 1, c, std::min(c + 5, g.channels)});
  EXPECT_EQ(whole, parts);
}

TEST(Pool, IndicesCountWithinEachImage) {
  PoolGeometry g{.batch = 2, .channels = 1, .in = {1, 2, 3}, .out = {1, 1, 2}, .kernel = {1, 2, 2}};
  const std::vector<float> in{1, 5, 2, 5, 0, 3, /* second image */ 0, 0, 9, 8, 0, 0};
  std::vector<float> out(4);
  std::vector<int64_t> indices(4);
  max_pool_indices(in.data(), out.data(), indices.data(), false, g, all(g));
  EXPECT_EQ(out, (std::vector<float>{5, 5, 8, 9}));
  EXPECT_EQ(indices, (std::vector<int64_t>{1, 1, 9, 8}));
  max_pool_indices(in.data(), out.data(), indices.data(), true, g, all(g));
  EXPECT_EQ(indices, (std::vector<int64_t>{2, 2, 7, 10}));
}

}  // namespace
}  // namespace zp::kernels
