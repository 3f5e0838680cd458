// Convolutions through the matrix products, against the sum that ONNX writes down, computed over NHWC and
// OIHW.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "aligned.h"
#include "kernels/conv/geometry.h"
#include "kernels/gemm/float.h"
#include "kernels/gemm/int8.h"

namespace zp::kernels {
namespace {

struct ConvCase {
  int batch = 1, groups = 1, channels = 1, columns = 1;  // per group
  int in_height = 1, in_width = 1, kernel_height = 1, kernel_width = 1;
  int stride_height = 1, stride_width = 1, dilation_height = 1, dilation_width = 1;
  int pad_top = 0, pad_left = 0, pad_bottom = 0, pad_right = 0;
  int output_pad_height = 0, output_pad_width = 0;  // of the transposed convolution

  std::string text() const {
    std::string s;
    for (int v :
         {batch, groups, channels, columns, in_height, in_width, kernel_height, kernel_width, stride_height,
          stride_width, dilation_height, dilation_width, pad_top, pad_left, pad_bottom, pad_right}) {
      s += std::to_string(v) + " ";
    }
    return s;
  }
  int out_height() const {
    return (in_height + pad_top + pad_bottom - (kernel_height - 1) * dilation_height - 1) / stride_height + 1;
  }
  int out_width() const {
    return (in_width + pad_left + pad_right - (kernel_width - 1) * dilation_width - 1) / stride_width + 1;
  }
  int transposed_height() const {
    return (in_height - 1) * stride_height + (kernel_height - 1) * dilation_height + 1 - pad_top -
           pad_bottom + output_pad_height;
  }
  int transposed_width() const {
    return (in_width - 1) * stride_width + (kernel_width - 1) * dilation_width + 1 - pad_left - pad_right +
           output_pad_width;
  }
  ConvGeometry geometry() const {
    ConvGeometry g;
    set_window(g, out_height(), out_width());
    return g;
  }
  TransposedConvGeometry transposed() const {
    TransposedConvGeometry g;
    set_window(g, transposed_height(), transposed_width());
    g.out_pixel_stride = std::ptrdiff_t{columns} * groups;
    return g;
  }
  void set_window(ConvWindow& w, int height, int width) const {
    w.batch = batch;
    w.in_height = in_height;
    w.in_width = in_width;
    w.channels = channels;
    w.pixel_stride = std::ptrdiff_t{channels} * groups;
    w.kernel_height = kernel_height;
    w.kernel_width = kernel_width;
    w.stride_height = stride_height;
    w.stride_width = stride_width;
    w.dilation_height = dilation_height;
    w.dilation_width = dilation_width;
    w.pad_top = pad_top;
    w.pad_left = pad_left;
    w.out_height = height;
    w.out_width = width;
  }
};

template <class T>
struct Operands {
  std::vector<T> x;  // [batch][height][width][groups * channels], with slack
  std::vector<T>
      w;  // Conv: [groups * columns][channels][h][w]; ConvTranspose: [groups * channels][columns][h][w]

