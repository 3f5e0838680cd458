// Convolutions that go line by line, depthwise and direct ones, against plain loops. `Kernels` says what is
// called: packed_float_bytes, float_scratch_bytes, packed_int8_bytes and int8_scratch_bytes of a geometry,
// pack() of float and of 8-bit weights, and run<Isa>() of either. A depthwise convolution is one with a group
// for each channel.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "aligned.h"
#include "kernels/conv/direct.h"

namespace zp::kernels {

inline std::string text(const DirectGeometry& g) {
  std::string s;
  for (const int v : {g.conv.batch, g.groups, g.conv.channels, g.columns, g.conv.in_height, g.conv.in_width,
                      g.conv.kernel_height, g.conv.kernel_width, g.conv.stride_height, g.conv.dilation_height,
                      g.conv.pad_top, g.conv.out_height, g.conv.out_width}) {
    s += std::to_string(v) + " ";
  }
  return s;
}

// visit(output pixel, output channel, element of the input, element of the weights)
template <class Visit>
void for_each_product(const DirectGeometry& direct, const Visit& visit) {
  const ConvGeometry& g = direct.conv;
  for (int m = 0; m < g.rows(); ++m) {
    const int x = m % g.out_width, y = m / g.out_width % g.out_height, b = m / g.out_width / g.out_height;
    for (int n = 0; n < direct.all_columns(); ++n) {
      for (int c = 0; c < g.channels; ++c) {
        for (int ky = 0; ky < g.kernel_height; ++ky) {
          for (int kx = 0; kx < g.kernel_width; ++kx) {
            const int iy = y * g.stride_height - g.pad_top + ky * g.dilation_height;
            const int ix = x * g.stride_width - g.pad_left + kx * g.dilation_width;
            if (iy < 0 || iy >= g.in_height || ix < 0 || ix >= g.in_width) continue;
            const int channel = n / direct.columns * g.channels + c;
            visit(m, n, ((b * g.in_height + iy) * g.in_width + ix) * g.pixel_stride + channel,
                  ((n * g.channels + c) * g.kernel_height + ky) * g.kernel_width + kx);
          }
        }
      }
    }
  }
}

inline std::size_t input_elements(const DirectGeometry& g) {
  return std::size_t(g.conv.batch) * g.conv.image_elements();
}
inline std::size_t weight_elements(const DirectGeometry& g) {
  return std::size_t(g.all_columns()) * g.conv.channels * g.conv.taps();
}

// Parts that begin and end within an image, as those of threads do.
template <class Run>
void run_in_parts(int lines, const Run& run) {
  run(0, lines / 3);
  run(lines / 3, lines / 2);
  run(lines / 2, lines);
}

template <class Kernels, class Isa>
void check_float(const DirectGeometry& g) {
  SCOPED_TRACE(std::string(Isa::kName) + " " + text(g));
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> x(input_elements(g) + kReadSlack / sizeof(float)), w(weight_elements(g)),
      bias(g.all_columns());
  for (auto* v : {&x, &w, &bias}) {
    for (auto& value : *v) value = uniform(random);
  }
  const std::ptrdiff_t stride = g.all_columns() + 3;
  std::vector<double> want(g.conv.rows() * stride, 9);
  for (int m = 0; m < g.conv.rows(); ++m) {
    for (int n = 0; n < g.all_columns(); ++n) want[m * stride + n] = bias[n];
  }
  for_each_product(
      g, [&](int m, int n, std::ptrdiff_t xi, int wi) { want[m * stride + n] += double(x[xi]) * w[wi]; });

  auto storage = aligned_bytes(Kernels::packed_float_bytes(g));
  auto scratch = aligned_bytes(Kernels::float_scratch_bytes(g));
  const auto weights = Kernels::pack(w.data(), g, storage.data());
  std::vector<float> y(want.size(), 9);
  FloatGemmOutput out;
  out.data = y.data();
  out.rows = {stride};
  out.bias = bias.data();
  out.lo = -0.5F;
  const int lines = g.conv.batch * g.conv.out_height;
  run_in_parts(lines, [&](int begin, int end) {
    Kernels::template run<Isa>(x.data(), g, weights, out, begin, end, scratch.data());
  });
  for (std::size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(y[i], std::max(want[i], -0.5), 1e-4) << i;
}

template <class Kernels, class Isa>
void check_int8(const DirectGeometry& g, bool a_signed, int zero_point, bool w_unsigned, int w_zero_points,
                bool extreme) {
  SCOPED_TRACE(std::string(Isa::kName) + " " + text(g));
  std::mt19937 random(2);
  std::vector<std::uint8_t> x(input_elements(g) + kReadSlack);
  std::vector<std::uint8_t> w(weight_elements(g)), points;
  for (auto& value : x) value = extreme ? (a_signed ? 0x80 : 0xff) : random();
  for (auto& value : w) value = extreme ? (w_unsigned ? 0xff : 0x80) : random();
  points.resize(w_zero_points == 0 ? 0 : w_zero_points == 1 ? 1 : g.all_columns());
  for (auto& value : points) value = random();
  std::vector<std::int32_t> bias(g.all_columns());
  std::vector<float> multipliers(g.all_columns()), float_bias(g.all_columns());
  for (auto& value : bias) value = int(random() % 2000) - 1000;
  for (auto& value : multipliers) value = float(random() % 1000) * 1e-6F;
  for (auto& value : float_bias) value = float(random() % 1000) * 1e-2F;

  const std::ptrdiff_t stride = g.all_columns() + 5;
  std::vector<std::int32_t> want(g.conv.rows() * stride, 77);
  for (int m = 0; m < g.conv.rows(); ++m) std::fill_n(want.begin() + m * stride, g.all_columns(), 0);
  for_each_product(g, [&](int m, int c, std::ptrdiff_t xi, int wi) {
    const int a = (a_signed ? std::int8_t(x[xi]) : x[xi]) - zero_point;
    const std::uint8_t p = points.empty() ? 0 : points[points.size() == 1 ? 0 : c];
    want[m * stride + c] += a * (w_unsigned ? w[wi] - p : std::int8_t(w[wi]) - std::int8_t(p));
  });

  const ConvInt8Source source{w.data(), w_unsigned, points.data(), static_cast<int>(points.size())};
  auto storage = aligned_bytes(Kernels::packed_int8_bytes(g));
  const auto weights = Kernels::pack(source, g, storage.data());
  auto scratch = aligned_bytes(Kernels::int8_scratch_bytes(g));
  const Int8Input input{{x.data(), 0, nullptr}, a_signed, zero_point};
  const int lines = g.conv.batch * g.conv.out_height;

  std::vector<std::int32_t> y32(want.size(), 77);
  const Int32Output raw{y32.data(), {stride}};
  run_in_parts(lines, [&](int begin, int end) {
    Kernels::template run<Isa>(input, g, weights, raw, begin, end, scratch.data());
  });
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
  Kernels::template run<Isa>(input, g, weights, quantized, 0, lines, scratch.data());

  std::vector<float> yf(want.size(), 77);
  FloatOutput dequantized;
  dequantized.data = yf.data();
  dequantized.rows = {stride};
  dequantized.bias = float_bias.data();
  dequantized.multipliers = multipliers.data();
  dequantized.per_column = true;
  dequantized.multiplier_scale = 0.3F;
  Kernels::template run<Isa>(input, g, weights, dequantized, 0, lines, scratch.data());

  for (int m = 0; m < g.conv.rows(); ++m) {
    for (int c = 0; c < stride; ++c) {
      std::uint8_t q = 77;
      float f = 77;
      if (c < g.all_columns()) {
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

}  // namespace zp::kernels
