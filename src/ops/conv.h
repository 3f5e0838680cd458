// What the convolutions share: their attributes, their shapes, their geometry for the kernels, and
// convolutions of 8-bit integers for the operators that name them differently.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "core/function.h"
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

// Throws kUnsupportedOperator where a kernel or its padding is beyond the kernels' int.
int checked_pad(int64_t pad, int64_t kernel, int64_t dilation);
// Groups and phases are products of their own: refuses numbers of them that no real model has.
void check_parts(int64_t parts);
// The window of a convolution, forward or transposed, along its spatial dimensions: physical input and
// output. `pad` gives the begin padding of a dimension.
void set_window(kernels::ConvWindow& g, const ConvAttributes& a, const Shape& input, const Shape& weights,
                const Shape& output, FunctionRef<int64_t(size_t)> pad);

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
