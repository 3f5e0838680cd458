// Direct convolutions against plain loops, over numbers of channels and groups, kernels, strides, dilations
// and pads.

#include "kernels/conv/direct.h"

#include <gtest/gtest.h>

#include "conv_lines_check.h"

namespace zp::kernels {
namespace {

struct Direct {
  static std::size_t packed_float_bytes(const DirectGeometry& g) { return packed_direct_float_bytes(g); }
  static std::size_t float_scratch_bytes(const DirectGeometry& g) { return direct_float_scratch_bytes(g); }
  static std::size_t packed_int8_bytes(const DirectGeometry& g) { return packed_direct_int8_bytes(g); }
  static std::size_t int8_scratch_bytes(const DirectGeometry& g) { return direct_int8_scratch_bytes(g); }
  static DirectWeights pack(const float* weights, const DirectGeometry& g, void* storage) {
    return pack_direct_float(weights, g, storage);
  }
  static DirectWeights pack(const ConvInt8Source& source, const DirectGeometry& g, void* storage) {
    return pack_direct_int8(source, g, storage);
  }
  template <class Isa>
  static void run(const float* x, const DirectGeometry& g, const DirectWeights& weights,
                  const FloatGemmOutput& y, int begin, int end, void* scratch) {
    direct_float<Isa>(x, g, weights, y, begin, end, scratch);
  }
  template <class Isa, class Output>
  static void run(const Int8Input& x, const DirectGeometry& g, const DirectWeights& weights, const Output& y,
                  int begin, int end, void* scratch) {
    direct_int8<Isa>(x, g, weights, y, begin, end, scratch);
  }
};

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

template <class Isa>
void check(const DirectGeometry& g) {
  check_float<Direct, Isa>(g);
  check_int8<Direct, Isa>(g, false, 128, false, 0, false);
  check_int8<Direct, Isa>(g, true, -3, true, 2, false);
  check_int8<Direct, Isa>(g, false, 255, true, 0, true);
  check_int8<Direct, Isa>(g, true, 127, false, 0, true);
}

void check_everywhere(const DirectGeometry& g) {
  AllIsas::for_each([&]<class Isa>(Isa) { check<Isa>(g); });
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
