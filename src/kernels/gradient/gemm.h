// Gradients of the weights of a convolution, as float matrix products.
//
//   dw[m, k] = sum over output pixels r of dy[r, m] * patch[r, k]          k = (tap, channel), channel
//   fastest
//
// The sum runs over pixels, a few at a time: dy is transposed, and patches are gathered and packed as the
// float product takes its weights.

#pragma once

#include <cstddef>

#include "kernels/conv/geometry.h"

namespace zp::kernels {

struct ConvWeightGradient {
  ConvGeometry conv;             // channels: of one group
  int columns = 0;               // output channels of the group
  std::ptrdiff_t dy_stride = 0;  // elements from one output pixel to the next

  int depth() const { return conv.taps() * conv.channels; }
};

// Which part of the sum a call makes: output pixels [row_begin, row_end), columns [k_begin, k_end) of dw;
// k_begin is a multiple of kColumnTile.
struct ConvWeightGradientRange {
  int row_begin = 0, row_end = 0, k_begin = 0, k_end = 0;
};

std::size_t conv_weight_gradient_scratch_bytes(const ConvWeightGradient& gradient,
                                               const ConvWeightGradientRange& range);

// dw[m * depth + k]: the sum over the range's pixels, in an order that its columns have no influence on.
void conv_weight_gradient(const ConvWeightGradient& gradient, const float* x, const float* dy, float* dw,
                          const ConvWeightGradientRange& range, void* scratch);

}  // namespace zp::kernels
