// Products with weights of 8, 4 and 2 bits against plain loops over the dequantized weights.

#include "kernels/gemm/weight_only.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "aligned.h"

namespace zp::kernels {
namespace {

struct Case {
  int rows, columns, depth, bits, block_size;
  bool is_signed = false;
  int zero_points = 0;      // 0: none given, 1: all equal, 2: each its own
  bool k_is_outer = false;  // codes stand as [K][N], scales as [blocks][N]
  int stride_extra = 0;
};

template <class Isa>
void check(const Case& c) {
  SCOPED_TRACE(std::string(Isa::kName) + " M=" + std::to_string(c.rows) + " N=" + std::to_string(c.columns) +
               " K=" + std::to_string(c.depth) + " bits=" + std::to_string(c.bits) +
               " block=" + std::to_string(c.block_size) + " signed=" + std::to_string(c.is_signed) +
               " zero points=" + std::to_string(c.zero_points));
  std::mt19937 random(c.rows + c.columns * 7 + c.depth * 31 + c.bits);
  std::uniform_real_distribution<float> uniform(-1, 1);
  const std::ptrdiff_t a_stride = c.depth + c.stride_extra;
  std::vector<float> a(a_stride * c.rows + kReadSlack / sizeof(float));
  for (auto& x : a) x = uniform(random) * (random() % 8 == 0 ? 10.0F : 1.0F);

  const int blocks = (c.depth + c.block_size - 1) / c.block_size;
  BlockWeightSource source;
  source.bits = c.bits;
  source.is_signed = c.is_signed;
  source.columns = c.columns;
  source.depth = c.depth;
  source.block_size = c.block_size;
  source.column_stride = c.k_is_outer ? 1 : blocks * c.block_size;
  source.depth_stride = c.k_is_outer ? c.columns : 1;
  source.scale_column_stride = c.k_is_outer ? 1 : blocks;
  source.scale_block_stride = c.k_is_outer ? c.columns : 1;
  std::vector<std::uint8_t> codes(std::size_t(c.columns) * blocks * c.block_size * c.bits / 8 + 1);
  std::vector<float> scales(std::size_t(c.columns) * blocks);
  std::vector<std::uint8_t> points(scales.size());
  for (auto& x : codes) x = random();
  for (auto& x : scales) x = uniform(random) * 0.1F;
  const int low = c.is_signed ? -(1 << (c.bits - 1)) : 0;
  for (auto& x : points) {
    x = static_cast<std::uint8_t>(c.zero_points == 1 ? low + 3 : low + int(random() % (1U << c.bits)));
  }
  source.codes = codes.data();
  source.scales = scales.data();
  if (c.zero_points != 0) source.zero_points = points.data();

  std::vector<double> w(std::size_t(c.columns) * c.depth);
  for (int n = 0; n < c.columns; ++n) {
    for (int k = 0; k < c.depth; ++k) {
      const std::size_t bit = (n * source.column_stride + k * source.depth_stride) * c.bits;
      int code = codes[bit / 8] >> (bit % 8) & ((1 << c.bits) - 1);
      if (c.is_signed && code >= 1 << (c.bits - 1)) code -= 1 << c.bits;
      const std::size_t term = n * source.scale_column_stride + k / c.block_size * source.scale_block_stride;
      int point = c.is_signed ? 0 : 1 << (c.bits - 1);
      if (c.zero_points != 0) point = c.is_signed ? std::int8_t(points[term]) : points[term];
      w[std::size_t(n) * c.depth + k] = double(code - point) * scales[term];
    }
  }

  auto storage = aligned_bytes(packed_block_weights_bytes(source));
  const BlockWeights weights = pack_block_weights(source, storage.data());
  auto scratch = aligned_bytes(weight_only_gemm_scratch_bytes(weights));
  std::vector<float> bias(c.columns);
  for (auto& x : bias) x = uniform(random);
  const std::ptrdiff_t stride = c.columns + 1;
  std::vector<float> y(c.rows * stride, 7);
  FloatGemmOutput out;
  out.data = y.data();
  out.rows = {stride};
  out.bias = bias.data();
  out.hi = 1.5F;
  const int cut = c.columns / 2 / kColumnTile * kColumnTile;
  weight_only_gemm<Isa>({a.data(), a_stride, nullptr}, weights, out, {0, c.rows, 0, cut}, scratch.data());
  weight_only_gemm<Isa>({a.data(), a_stride, nullptr}, weights, out, {0, c.rows, cut, c.columns},
                        scratch.data());
  for (int m = 0; m < c.rows; ++m) {
    for (int n = 0; n < stride; ++n) {
      double want = 7, tolerance = 0;
      if (n < c.columns) {
        want = bias[n];
        for (int k = 0; k < c.depth; ++k) {
          const double product = a[m * a_stride + k] * w[std::size_t(n) * c.depth + k];
          want += product;
          // Each addition rounds to 24 bits; few rows round their activations to 16 bits of the largest,
          // below 10.
          tolerance += std::abs(product) * c.depth * 0x1p-24;
          if (c.rows < kFewRows) tolerance += std::abs(w[std::size_t(n) * c.depth + k]) * 10 * 0x1p-16 * 1.01;
        }
        tolerance += 1e-5;
        want = std::min(want, 1.5);
      }
      ASSERT_NEAR(y[m * stride + n], want, tolerance) << "m=" << m << " n=" << n;
    }
  }
}

void check_everywhere(const Case& c) {
  AllIsas::for_each([&]<class Isa>(Isa) { check<Isa>(c); });
}

TEST(WeightOnly, EveryWidthSignAndZeroPoint) {
  for (int bits : {8, 4, 2}) {
    for (const bool is_signed : {false, true}) {
      for (int zero_points : {0, 1, 2}) {
        for (int rows : {1, 5, 12}) check_everywhere({rows, 19, 96, bits, 32, is_signed, zero_points});
      }
    }
  }
}

TEST(WeightOnly, BlocksOfEverySize) {
  for (int bits : {8, 4}) {
    for (int block : {16, 32, 48, 64, 128, 256, 1024}) {
      for (int depth : {1, 15, 16, 31, 100, 256, 300, 1100}) {
        for (int rows : {1, 13}) check_everywhere({rows, 9, depth, bits, block, true, 2});
      }
    }
  }
}

TEST(WeightOnly, AllColumnRemaindersAndBothOrders) {
  for (int columns = 1; columns <= 17; ++columns) {
    for (const bool outer : {false, true}) {
      for (int rows : {1, 11, 14}) check_everywhere({rows, columns, 64, 4, 32, false, 2, outer, 3});
    }
  }
}

TEST(WeightOnly, MoreThanOneBlockOfRows) { check_everywhere({100, 10, 600, 4, 128, false, 2}); }

TEST(WeightOnly, ActivationsOfZeroAndOfEverySize) {
  for (float size : {0.0F, 1e-38F, 1e-20F, 1.0F, 1e30F}) {
    const std::vector<std::uint8_t> codes(32 * 8 / 2, 0x99);  // 9 - 8 = 1
    const std::vector<float> scales(8, 1.0F);
    BlockWeightSource source;
    source.codes = codes.data();
    source.columns = 8;
    source.depth = 32;
    source.column_stride = 32;
    source.scales = scales.data();
    auto storage = aligned_bytes(packed_block_weights_bytes(source));
    const BlockWeights weights = pack_block_weights(source, storage.data());
    auto scratch = aligned_bytes(weight_only_gemm_scratch_bytes(weights));
    const std::vector<float> a(32, size);
    std::vector<float> y(8);
    FloatGemmOutput out;
    out.data = y.data();
    out.rows = {8};
    weight_only_gemm({a.data(), 32, nullptr}, weights, out, {0, 1, 0, 8}, scratch.data());
    for (float value : y) EXPECT_NEAR(value, 32 * size, 32 * size * 1e-4 + 1e-30);
  }
}

}  // namespace
}  // namespace zp::kernels
