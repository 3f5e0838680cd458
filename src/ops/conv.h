// What the convolutions share: their attributes, their shapes, their geometry for the kernels, and
// convolutions of 8-bit integers for the operators that name them differently.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "kernels/conv/geometry.h"
#include "ops/moving.h"
#include "ops/op.h"
#include "ops/product/product.h"

namespace zp {

// Attributes of a convolution with one to three spatial dimensions. All are checked: sizes are positive and
// small enough for the kernels. Throws kInvalidModel, kShapeMismatch.
struct ConvAttributes {
  enum class Pad : uint8_t { kExplicit, kValid, kSameUpper, kSameLower };
  Pad auto_pad = Pad::kExplicit;
  int64_t group = 1;
  std::vector<int64_t> strides, dilations;            // one for each spatial dimension
  std::vector<int64_t> pads;                          // begins, then ends
  std::vector<int64_t> output_padding, output_shape;  // of ConvTranspose; output_shape may be empty

  static ConvAttributes read(const Node& node, size_t spatial);
};

// Begin and end padding of a forward convolution along one dimension.
struct ConvPads {
  int64_t begin, end;
};
ConvPads conv_pads(const ConvAttributes& a, size_t dimension, int64_t in, int64_t kernel);

// Shape rule of Conv and its integer forms: inputs `x` and `w`, output of `type`.
void infer_conv(InferContext& c, size_t x, size_t w, DType type);
double conv_macs(const InferContext& c);

// Throws kUnsupportedOperator where a kernel or its padding is beyond what the kernels' int can say.
int checked_pad(int64_t pad, int64_t kernel, int64_t dilation);
// Groups and phases are products of their own: refuses numbers of them that no real model has.
void check_parts(int64_t parts);
// A convolution in three dimensions whose planes, or the lines through them, do not meet, as one in two. (One
// whose kernel is [k, h, w] is often written as [1, h, w] and then [k, 1, 1].)
template <class Geometry>
void flatten(Geometry& g) {
  const auto alone = [](int kernel, int stride, int pad, int in, int out) {
    return kernel == 1 && stride == 1 && pad == 0 && in == out;
  };
  if (alone(g.kernel_depth, g.stride_depth, g.pad_front, g.in_depth, g.out_depth)) {
    g.batch = int_of(int64_t{g.batch} * g.in_depth);
    g.in_depth = g.out_depth = 1;
  } else if (alone(g.kernel_height, g.stride_height, g.pad_top, g.in_height, g.out_height) &&
             alone(g.kernel_width, g.stride_width, g.pad_left, g.in_width, g.out_width)) {
    g.in_width = g.out_width = int_of(int64_t{g.in_height} * g.in_width);
    g.in_height = std::exchange(g.in_depth, 1);
    g.out_height = std::exchange(g.out_depth, 1);
    g.kernel_height = std::exchange(g.kernel_depth, 1);
    g.stride_height = std::exchange(g.stride_depth, 1);
    g.dilation_height = std::exchange(g.dilation_depth, 1);
    g.pad_top = std::exchange(g.pad_front, 0);
  }
}

// The window of a convolution, forward or transposed, along its spatial dimensions: physical input and
// output. `pad` gives the begin padding of a dimension.
template <class Geometry, class Pad>
void set_window(Geometry& g, const ConvAttributes& a, const Shape& input, const Shape& weights,
                const Shape& output, Pad&& pad) {
  const size_t spatial = input.size() - 2;
  const size_t x = spatial - 1;  // the last spatial dimension; in front of it, the height, then the depth
  const auto checked = [&](size_t d) { return checked_pad(pad(d), weights[d + 2], a.dilations[d]); };
  g.in_width = int_of(input[x + 1]);
  g.out_width = int_of(output[x + 1]);
  g.kernel_width = int_of(weights[x + 2]);
  g.stride_width = int_of(a.strides[x]);
  g.dilation_width = int_of(a.dilations[x]);
  g.pad_left = checked(x);
  if (spatial > 1) {
    const size_t y = x - 1;
    g.in_height = int_of(input[y + 1]);
    g.out_height = int_of(output[y + 1]);
    g.kernel_height = int_of(weights[y + 2]);
    g.stride_height = int_of(a.strides[y]);
    g.dilation_height = int_of(a.dilations[y]);
    g.pad_top = checked(y);
  }
  if (spatial > 2) {
    g.in_depth = int_of(input[1]);
    g.out_depth = int_of(output[1]);
    g.kernel_depth = int_of(weights[2]);
    g.stride_depth = int_of(a.strides[0]);
    g.dilation_depth = int_of(a.dilations[0]);
    g.pad_front = checked(0);
    flatten(g);
  }
  int_of(element_count(Shape{g.batch, g.out_depth, g.out_height, g.out_width}));  // rows
}

// Geometry for physical (channels last) input and output; channels are those of one group.
kernels::ConvGeometry conv_geometry(const Node& node, const Shape& input, const Shape& weights,
                                    const Shape& output);
// The groups of a convolution as products.
Product conv_product(const kernels::ConvGeometry& geometry, int64_t group, const Shape& weights);
// The groups and phases of a transposed convolution, likewise.
Product transposed_conv_product(const kernels::TransposedConvGeometry& geometry, int64_t group,
                                const Shape& weights);
// Every channel is convolved alone, in two dimensions at most, and makes one output.
bool is_depthwise(const kernels::ConvGeometry& g, int64_t group, const Shape& input, const Shape& weights);

// Gradient of a bias: `d` summed over all but its channels.
ValueId channel_sums(Gradient& g, ValueId d);

Kernel integer_conv(PrepareContext& c, Operand8 input, Weights8 weights, Epilogue8 epilogue);

}  // namespace zp
