// Depthwise convolutions against plain loops, over all channel remainders, strides, dilations and pads.

#include "kernels/conv/depthwise.h"

#include <gtest/gtest.h>

#include "conv_lines_check.h"

namespace zp::kernels {
namespace {

// A group for each channel, as the kernel has it: one geometry of all channels.
struct Depthwise {
  static ConvGeometry whole(const DirectGeometry& g) {
    ConvGeometry conv = g.conv;
    conv.channels = g.groups;
    return conv;
  }
  static std::size_t packed_float_bytes(const DirectGeometry& g) {
    return packed_depthwise_float_bytes(whole(g));
  }
  static std::size_t float_scratch_bytes(const DirectGeometry&) { return 0; }
  static std::size_t packed_int8_bytes(const DirectGeometry& g) {
    return packed_depthwise_int8_bytes(whole(g));
  }
  static std::size_t int8_scratch_bytes(const DirectGeometry& g) {
    return depthwise_int8_scratch_bytes(whole(g));
  }
  static DepthwiseFloatWeights pack(const float* weights, const DirectGeometry& g, void* storage) {
    return pack_depthwise_float(weights, whole(g), storage);
  }
  static DepthwiseInt8Weights pack(const ConvInt8Source& source, const DirectGeometry& g, void* storage) {
    return pack_depthwise_int8(source, whole(g), storage);
  }
  template <class Isa>
  static void run(const float* x, const DirectGeometry& g, const DepthwiseFloatWeights& weights,
                  const FloatGemmOutput& y, int begin, int end, void*) {
    depthwise_float<Isa>(x, whole(g), weights, y, begin, end);
  }
  template <class Isa, class Output>
  static void run(const Int8Input& x, const DirectGeometry& g, const DepthwiseInt8Weights& weights,
                  const Output& y, int begin, int end, void* scratch) {
    depthwise_int8<Isa>(x, whole(g), weights, y, begin, end, scratch);
  }
};

// out_height and out_width from the other pads.
DirectGeometry geometry(int batch, int channels, int height, int width, int kernel, int kernel_width,
                        int stride, int dilation, int pad_begin, int pad_end) {
  DirectGeometry direct;
  direct.groups = channels;
  direct.columns = 1;
  ConvGeometry& g = direct.conv;
  g.batch = batch;
  g.in_height = height;
  g.in_width = width;
  g.pixel_stride = channels;
  g.kernel_height = kernel;
  g.kernel_width = kernel_width;
  g.stride_height = g.stride_width = stride;
  g.dilation_height = g.dilation_width = dilation;
  g.pad_top = g.pad_left = pad_begin;
  g.out_height = (height + pad_begin + pad_end - (kernel - 1) * dilation - 1) / stride + 1;
  g.out_width = (width + pad_begin + pad_end - (kernel_width - 1) * dilation - 1) / stride + 1;
  return direct;
}

void check_everywhere(const DirectGeometry& g) {
  AllIsas::for_each([&]<class Isa>(Isa) { check_float<Depthwise, Isa>(g); });
  for (int w_zero_points : {0, 1, 2}) {
    for (const bool a_signed : {false, true}) {
      AllIsas::for_each([&]<class Isa>(Isa) {
        check_int8<Depthwise, Isa>(g, a_signed, a_signed ? -3 : 128, a_signed, w_zero_points, false);
      });
    }
  }
  check_int8<Depthwise, Simd128>(g, true, 127, true, 0, true);
  check_int8<Depthwise, Simd128>(g, false, 0, false, 0, true);
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