  Operands(const ConvCase& c, unsigned seed) {
    std::mt19937 random(seed);
    x.resize(std::size_t(c.batch) * c.in_height * c.in_width * c.groups * c.channels +
             kReadSlack / sizeof(T));
    w.resize(std::size_t(c.groups) * c.columns * c.channels * c.kernel_height * c.kernel_width);
    for (auto* v : {&x, &w}) {
      for (auto& value : *v) {
        if constexpr (std::is_same_v<T, float>) {
          value = std::uniform_real_distribution<float>(-1, 1)(random);
        } else {
          value = static_cast<T>(random());
        }
      }
    }
  }
};

// Calls visit(output pixel, group, column n, x index, w index) for all products of a convolution.
template <class Visit>
void for_each_product(const ConvCase& c, bool transposed, const Visit& visit) {
  const int out_height = transposed ? c.transposed_height() : c.out_height();
  const int out_width = transposed ? c.transposed_width() : c.out_width();
  for (int b = 0; b < c.batch; ++b) {
    // For both: `small` is the side that is stepped by one, `large` = small * stride - pad + tap * dilation.
    const int small_height = transposed ? c.in_height : out_height,
              small_width = transposed ? c.in_width : out_width;
    const int large_height = transposed ? out_height : c.in_height,
              large_width = transposed ? out_width : c.in_width;
    for (int sy = 0; sy < small_height; ++sy) {
      for (int sx = 0; sx < small_width; ++sx) {
        for (int ky = 0; ky < c.kernel_height; ++ky) {
          for (int kx = 0; kx < c.kernel_width; ++kx) {
            const int ly = sy * c.stride_height - c.pad_top + ky * c.dilation_height;
            const int lx = sx * c.stride_width - c.pad_left + kx * c.dilation_width;
            if (ly < 0 || ly >= large_height || lx < 0 || lx >= large_width) continue;
            const int in_pixel =
                (b * c.in_height + (transposed ? sy : ly)) * c.in_width + (transposed ? sx : lx);
            const int out_pixel =
                (b * out_height + (transposed ? ly : sy)) * out_width + (transposed ? lx : sx);
            for (int g = 0; g < c.groups; ++g) {
              for (int n = 0; n < c.columns; ++n) {
                for (int ch = 0; ch < c.channels; ++ch) {
                  const int outer = transposed ? g * c.channels + ch : g * c.columns + n;
                  const int inner = transposed ? n : ch;
                  const int inner_size = transposed ? c.columns : c.channels;
                  const int w = ((outer * inner_size + inner) * c.kernel_height + ky) * c.kernel_width + kx;
                  visit(out_pixel, g, n, (in_pixel * c.groups + g) * c.channels + ch, w);
                }
              }
            }
          }
        }
      }
    }
  }
}

// One product to run: a group of a convolution, or a phase of a group of a transposed one.
struct Part {
  int group = 0;
  ConvGeometry conv;
  WeightLayout layout;
  std::ptrdiff_t first_weight = 0;
  RowLayout rows;
  std::ptrdiff_t first_output = 0;
};

std::vector<Part> parts_of(const ConvCase& c, bool transposed) {
  std::vector<Part> parts;
  const int kernel = c.kernel_height * c.kernel_width;
  for (int g = 0; g < c.groups; ++g) {
    const std::ptrdiff_t group_weights = std::ptrdiff_t{g} * c.columns * c.channels * kernel;
    if (!transposed) {
      parts.push_back({g,
                       c.geometry(),
                       WeightLayout::conv(c.columns, c.channels, c.kernel_height, c.kernel_width),
                       group_weights,
                       {std::ptrdiff_t{c.groups} * c.columns},
                       0});
      continue;
    }
    const TransposedConvGeometry geometry = c.transposed();
    for (int i = 0; i < geometry.phases(); ++i) {
      const TransposedConvPhase phase = transposed_conv_phase(geometry, i);
      parts.push_back({g, phase.conv, WeightLayout::transposed_conv(geometry, c.columns, phase),
                       group_weights + WeightLayout::phase_offset(geometry, phase), phase.rows,
                       phase.first_output});
    }
  }
  return parts;
}

template <class Isa>
void check_float(const ConvCase& c, bool transposed) {
  SCOPED_TRACE(std::string(Isa::kName) + (transposed ? " transposed " : " ") + c.text());
  const Operands<float> o(c, 3);
  const int out_pixels =
      c.batch * (transposed ? c.transposed_height() * c.transposed_width() : c.out_height() * c.out_width());
  const int out_channels = c.groups * c.columns;
  std::vector<float> bias(c.columns);
  for (int n = 0; n < c.columns; ++n) bias[n] = float(n) * 0.5F;
  std::vector<double> want(std::size_t(out_pixels) * out_channels);
  for (std::size_t i = 0; i < want.size(); ++i) want[i] = bias[i % out_channels % c.columns];
  for_each_product(c, transposed, [&](int pixel, int g, int n, int x, int w) {
    want[pixel * out_channels + g * c.columns + n] += double(o.x[x]) * o.w[w];
  });
  std::vector<float> y(want.size(), std::nanf(""));
  for (const Part& part : parts_of(c, transposed)) {
    auto storage = aligned_bytes(packed_float_weights_bytes(part.layout));
    const FloatWeights weights =
        pack_float_weights(o.w.data() + part.first_weight, part.layout, storage.data());
    const GemmInput<float> input{o.x.data() + part.group * c.channels, 0, &part.conv};
    auto scratch = aligned_bytes(float_gemm_scratch_bytes(input, weights));
    FloatGemmOutput out;
    out.data = y.data() + part.first_output + part.group * c.columns;
    out.rows = part.rows;
    out.bias = bias.data();
    float_gemm<Isa>(input, weights, out, {0, part.conv.rows(), 0, c.columns}, scratch.data());
  }
  for (std::size_t i = 0; i < want.size(); ++i) ASSERT_NEAR(y[i], want[i], 1e-4) << i;
}

template <class Isa>
void check_int8(const ConvCase& c, bool transposed, bool is_signed, int zero_point,
                const MachineReport& machine) {
  SCOPED_TRACE(std::string(Isa::kName) + (transposed ? " transposed " : " ") + c.text());
  const Operands<std::uint8_t> o(c, 5);
  const int out_pixels =
      c.batch * (transposed ? c.transposed_height() * c.transposed_width() : c.out_height() * c.out_width());
  const int out_channels = c.groups * c.columns;
  std::vector<std::int32_t> want(std::size_t(out_pixels) * out_channels);
  for_each_product(c, transposed, [&](int pixel, int g, int n, int x, int w) {
    const int a = (is_signed ? std::int8_t(o.x[x]) : o.x[x]) - zero_point;
    want[pixel * out_channels + g * c.columns + n] += a * std::int8_t(o.w[w]);
  });
  std::vector<std::int32_t> y(want.size(), 0x5a5a5a5a);
  for (const Part& part : parts_of(c, transposed)) {
    Int8WeightSource source;
    source.data = o.w.data() + part.first_weight;
    source.layout = part.layout;
    auto storage = aligned_bytes(packed_int8_weights_bytes(part.layout));
    const Int8Weights weights = pack_int8_weights<Isa>(source, storage.data(), machine);
    const Int8Input input{{o.x.data() + part.group * c.channels, 0, &part.conv}, is_signed, zero_point};
    auto scratch = aligned_bytes(int8_gemm_scratch_bytes(weights));
    const Int32Output out{y.data() + part.first_output + part.group * c.columns, part.rows};
    const int cut = part.conv.rows() / 3;
    int8_gemm<Isa>(input, weights, out, {0, cut, 0, c.columns}, scratch.data());
    int8_gemm<Isa>(input, weights, out, {cut, part.conv.rows(), 0, c.columns}, scratch.data());
  }
  ASSERT_EQ(y, want);
}

void check_everywhere(const ConvCase& c, bool transposed) {
  AllIsas::for_each([&]<class Isa>(Isa) { check_float<Isa>(c, transposed); });
  check_int8<Scalar>(c, transposed, false, 130, {});
  for (const bool is_signed : {false, true}) {
    const int zero_point = is_signed ? -9 : 130;
    check_int8<Simd128>(c, transposed, is_signed, zero_point, {});
#if ZEROPOINT_HAS_RELAXED_KERNELS
#if defined(__wasm__)
    check_int8<Relaxed>(c, transposed, is_signed, zero_point, probe());
#else
    for (const RelaxedDot meaning : {RelaxedDot::kSaturating, RelaxedDot::kSigned, RelaxedDot::kUnsigned}) {
      native_relaxed_dot = meaning;
      check_int8<Relaxed>(c, transposed, is_signed, zero_point, probe_now());
    }
#endif
#endif
  }
}

TEST(Conv, Pointwise) {
  ConvCase c;
  c.channels = 13, c.columns = 9, c.in_height = 5, c.in_width = 7;
  EXPECT_TRUE(c.geometry().is_pointwise());
  check_everywhere(c, false);
  c.stride_width = 2;
  EXPECT_FALSE(c.geometry().is_pointwise());
  check_everywhere(c, false);
}

TEST(Conv, FirstLayerOfAnImageNetwork) {
  ConvCase c;
  c.channels = 3, c.columns = 16, c.in_height = 15, c.in_width = 17, c.kernel_height = c.kernel_width = 3;
  c.stride_height = c.stride_width = 2, c.pad_top = c.pad_left = c.pad_bottom = c.pad_right = 1;
  check_everywhere(c, false);
}

TEST(Conv, OneDimension) {
  ConvCase c;
  c.batch = 2, c.channels = 5, c.columns = 4, c.in_width = 40, c.kernel_width = 7, c.stride_width = 3;
  c.pad_left = 4, c.pad_right = 2, c.dilation_width = 2;
  check_everywhere(c, false);
}

TEST(Conv, RandomGeometries) {
  std::mt19937 random(11);
  const auto pick = [&](int low, int high) { return low + int(random() % unsigned(high - low + 1)); };
  for (int i = 0; i < 120;) {
    ConvCase c;
    c.batch = pick(1, 2), c.groups = pick(1, 3), c.channels = pick(1, 20), c.columns = pick(1, 12);
    c.in_height = pick(1, 9), c.in_width = pick(1, 9), c.kernel_height = pick(1, 4),
    c.kernel_width = pick(1, 4);
    c.stride_height = pick(1, 3), c.stride_width = pick(1, 3), c.dilation_height = pick(1, 2),
    c.dilation_width = pick(1, 2);
    c.pad_top = pick(0, 5), c.pad_left = pick(0, 5), c.pad_bottom = pick(0, 5), c.pad_right = pick(0, 5);
    if (c.in_height + c.pad_top + c.pad_bottom < (c.kernel_height - 1) * c.dilation_height + 1) continue;
    if (c.in_width + c.pad_left + c.pad_right < (c.kernel_width - 1) * c.dilation_width + 1) continue;
    check_everywhere(c, false);
    if (HasFatalFailure()) return;
    ++i;
  }
}

TEST(TransposedConv, Upsampling) {
  ConvCase c;
  c.channels = 6, c.columns = 5, c.in_height = 4, c.in_width = 5, c.kernel_height = c.kernel_width = 2;
  c.stride_height = c.stride_width = 2;
  check_everywhere(c, true);
  c.kernel_height = c.kernel_width = 4, c.pad_top = c.pad_left = c.pad_bottom = c.pad_right = 1;
  check_everywhere(c, true);
}

TEST(TransposedConv, RandomGeometries) {
  std::mt19937 random(12);
  const auto pick = [&](int low, int high) { return low + int(random() % unsigned(high - low + 1)); };
  for (int i = 0; i < 120;) {
    ConvCase c;
    c.batch = pick(1, 2), c.groups = pick(1, 2), c.channels = pick(1, 20), c.columns = pick(1, 10);
    c.in_height = pick(1, 5), c.in_width = pick(1, 5), c.kernel_height = pick(1, 5),
    c.kernel_width = pick(1, 5);
    c.stride_height = pick(1, 4), c.stride_width = pick(1, 4), c.dilation_height = pick(1, 4),
    c.dilation_width = pick(1, 4);
    c.pad_top = pick(0, 4), c.pad_left = pick(0, 4), c.pad_bottom = pick(0, 4), c.pad_right = pick(0, 4);
    c.output_pad_height = pick(0, c.stride_height - 1), c.output_pad_width = pick(0, c.stride_width - 1);
    if (c.transposed_height() < 1 || c.transposed_width() < 1) continue;
    check_everywhere(c, true);
    if (HasFatalFailure()) return;
    ++i;
  }
}

}  // namespace
}  // namespace zp::kernels
