// Direct convolutions against plain loops, over numbers of channels and groups, kernels, strides, dilations
// and pads.

#include "kernels/direct.h"

#include <gtest/gtest.h>

#include <algorithm>
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

DirectGeometry geometry(int groups, int channels, int columns, int kernel = 3, int stride = 1,
                        int dilation = 1, int pad = 1) {
  DirectGeometry g;
  g.groups = groups;
  g.columns = columns;
  ConvGeometry& conv = g.conv;
  conv.batch = 2;
  conv.in_height = 6;
  conv.in_width = 9;
  conv.channels = channels;
  conv.pixel_stride = std::ptrdiff_t{groups} * channels;
  conv.kernel_height = conv.kernel_width = kernel;
  conv.stride_height = conv.stride_width = stride;
  conv.dilation_height = conv.dilation_width = dilation;
  conv.pad_top = conv.pad_left = pad;
  conv.out_height = (conv.in_height + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
  conv.out_width = (conv.in_width + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
  return g;
}

std::string text(const DirectGeometry& g) {
  std::string s;
  for (const int v : {g.groups, g.conv.channels, g.columns, g.conv.kernel_height, g.conv.stride_height,
                      g.conv.dilation_height, g.conv.pad_top, g.conv.out_height, g.conv.out_width}) {
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

std::size_t input_elements(const DirectGeometry& g) {
  return std::size_t(g.conv.batch) * g.conv.image_elements();
}
std::size_t weight_elements(const DirectGeometry& g) {
  return std::size_t(g.all_columns()) * g.conv.channels * g.conv.taps();
}

template <class Isa>
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

  auto storage = aligned_bytes(packed_direct_float_bytes(g));
  auto scratch = aligned_bytes(direct_float_scratch_bytes(g));
  const DirectWeights weights = pack_direct_float(w.data(), g, storage.data());
  std::vector<float> y(want.size(), 9);
  FloatGemmOutput out;
  out.data = y.data();
  out.rows = {stride};
  out.bias = bias.data();
  out.lo = -0.5F;
  const int lines = g.conv.batch * g.conv.out_height;
  direct_float<Isa>(x.data(), g, weights, out, 0, lines / 3, scratch.data());
  direct_float<Isa>(x.data(), g, weights, out, lines / 3, lines, scratch.data());
  for (std::size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(y[i], std::max(want[i], -0.5), 1e-4) << i;
}

struct Int8Case {
  bool a_signed;
  int zero_point;
  bool w_unsigned;
  bool w_zero_points;
  bool extreme;
};

template <class Isa>
void check_int8(const DirectGeometry& g, const Int8Case& how) {
  SCOPED_TRACE(std::string(Isa::kName) + " " + text(g));
  std::mt19937 random(2);
  std::vector<std::uint8_t> x(input_elements(g) + kReadSlack), w(weight_elements(g));
  std::vector<std::uint8_t> points(how.w_zero_points ? g.all_columns() : 0);
  for (auto& value : x) value = how.extreme ? (how.a_signed ? 0x80 : 0xff) : random();
  for (auto& value : w) value = how.extreme ? (how.w_unsigned ? 0xff : 0x80) : random();
  for (auto& value : points) value = random();
  std::vector<std::int32_t> bias(g.all_columns());
  std::vector<float> multipliers(g.all_columns());
  for (auto& value : bias) value = int(random() % 2000) - 1000;
  for (auto& value : multipliers) value = float(random() % 1000) * 1e-6F;

  const std::ptrdiff_t stride = g.all_columns() + 5;
  std::vector<std::int32_t> want(g.conv.rows() * stride, 77);
  for (int m = 0; m < g.conv.rows(); ++m) std::fill_n(want.begin() + m * stride, g.all_columns(), 0);
  for_each_product(g, [&](int m, int n, std::ptrdiff_t xi, int wi) {
    const int a = (how.a_signed ? std::int8_t(x[xi]) : x[xi]) - how.zero_point;
    const std::uint8_t p = points.empty() ? 0 : points[n];
    want[m * stride + n] += a * (how.w_unsigned ? w[wi] - p : std::int8_t(w[wi]) - std::int8_t(p));
  });

  const ConvInt8Source source{w.data(), how.w_unsigned, points.data(), static_cast<int>(points.size())};
  auto storage = aligned_bytes(packed_direct_int8_bytes(g));
  auto scratch = aligned_bytes(direct_int8_scratch_bytes(g));
  const DirectWeights weights = pack_direct_int8(source, g, storage.data());
  const Int8Input input{{x.data(), 0, nullptr}, how.a_signed, how.zero_point};
  const int lines = g.conv.batch * g.conv.out_height;

  std::vector<std::int32_t> y32(want.size(), 77);
  const Int32Output raw{y32.data(), {stride}};
  direct_int8<Isa>(input, g, weights, raw, 0, lines / 3, scratch.data());
  direct_int8<Isa>(input, g, weights, raw, lines / 3, lines, scratch.data());
  ASSERT_EQ(y32, want);

  std::vector<std::uint8_t> y8(want.size(), 77);
  QuantizedOutput quantized;
  quantized.data = y8.data();
  quantized.rows = {stride};
  quantized.range = {120, 120, 255};
  quantized.bias = bias.data();
  quantized.multipliers = multipliers.data();
  quantized.per_column = true;
  direct_int8<Isa>(input, g, weights, quantized, 0, lines, scratch.data());

  std::vector<float> yf(want.size(), 77);
  FloatOutput dequantized;
  dequantized.data = yf.data();
  dequantized.rows = {stride};
  dequantized.multipliers = multipliers.data();
  dequantized.per_column = true;
  direct_int8<Isa>(input, g, weights, dequantized, 0, lines, scratch.data());
  for (std::size_t i = 0; i < want.size(); ++i) {
    const int n = static_cast<int>(i % stride);
    const bool inside = n < g.all_columns();
    ASSERT_EQ(y8[i], inside ? requantize(want[i] + bias[n], multipliers[n], quantized.range) : 77) << i;
    ASSERT_EQ(yf[i], inside ? float(want[i]) * multipliers[n] : 77) << i;
  }
}

template <class Isa>
void check(const DirectGeometry& g) {
  check_float<Isa>(g);
  check_int8<Isa>(g, {false, 128, false, false, false});
  check_int8<Isa>(g, {true, -3, true, true, false});
  check_int8<Isa>(g, {false, 255, true, false, true});
  check_int8<Isa>(g, {true, 127, false, false, true});
}

void check_everywhere(const DirectGeometry& g) {
  check<Scalar>(g);
  check<Simd128>(g);
#if ZEROPOINT_HAS_RELAXED_KERNELS
  check<Relaxed>(g);
#endif
}

TEST(Direct, ChannelsAndGroups) {
  for (const int channels : {1, 2, 3, 4, 5, 8, 11}) {
    for (const int columns : {4, 8, 12, 20}) {
      for (const int groups : {1, 2, 3}) check_everywhere(geometry(groups, channels, columns));
    }
  }
}

TEST(Direct, KernelsStridesDilationsPads) {
  for (const int kernel : {1, 2, 3, 5}) {
    for (const int stride : {1, 2, 3}) {
      for (const int dilation : {1, 2}) {
        for (const int pad : {-1, 0, 1, 2, 4}) {
          if (6 + 2 * pad < (kernel - 1) * dilation + 1) continue;
          check_everywhere(geometry(1, 3, 8, kernel, stride, dilation, pad));
          check_everywhere(geometry(3, 4, 4, kernel, stride, dilation, pad));
        }
      }
    }
  }
}

TEST(Direct, IsForFewChannels) {
  const MachineReport saturating{RelaxedDot::kSaturating, true};
  const MachineReport exact{RelaxedDot::kUnsigned, true};
  EXPECT_TRUE(suits_direct_float(geometry(1, 3, 16)));
  EXPECT_TRUE(suits_direct_int8(geometry(1, 3, 16), exact));
  EXPECT_TRUE(suits_direct_int8(geometry(1, 24, 16), saturating));
  EXPECT_FALSE(suits_direct_int8(geometry(1, 24, 16), exact));  // products have a faster instruction
  EXPECT_FALSE(suits_direct_float(geometry(1, 3, 6)));          // no whole vectors of columns
  EXPECT_FALSE(suits_direct_float(geometry(1, 200, 16)));
  EXPECT_FALSE(suits_direct_float(geometry(4, 3, 16, 1, 1, 1, 0)));  // one tap shares no lines
  DirectGeometry flat = geometry(1, 3, 16);
  flat.conv.batch = flat.conv.out_height = 1;
  EXPECT_FALSE(suits_direct_float(flat));  // a line is made by one thread
  DirectGeometry wide = geometry(1, 3, 16);
  wide.conv.in_width = wide.conv.out_width = 1 << 24;
  EXPECT_FALSE(suits_direct_float(wide));  // lines leave the cache
}

}  // namespace
}  // namespace zp::kernels
