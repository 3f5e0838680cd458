// Depthwise convolutions against plain loops, over all channel remainders, strides, dilations and pads.

#include "kernels/depthwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

namespace zp::kernels {
namespace {

struct alignas(kAlignment) Block {
  std::byte bytes[kAlignment];
};
std::vector<Block> aligned_bytes(std::size_t bytes) { return std::vector<Block>(bytes / sizeof(Block) + 1); }

// out_height and out_width from the other pads.
ConvGeometry geometry(int batch, int channels, int height, int width, int kernel, int kernel_width,
                      int stride, int dilation, int pad_begin, int pad_end) {
  ConvGeometry g;
  g.batch = batch;
  g.in_height = height;
  g.in_width = width;
  g.channels = channels;
  g.pixel_stride = channels;
  g.kernel_height = kernel;
  g.kernel_width = kernel_width;
  g.stride_height = g.stride_width = stride;
  g.dilation_height = g.dilation_width = dilation;
  g.pad_top = g.pad_left = pad_begin;
  g.out_height = (height + pad_begin + pad_end - (kernel - 1) * dilation - 1) / stride + 1;
  g.out_width = (width + pad_begin + pad_end - (kernel_width - 1) * dilation - 1) / stride + 1;
  return g;
}

std::string text(const ConvGeometry& g) {
  std::string s;
  for (int v : {g.batch, g.channels, g.in_height, g.in_width, g.kernel_height, g.kernel_width,
                g.stride_height, g.dilation_height, g.pad_top, g.out_height, g.out_width}) {
    s += std::to_string(v) + " ";
  }
  return s;
}

template <class Visit>
void for_each_product(const ConvGeometry& g, const Visit& visit) {
  for (int m = 0; m < g.rows(); ++m) {
    const int x = m % g.out_width, y = m / g.out_width % g.out_height, b = m / g.out_width / g.out_height;
    for (int ky = 0; ky < g.kernel_height; ++ky) {
      for (int kx = 0; kx < g.kernel_width; ++kx) {
        const int iy = y * g.stride_height - g.pad_top + ky * g.dilation_height;
        const int ix = x * g.stride_width - g.pad_left + kx * g.dilation_width;
        if (iy < 0 || iy >= g.in_height || ix < 0 || ix >= g.in_width) continue;
        for (int c = 0; c < g.channels; ++c) {
          visit(m, c, ((b * g.in_height + iy) * g.in_width + ix) * g.channels + c,
                (c * g.kernel_height + ky) * g.kernel_width + kx);
        }
      }
    }
  }
}

template <class Isa>
void check_float(const ConvGeometry& g) {
  SCOPED_TRACE(std::string(Isa::kName) + " " + text(g));
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> x(std::size_t(g.batch) * g.in_height * g.in_width * g.channels +
                       kReadSlack / sizeof(float));
  std::vector<float> w(std::size_t(g.channels) * g.taps()), bias(g.channels);
  for (auto* v : {&x, &w, &bias}) {
    for (auto& value : *v) value = uniform(random);
  }
  const std::ptrdiff_t stride = g.channels + 3;
  std::vector<double> want(g.rows() * stride, 9);
  for (int m = 0; m < g.rows(); ++m) {
    for (int c = 0; c < g.channels; ++c) want[m * stride + c] = bias[c];
  }
  for_each_product(g, [&](int m, int c, int xi, int wi) { want[m * stride + c] += double(x[xi]) * w[wi]; });

  auto storage = aligned_bytes(packed_depthwise_float_bytes(g));
  const DepthwiseFloatWeights weights = pack_depthwise_float(w.data(), g, storage.data());
  std::vector<float> y(want.size(), 9);
  FloatGemmOutput out;
  out.data = y.data();
  out.rows = {stride};
  out.bias = bias.data();
  out.lo = -0.5F;
  const int lines = g.batch * g.out_height;
  depthwise_float<Isa>(x.data(), g, weights, out, 0, lines / 2);
  depthwise_float<Isa>(x.data(), g, weights, out, lines / 2, lines);
  for (std::size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(y[i], std::max(want[i], -0.5), 1e-4) << i;
}

template <class Isa>
void check_int8(const ConvGeometry& g, bool a_signed, int zero_point, bool w_unsigned, int w_zero_points,
                bool extreme) {
  SCOPED_TRACE(std::string(Isa::kName) + " " + text(g));
  std::mt19937 random(2);
  std::vector<std::uint8_t> x(std::size_t(g.batch) * g.in_height * g.in_width * g.channels + kReadSlack);
  std::vector<std::uint8_t> w(std::size_t(g.channels) * g.taps()), points;
  for (auto& value : x) value = extreme ? (a_signed ? 0x80 : 0xff) : random();
  for (auto& value : w) value = extreme ? (w_unsigned ? 0xff : 0x80) : random();
  points.resize(w_zero_points == 0 ? 0 : w_zero_points == 1 ? 1 : g.channels);
  for (auto& value : points) value = random();
  std::vector<std::int32_t> bias(g.channels);
  std::vector<float> multipliers(g.channels), float_bias(g.channels);
  for (auto& value : bias) value = int(random() % 2000) - 1000;
  for (auto& value : multipliers) value = float(random() % 1000) * 1e-6F;
  for (auto& value : float_bias) value = float(random() % 1000) * 1e-2F;

  const std::ptrdiff_t stride = g.channels + 5;
  std::vector<std::int32_t> want(g.rows() * stride, 77);
  for (int m = 0; m < g.rows(); ++m) std::fill_n(want.begin() + m * stride, g.channels, 0);
  for_each_product(g, [&](int m, int c, int xi, int wi) {
    const int a = (a_signed ? std::int8_t(x[xi]) : x[xi]) - zero_point;
    const std::uint8_t p = points.empty() ? 0 : points[points.size() == 1 ? 0 : c];
    want[m * stride + c] += a * (w_unsigned ? w[wi] - p : std::int8_t(w[wi]) - std::int8_t(p));
  });

  ConvInt8Source source{w.data(), w_unsigned, points.data(), static_cast<int>(points.size())};
  auto storage = aligned_bytes(packed_depthwise_int8_bytes(g));
  const DepthwiseInt8Weights weights = pack_depthwise_int8(source, g, storage.data());
  auto scratch = aligned_bytes(depthwise_int8_scratch_bytes(g));
  const Int8Input input{{x.data(), 0, nullptr}, a_signed, zero_point};
  const int lines = g.batch * g.out_height;

  std::vector<std::int32_t> y32(want.size(), 77);
  const Int32Output raw{y32.data(), {stride}};
  depthwise_int8<Isa>(input, g, weights, raw, 0, lines / 2, scratch.data());
  depthwise_int8<Isa>(input, g, weights, raw, lines / 2, lines, scratch.data());
  ASSERT_EQ(y32, want);

  std::vector<std::uint8_t> y8(want.size(), 77);
  QuantizedOutput quantized;
  quantized.data = y8.data();
  quantized.rows = {stride};
  quantized.is_signed = a_signed;
  quantized.range = a_signed ? QuantizedRange{3, -100, 127} : QuantizedRange{120, 120, 255};
  quantized.bias = bias.data();
  quantized.multipliers = multipliers.data();
  quantized.per_column = true;
  depthwise_int8<Isa>(input, g, weights, quantized, 0, lines, scratch.data());

  std::vector<float> yf(want.size(), 77);
  FloatOutput dequantized;
  dequantized.data = yf.data();
  dequantized.rows = {stride};
  dequantized.bias = float_bias.data();
  dequantized.multipliers = multipliers.data();
  dequantized.per_column = true;
  dequantized.multiplier_scale = 0.3F;
  depthwise_int8<Isa>(input, g, weights, dequantized, 0, lines, scratch.data());

  for (int m = 0; m < g.rows(); ++m) {
    for (int c = 0; c < stride; ++c) {
      std::uint8_t q = 77;
      float f = 77;
      if (c < g.channels) {
        const std::int32_t sum = want[m * stride + c];
        q = static_cast<std::uint8_t>(requantize(sum + bias[c], multipliers[c], quantized.range));
        const float product = static_cast<float>(sum) * (multipliers[c] * 0.3F);
        f = product + float_bias[c];
      }
      ASSERT_EQ(y8[m * stride + c], q) << m << " " << c;
      ASSERT_EQ(yf[m * stride + c], f) << m << " " << c;
    }
  }
}

void check_everywhere(const ConvGeometry& g) {
  check_float<Scalar>(g);
  check_float<Simd128>(g);
#if ZEROPOINT_HAS_RELAXED_KERNELS
  check_float<Relaxed>(g);
#endif
  for (int w_zero_points : {0, 1, 2}) {
    for (const bool a_signed : {false, true}) {
      check_int8<Scalar>(g, a_signed, a_signed ? -3 : 128, a_signed, w_zero_points, false);
      check_int8<Simd128>(g, a_signed, a_signed ? -3 : 128, a_signed, w_zero_points, false);
#if ZEROPOINT_HAS_RELAXED_KERNELS
      check_int8<Relaxed>(g, a_signed, a_signed ? -3 : 128, a_signed, w_zero_points, false);
#endif
    }
  }
  check_int8<Simd128>(g, true, 127, true, 0, true);
  check_int8<Simd128>(g, false, 0, false, 0, true);
}

TEST(Depthwise, AllChannelRemainders) {
  for (int channels = 1; channels <= 25; ++channels) {
    check_everywhere(geometry(1, channels, 5, 9, 3, 3, 1, 1, 1, 1));
  }
}

TEST(Depthwise, KernelsStridesDilationsPads) {
  for (int kernel : {1, 2, 3, 5, 7}) {
    for (int stride : {1, 2, 3}) {
      for (int dilation : {1, 2}) {
        for (int pad : {0, 1, 2, 4}) {
          if (11 + 2 * pad < (kernel - 1) * dilation + 1) continue;
          check_everywhere(geometry(2, 12, 11, 13, kernel, kernel, stride, dilation, pad, pad));
        }
      }
    }
  }
}

TEST(Depthwise, AsymmetricPadsAndKernels) {
  check_everywhere(geometry(1, 9, 8, 8, 3, 3, 2, 1, 0, 1));
  check_everywhere(geometry(1, 9, 8, 8, 3, 3, 2, 1, 1, 0));
  check_everywhere(geometry(1, 16, 1, 30, 1, 9, 1, 1, 0, 0));
  check_everywhere(geometry(2, 3, 6, 7, 4, 1, 1, 1, 3, 0));
}

TEST(Depthwise, KernelLargerThanTheInput) {
  check_everywhere(geometry(1, 10, 2, 2, 5, 5, 1, 1, 2, 2));
  check_everywhere(geometry(1, 10, 1, 3, 7, 7, 2, 1, 5, 5));
}

}  // namespace
}  // namespace zp::kernels
